namespace LunKit.Backstores;

/// <summary>The shape of a backstore; only <see cref="IBackstore.GrowAsync"/>, <see cref="IBackstore.TakeLengthAsync"/> and who owns what is behind it change it.</summary>
/// <param name="LengthBytes">Size in bytes; what exceeds a multiple of the block size is not served.</param>
public sealed record BackstoreGeometry(long LengthBytes)
{
    /// <summary>Bytes of a logical block: 512 to 65536, a power of two.</summary>
    public int BlockSize { get; init; } = 512;

    /// <summary>Bytes of the unit that the medium writes at once; a multiple of <see cref="BlockSize"/>.</summary>
    public int PhysicalBlockSize { get; init; } = 4096;

    /// <summary>Smallest aligned byte range that a discard can free.</summary>
    public int DiscardGranularity { get; init; } = 4096;

    /// <summary>Writes are refused.</summary>
    public bool ReadOnly { get; init; }

    /// <summary>The medium has moving parts (reported as a rotation rate).</summary>
    public bool Rotational { get; init; }

    /// <summary>Longest <see cref="IBackstore.CompareAndWriteAsync"/> in bytes; 0 for no limit of the backstore's own.</summary>
    public int CompareAndWriteBytes { get; init; }

    /// <summary>Number of whole logical blocks.</summary>
    public long BlockCount => LengthBytes / BlockSize;

    /// <summary>Throws <see cref="InvalidOperationException"/> unless the bytes are whole blocks inside the medium: what calls it has a fault.</summary>
    internal void RequireRange(long offset, long length)
    {
        if (offset < 0 || length < 0 || length > LengthBytes - offset || ((offset | length) & (BlockSize - 1)) != 0)
            throw new InvalidOperationException($"range {offset}+{length} is not inside {LengthBytes} bytes in blocks");
    }
}
