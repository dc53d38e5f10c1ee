using LunKit.LogicalUnits;

namespace LunKit.Tests.LogicalUnits;

/// <summary>A state store that can refuse to save, and keeps a copy as a disk would.</summary>
internal sealed class VolatileUnitStateProbe : IUnitStateStore
{
    private UnitState _saved = new() { Id = UnitIdentity.IdOf("probe") };

    public bool Fails { get; set; }

    public bool IsDurable { get; init; } = true;

    public int Saves { get; private set; }

    /// <summary>What a save does first; it may wait.</summary>
    public Action? Before { get; set; }

    public UnitState Load() => _saved.Clone();

    public void Save(UnitState state)
    {
        Before?.Invoke();
        if (Fails) throw new IOException("no space for the state");
        _saved = state.Clone();
        Saves++;
    }
}
