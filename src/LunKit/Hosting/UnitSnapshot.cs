using LunKit.LogicalUnits;

namespace LunKit.Hosting;

/// <summary>Where a unit is in its life.</summary>
public enum UnitPhase
{
    /// <summary>It serves, or waits to be mapped.</summary>
    Ready,
    /// <summary>It serves, but its storage cannot be reached: <see cref="UnitSnapshot.Unavailable"/> says why.</summary>
    Unavailable,
    /// <summary>It is being removed: its commands end, and its caches are flushed.</summary>
    Closing,
    /// <summary>It was removed, but a command does not end in its storage. Its name stays taken, for the storage is still in use.</summary>
    Stuck,
}

/// <summary>A unit of a host, as it was at one moment.</summary>
/// <param name="Name">Its name in the host.</param>
/// <param name="Unit">The unit itself.</param>
/// <param name="Phase">Where it is in its life.</param>
public sealed record UnitSnapshot(string Name, LogicalUnit Unit, UnitPhase Phase)
{
    /// <summary>Why its storage cannot be reached; null when it can, or nobody knows.</summary>
    public string? Unavailable { get; init; }

    /// <summary>Capacity in bytes; null for a unit that has none, or does not say.</summary>
    public long? Bytes { get; init; }

    /// <summary>Logical block size in bytes; null likewise.</summary>
    public int? BlockBytes { get; init; }

    /// <summary>Commands in its task set.</summary>
    public int Commands { get; init; }

    /// <summary>Nexuses that see it.</summary>
    public int Nexuses { get; init; }

    /// <summary>Where it is mapped: target names and LUNs, in order.</summary>
    public IReadOnlyList<(string Target, int Lun)> Mappings { get; init; } = [];
}
