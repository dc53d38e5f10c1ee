using LunKit.LogicalUnits;

namespace LunKit.Hosting;

/// <summary>A unit of a <see cref="TargetHost"/>, whose lock guards it.</summary>
internal sealed class HostedUnit(string name, LogicalUnit unit)
{
    public string Name => name;
    public LogicalUnit Unit => unit;

    /// <summary>Its end, once it is being removed: whether it is closed.</summary>
    public Task<bool>? Closing { get; set; }

    public UnitSnapshot Snapshot(IReadOnlyList<(string Target, int Lun)> mappings)
    {
        string? unavailable = unit.WhyUnavailable;
        var state = Closing is not { } closing ? unavailable is null ? UnitPhase.Ready : UnitPhase.Unavailable
            : closing.IsCompletedSuccessfully && !closing.Result ? UnitPhase.Stuck : UnitPhase.Closing;
        var (bytes, block) = unit.Capacity is { } capacity ? (capacity.Bytes, capacity.BlockBytes) : ((long?)null, (int?)null);
        return new(name, unit, state)
        {
            Unavailable = unavailable, Bytes = bytes, BlockBytes = block, Commands = unit.Tasks.Count, Nexuses = unit.Nexuses.Length, Mappings = mappings,
        };
    }
}
