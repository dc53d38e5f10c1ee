using LunKit.Backstores;

namespace LunKit.LogicalUnits;

/// <summary>
/// A unit's state that outlives it, read once and saved at every change, one change after the other. Thread safe; an update that cannot be
/// saved throws and leaves the old state in force.
/// </summary>
internal sealed class UnitMemory : IDisposable
{
    private readonly IUnitStateStore _store;
    private readonly SemaphoreSlim _turn = new(1, 1);
    private volatile UnitState _state;
    private FileWorkers? _workers;

    public UnitMemory(IUnitStateStore store)
    {
        _store = store;
        _state = store.Load();
    }

    public Guid Id => _state.Id;

    /// <summary>Whether what is saved survives the process and a loss of power.</summary>
    public bool IsDurable => _store.IsDurable;

    /// <summary>Lets go of the store: another unit may use it.</summary>
    public void Dispose()
    {
        (_store as IDisposable)?.Dispose();
        _turn.Dispose();
    }

    public T Read<T>(Func<UnitState, T> read) => read(_state);

    /// <summary>
    /// Changes the state; the task completes when the change is saved. A durable store waits for its medium: it does so on a thread of its
    /// own, not on the caller's.
    /// </summary>
    public ValueTask UpdateAsync(Action<UnitState> change) => UpdateAsync(s =>
    {
        change(s);
        return true;
    });

    /// <summary>The same for a change that says whether there is anything to save.</summary>
    public async ValueTask UpdateAsync(Func<UnitState, bool> change)
    {
        await _turn.WaitAsync().ConfigureAwait(false);
        try
        {
            var next = _state.Clone();
            if (!change(next)) return;
            if (!_store.IsDurable) _store.Save(next);
            else await (_workers ??= new FileWorkers()).RunAsync(static s => s._store.Save(s.next), (_store, next)).ConfigureAwait(false);
            _state = next;
        }
        finally
        {
            _turn.Release();
        }
    }

    /// <summary>Changes the state on the caller's thread, which may wait for a medium.</summary>
    public void Update(Action<UnitState> change)
    {
        _turn.Wait();
        try
        {
            var next = _state.Clone();
            change(next);
            _store.Save(next);
            _state = next;
        }
        finally
        {
            _turn.Release();
        }
    }
}
