using LunKit.LogicalUnits;

namespace LunKit.Iscsi.Sessions;

/// <summary>Looking for what comes next, from the initiator or from units whose commands end in another process, before the thread sleeps.</summary>
internal sealed partial class IscsiConnection
{
    // Units with commands of this connection; few, and only of the kind that can be asked.
    private readonly List<IPolledUnit> _polled = [];

    /// <summary>Commands of this connection are in the hands of such a unit.</summary>
    private void WillPoll(LogicalUnit unit)
    {
        if (unit is IPolledUnit polled && !_polled.Contains(polled)) _polled.Add(polled);
    }

    /// <summary>Looks for a bounded time, as long as that is better than to sleep; -1 for nothing.</summary>
    private int Look()
    {
        if (_executing == 0) _polled.Clear();
        foreach (var unit in _polled) unit.BeginPolling();
        int found = _spin.Look(_look);
        foreach (var unit in _polled) unit.EndPolling();
        return found;
    }

    private bool PollUnits()
    {
        bool any = false;
        foreach (var unit in _polled) any |= unit.Poll();
        return any;
    }
}
