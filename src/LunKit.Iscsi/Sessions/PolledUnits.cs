using LunKit.LogicalUnits;

namespace LunKit.Iscsi.Sessions;

/// <summary>
/// Units whose commands end in another process and that have commands of one connection. As long as the connection's thread is awake
/// it polls them itself, so that no other thread must be woken for them. Only the connection's thread uses it.
/// </summary>
internal sealed class PolledUnits
{
    private readonly List<IPolledUnit> _units = [];
    private bool _polling;

    /// <summary>A command of this connection is in the hands of a unit.</summary>
    public void Add(LogicalUnit unit)
    {
        if (unit is not IPolledUnit polled || _units.Contains(polled)) return;
        _units.Add(polled);
        if (_polling) polled.BeginPolling();
    }

    /// <summary>Takes the memory that <see cref="Add"/> may need.</summary>
    public void EnsureRoom() => _units.EnsureCapacity(_units.Count + 1);

    public void Begin()
    {
        if (_polling) return;
        _polling = true;
        foreach (var unit in _units) unit.BeginPolling();
    }

    /// <summary>Called before the thread sleeps or ends. Without commands in the hands of units the units are forgotten.</summary>
    public void End(bool forget)
    {
        if (!_polling) return;
        _polling = false;
        foreach (var unit in _units) unit.EndPolling();
        if (forget) _units.Clear();
    }

    public bool Poll()
    {
        bool any = false;
        foreach (var unit in _units) any |= unit.Poll();
        return any;
    }
}
