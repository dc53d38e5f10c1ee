namespace LunKit.Backstores;

/// <summary>Takes every write, keeps nothing, reads as zeroes: for measuring everything but the medium.</summary>
public sealed class NullBackstore(BackstoreGeometry geometry) : IBackstore
{
    /// <inheritdoc/>
    public BackstoreGeometry Geometry { get; } = geometry;

    /// <inheritdoc/>
    public BackstoreFeatures Features =>
        BackstoreFeatures.Concurrent | BackstoreFeatures.Discard | BackstoreFeatures.WriteZeroes |
        BackstoreFeatures.ForceUnitAccess | BackstoreFeatures.Extents;

    /// <inheritdoc/>
    public ValueTask ReadAsync(long offset, DataBuffer data, CancellationToken cancellationToken)
    {
        data.Clear();
        return ValueTask.CompletedTask;
    }

    /// <inheritdoc/>
    public ValueTask WriteAsync(long offset, DataBuffer data, WriteOptions options, CancellationToken cancellationToken) =>
        ValueTask.CompletedTask;

    /// <inheritdoc/>
    public ValueTask FlushAsync(CancellationToken cancellationToken) => ValueTask.CompletedTask;

    /// <inheritdoc/>
    public ValueTask DiscardAsync(long offset, long length, CancellationToken cancellationToken) => ValueTask.CompletedTask;

    /// <inheritdoc/>
    public ValueTask WriteZeroesAsync(long offset, long length, WriteOptions options, CancellationToken cancellationToken) =>
        ValueTask.CompletedTask;

    /// <inheritdoc/>
    public ValueTask<BackstoreExtent> ExtentAsync(long offset, long length, CancellationToken cancellationToken) =>
        ValueTask.FromResult(new BackstoreExtent(length, false));
}
