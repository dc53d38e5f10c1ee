using LunKit.LogicalUnits;

namespace LunKit.Iscsi.Sessions;

/// <summary>
/// Looking for what comes next, from the initiator or from units whose commands end in another process, before the thread sleeps. As long as it is
/// awake and such a unit has commands of it, the thread looks at the unit itself, and nobody need wake another thread for it.
/// </summary>
internal sealed partial class IscsiConnection
{
    // Units with commands of this connection; few, and only of the kind that can be asked.
    private readonly List<IPolledUnit> _polled = [];
    private bool _polling;

    /// <summary>Commands of this connection are in the hands of such a unit.</summary>
    private void WillPoll(LogicalUnit unit)
    {
        if (unit is not IPolledUnit polled || _polled.Contains(polled)) return;
        _polled.Add(polled);
        if (_polling) polled.BeginPolling();
    }

    private void BeginPolling()
    {
        if (_polling) return;
        _polling = true;
        foreach (var unit in _polled) unit.BeginPolling();
    }

    /// <summary>Called before the thread sleeps or ends: units that have nothing of this connection any more are forgotten.</summary>
    private void EndPolling()
    {
        if (!_polling) return;
        _polling = false;
        foreach (var unit in _polled) unit.EndPolling();
        if (_executing == 0) _polled.Clear();
    }

    private bool PollUnits()
    {
        bool any = false;
        foreach (var unit in _polled) any |= unit.Poll();
        return any;
    }
}
