using LunKit.LogicalUnits;

namespace LunKit.Targets;

/// <summary>The LUNs that one nexus may see, resolved at login. Immutable.</summary>
public sealed class LunMap
{
    private readonly UnitNexus?[] _low = new UnitNexus?[256];
    private readonly SortedDictionary<int, UnitNexus> _all = [];

    internal static LunMap Empty { get; } = new([]);

    internal LunMap(IEnumerable<KeyValuePair<int, UnitNexus>> entries)
    {
        foreach (var (lun, entry) in entries)
        {
            ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)lun, (uint)Scsi.LunAddress.MaxLun);
            _all.Add(lun, entry);
            if (lun < _low.Length) _low[lun] = entry;
        }
    }

    /// <summary>LUN and unit, in LUN order.</summary>
    public IReadOnlyDictionary<int, UnitNexus> Entries => _all;

    /// <summary>The unit at a LUN, or null when this nexus sees none there.</summary>
    public UnitNexus? Find(int lun) =>
        (uint)lun < (uint)_low.Length ? _low[lun] : _all.GetValueOrDefault(lun);
}
