namespace LunKit.LogicalUnits;

/// <summary>What one command may ask of a unit, in bytes; VPD page B0h reports it and the device server keeps it.</summary>
internal static class BlockLimits
{
    /// <summary>READ, WRITE, VERIFY: 16 MiB is more than any initiator sends at once and bounds the memory of a command.</summary>
    public const int MaxTransferBytes = 16 << 20;

    /// <summary>Past 1 MiB a transfer gains nothing on a network.</summary>
    public const int OptimalTransferBytes = 1 << 20;

    /// <summary>UNMAP: bounds the time of one command.</summary>
    public const long MaxUnmapBytes = 512L << 20;

    /// <summary>WRITE SAME: as a transfer, for a backstore may have to write it all.</summary>
    public const long MaxWriteSameBytes = 16L << 20;

    public const int MaxUnmapDescriptors = 256;

    /// <summary>COMPARE AND WRITE and WRITE ATOMIC: whole in memory, twice.</summary>
    public const int MaxAtomicBytes = 1 << 20;

    /// <summary>COMPARE AND WRITE counts blocks in one byte.</summary>
    public static int MaxCompareBlocks(int blockSize) => Math.Min(255, MaxAtomicBytes / blockSize);
}
