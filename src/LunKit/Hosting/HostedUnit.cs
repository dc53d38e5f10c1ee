using LunKit.LogicalUnits;

namespace LunKit.Hosting;

/// <summary>A unit of a <see cref="TargetHost"/>, whose lock guards it.</summary>
internal sealed class HostedUnit(string name, LogicalUnit unit)
{
    public string Name => name;
    public LogicalUnit Unit => unit;

    /// <summary>Once it is being removed.</summary>
    public UnitPhase? Phase { get; set; }

    public UnitSnapshot Snapshot(IReadOnlyList<(string Target, int Lun)> mappings)
    {
        string? unavailable = unit.WhyUnavailable;
        var phase = Phase ?? (unavailable is null ? UnitPhase.Ready : UnitPhase.Unavailable);
        var (bytes, block) = unit.Capacity is { } capacity ? (capacity.Bytes, capacity.BlockBytes) : ((long?)null, (int?)null);
        return new(name, unit, phase)
        {
            Unavailable = unavailable, Bytes = bytes, BlockBytes = block, Commands = unit.Tasks.Count, Nexuses = unit.Nexuses.Length, Mappings = mappings,
        };
    }
}
