namespace LunKit.LogicalUnits;

/// <summary>
/// A unit's state that outlives it, read once and saved at every change. Thread safe; an update that cannot be saved throws and
/// leaves the old state in force.
/// </summary>
internal sealed class UnitMemory : IDisposable
{
    private readonly Lock _gate = new();
    private readonly IUnitStateStore _store;
    private UnitState _state;

    public UnitMemory(IUnitStateStore store)
    {
        _store = store;
        _state = store.Load();
    }

    public Guid Id => _state.Id;

    /// <summary>Lets go of the store: another unit may use it.</summary>
    public void Dispose() => (_store as IDisposable)?.Dispose();

    public T Read<T>(Func<UnitState, T> read)
    {
        lock (_gate) return read(_state);
    }

    public void Update(Action<UnitState> change)
    {
        lock (_gate)
        {
            var next = _state.Clone();
            change(next);
            _store.Save(next);
            _state = next;
        }
    }
}
