using LunKit.LogicalUnits;
using LunKit.Scsi;
using LunKit.Targets;
using LunKit.Tcmu.Ring;

namespace LunKit.Tcmu.Handler;

/// <summary>
/// Who the commands of a ring come from. Where the producer says it (<see cref="CommandOriginAbi"/>) each initiator is a nexus of its own;
/// the kernel does not, and there all are one. Unit attentions of power on are the producer's. Thread safe.
/// </summary>
internal sealed class RingNexuses
{
    // A producer that invents initiators does not make this side grow.
    private const int MaxNexuses = 1024;

    private readonly Lock _gate = new();
    private readonly string _name;
    private readonly LogicalUnit _unit;
    private readonly Dictionary<ulong, UnitNexus> _nexuses = [];
    private UnitNexus _last;
    private ulong _lastInitiator;

    public RingNexuses(string name, LogicalUnit unit)
    {
        (_name, _unit) = (name, unit);
        _last = Of(0);
    }

    /// <summary>The nexus of a command.</summary>
    public UnitNexus Of(in CommandOriginAbi origin)
    {
        lock (_gate)
        {
            if (origin.Initiator == _lastInitiator && _nexuses.Count > 0) return _last;
            (_lastInitiator, _last) = (origin.Initiator, Of(origin.Initiator));
            return _last;
        }
    }

    private UnitNexus Of(ulong initiator)
    {
        if (_nexuses.TryGetValue(initiator, out var known)) return known;
        if (_nexuses.Count >= MaxNexuses) return _nexuses[0];
        var nexus = new Nexus("tcmu", $"{_name},{initiator}", new byte[24], new TargetPort(_name, 0, 0, _name));
        nexus.Open([KeyValuePair.Create(0, _unit)]);
        var added = nexus.Luns.Find(0)!;
        while (added.TryTakeUnitAttention(out _)) { }
        _nexuses.Add(initiator, added);
        return added;
    }

    /// <summary>An initiator is gone.</summary>
    public void Lose(ulong initiator)
    {
        UnitNexus? lost;
        lock (_gate)
        {
            if (initiator == 0 || !_nexuses.Remove(initiator, out lost)) return;
            (_lastInitiator, _last) = (0, _nexuses[0]);
        }
        lost.Nexus.Close();
    }

    /// <summary>Ends what a LOGICAL UNIT RESET ends; its unit attention is the producer's.</summary>
    public void Reset()
    {
        _ = _unit.TaskManager.Reset(null, Sense.PowerOnOrReset);
        Clear(Sense.PowerOnOrReset);
    }

    /// <summary>Takes back a unit attention that initiators hear of from the producer.</summary>
    public void Clear(Sense attention)
    {
        lock (_gate)
            foreach (var nexus in _nexuses.Values) nexus.ClearUnitAttention(attention);
    }

    /// <summary>All initiators are gone.</summary>
    public void Close()
    {
        lock (_gate)
            foreach (var nexus in _nexuses.Values) nexus.Nexus.Close();
    }
}
