using LunKit.Scsi;

namespace LunKit.LogicalUnits;

/// <summary>
/// An I_T_L nexus: what a logical unit remembers of one nexus. Its pending unit attentions (SAM-6 5.14), and whether it prevents
/// medium removal. Thread safe.
/// </summary>
public sealed class UnitNexus
{
    // SPC-5 defines far fewer conditions that can be pending together; the bound keeps a chatty peer from growing the list.
    private const int MaxPending = 16;

    private readonly Lock _gate = new();
    private readonly List<Sense> _pending = [];
    private volatile bool _hasPending;
    private volatile bool _unmapped;

    internal UnitNexus(Nexus nexus, LogicalUnit unit, int lun)
    {
        Nexus = nexus;
        Unit = unit;
        Lun = lun;
    }

    /// <summary>The I_T part.</summary>
    public Nexus Nexus { get; }

    /// <summary>The logical unit.</summary>
    public LogicalUnit Unit { get; }

    /// <summary>The LUN under which this nexus sees the unit.</summary>
    public int Lun { get; }

    internal bool HasUnitAttention => _hasPending;

    /// <summary>Whether the nexus does not see the unit any more: what still arrives is refused.</summary>
    internal bool IsUnmapped => _unmapped;

    internal void Unmap() => _unmapped = true;

    internal bool PreventsRemoval { get; set; }

    /// <summary>Establishes a unit attention condition; one that is already pending is not repeated.</summary>
    internal void EstablishUnitAttention(Sense sense)
    {
        lock (_gate)
        {
            // A reset says all that was pending before it (SAM-6 5.14.3).
            if (sense.Asc == 0x29) _pending.RemoveAll(p => p.Asc is 0x29 or 0x2A or 0x2F);
            if (_pending.Count >= MaxPending || _pending.Contains(sense)) return;
            _pending.Add(sense);
            _hasPending = true;
        }
    }

    /// <summary>Takes the oldest pending condition, resets first (SAM-6 5.14.2), or only a reset.</summary>
    internal bool TryTakeUnitAttention(out Sense sense, bool onlyReset = false)
    {
        lock (_gate)
        {
            int at = Math.Max(_pending.FindIndex(static p => p.Asc == 0x29), onlyReset ? -1 : 0);
            if (at < 0 || at >= _pending.Count)
            {
                sense = default;
                return false;
            }
            sense = _pending[at];
            _pending.RemoveAt(at);
            _hasPending = _pending.Count > 0;
            return true;
        }
    }

    /// <summary>Clears one kind of condition, as REPORT LUNS does with its own (SPC-5 6.35.1).</summary>
    internal void ClearUnitAttention(Sense sense)
    {
        lock (_gate)
        {
            _pending.Remove(sense);
            _hasPending = _pending.Count > 0;
        }
    }
}
