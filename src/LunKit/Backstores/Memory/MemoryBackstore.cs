namespace LunKit.Backstores;

/// <summary>A disk in memory, thin: <c>memory:1T</c> costs nothing until it is written. Gone when the process ends.</summary>
public sealed class MemoryBackstore(BackstoreGeometry geometry) : IBackstore
{
    private readonly SparseMemory _memory = new(geometry.LengthBytes);

    /// <summary>Creates a disk of <paramref name="lengthBytes"/> bytes in blocks of 512.</summary>
    public MemoryBackstore(long lengthBytes) : this(new BackstoreGeometry(lengthBytes)) { }

    /// <inheritdoc/>
    public BackstoreGeometry Geometry { get; } = geometry with { DiscardGranularity = SparseMemory.ChunkBytes };

    /// <inheritdoc/>
    public BackstoreFeatures Features =>
        BackstoreFeatures.Concurrent | BackstoreFeatures.Discard | BackstoreFeatures.WriteZeroes |
        BackstoreFeatures.ForceUnitAccess | BackstoreFeatures.Extents | BackstoreFeatures.Ephemeral;

    /// <inheritdoc/>
    public ValueTask ReadAsync(long offset, DataBuffer data, CancellationToken cancellationToken)
    {
        foreach (var segment in data)
        {
            _memory.Read(offset, segment.Span);
            offset += segment.Length;
        }
        return ValueTask.CompletedTask;
    }

    /// <inheritdoc/>
    public ValueTask WriteAsync(long offset, DataBuffer data, WriteOptions options, CancellationToken cancellationToken)
    {
        foreach (var segment in data)
        {
            _memory.Write(offset, segment.Span);
            offset += segment.Length;
        }
        return ValueTask.CompletedTask;
    }

    /// <inheritdoc/>
    public ValueTask FlushAsync(CancellationToken cancellationToken) => ValueTask.CompletedTask;

    /// <inheritdoc/>
    public ValueTask DiscardAsync(long offset, long length, CancellationToken cancellationToken)
    {
        _memory.Discard(offset, length);
        return ValueTask.CompletedTask;
    }

    /// <inheritdoc/>
    public ValueTask WriteZeroesAsync(long offset, long length, WriteOptions options, CancellationToken cancellationToken) =>
        DiscardAsync(offset, length, cancellationToken);

    /// <inheritdoc/>
    public ValueTask<BackstoreExtent> ExtentAsync(long offset, long length, CancellationToken cancellationToken)
    {
        bool allocated = _memory.Find(offset) is not null;
        long run = SparseMemory.ChunkBytes - (offset & (SparseMemory.ChunkBytes - 1));
        while (run < length && _memory.Find(offset + run) is not null == allocated) run += SparseMemory.ChunkBytes;
        return ValueTask.FromResult(new BackstoreExtent(Math.Min(run, length), allocated));
    }
}
