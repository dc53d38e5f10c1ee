namespace LunKit.Backstores;

/// <summary>
/// A backstore over another one: forwards every member, so that one that changes a few loses none of the rest. Of the features of the inner
/// backstore it declares those that it knows: a feature of a later version does not pass a filter that does not handle its operation, and
/// <see cref="BackstoreGuard"/> emulates it with operations that the filter does handle. Owns the inner backstore.
/// </summary>
public abstract class BackstoreFilter : IBackstore
{
    private readonly BackstoreFeatures _known;

    /// <summary>Takes over <paramref name="inner"/>: it is disposed with the filter.</summary>
    /// <param name="inner">What is behind the filter.</param>
    /// <param name="known">The features whose operations the filter handles; forwarding one unchanged is handling it, too.</param>
    protected BackstoreFilter(IBackstore inner, BackstoreFeatures known) => (Inner, _known) = (new LayerGuard(inner), known);

    /// <summary>All features that this version has: for filters that leave data where it is, and as it is.</summary>
    public static BackstoreFeatures AllFeatures =>
        BackstoreFeatures.Concurrent | BackstoreFeatures.Discard | BackstoreFeatures.WriteZeroes | BackstoreFeatures.ForceUnitAccess | BackstoreFeatures.Extents |
        BackstoreFeatures.VolatileCache | BackstoreFeatures.Resize | BackstoreFeatures.CompareAndWrite | BackstoreFeatures.WriteSame |
        BackstoreFeatures.SurvivesProcess | BackstoreFeatures.Ephemeral;

    /// <summary>
    /// The backstore behind the filter. A call that breaks the contract of <see cref="IBackstore"/> (an operation that is not declared, a range outside the
    /// medium, two calls at once without <see cref="BackstoreFeatures.Concurrent"/>) throws <see cref="InvalidOperationException"/>.
    /// </summary>
    protected IBackstore Inner { get; }

    /// <inheritdoc/>
    public virtual BackstoreGeometry Geometry => Inner.Geometry;

    /// <inheritdoc/>
    /// <remarks>A volatile cache, or data in memory only, is nothing that one does, but something that one has: it is always declared.</remarks>
    public virtual BackstoreFeatures Features => Inner.Features & (_known | BackstoreFeatures.VolatileCache | BackstoreFeatures.Ephemeral);

    /// <inheritdoc/>
    public virtual ValueTask ReadAsync(long offset, DataBuffer data, CancellationToken cancellationToken) => Inner.ReadAsync(offset, data, cancellationToken);

    /// <inheritdoc/>
    public virtual ValueTask WriteAsync(long offset, DataBuffer data, WriteOptions options, CancellationToken cancellationToken) =>
        Inner.WriteAsync(offset, data, options, cancellationToken);

    /// <inheritdoc/>
    public virtual ValueTask FlushAsync(CancellationToken cancellationToken) => Inner.FlushAsync(cancellationToken);

    /// <inheritdoc/>
    public virtual ValueTask DiscardAsync(long offset, long length, CancellationToken cancellationToken) => Inner.DiscardAsync(offset, length, cancellationToken);

    /// <inheritdoc/>
    public virtual ValueTask WriteZeroesAsync(long offset, long length, WriteOptions options, CancellationToken cancellationToken) =>
        Inner.WriteZeroesAsync(offset, length, options, cancellationToken);

    /// <inheritdoc/>
    public virtual ValueTask WriteSameAsync(long offset, long length, DataBuffer pattern, WriteOptions options, CancellationToken cancellationToken) =>
        Inner.WriteSameAsync(offset, length, pattern, options, cancellationToken);

    /// <inheritdoc/>
    public virtual ValueTask<long> CompareAndWriteAsync(long offset, DataBuffer compare, DataBuffer data, WriteOptions options, CancellationToken cancellationToken) =>
        Inner.CompareAndWriteAsync(offset, compare, data, options, cancellationToken);

    /// <inheritdoc/>
    public virtual ValueTask<BackstoreExtent> ExtentAsync(long offset, long length, CancellationToken cancellationToken) =>
        Inner.ExtentAsync(offset, length, cancellationToken);

    /// <inheritdoc/>
    public virtual ValueTask GrowAsync(long lengthBytes, CancellationToken cancellationToken) => Inner.GrowAsync(lengthBytes, cancellationToken);

    /// <inheritdoc/>
    public virtual ValueTask TakeLengthAsync(long lengthBytes, CancellationToken cancellationToken) => Inner.TakeLengthAsync(lengthBytes, cancellationToken);

    /// <inheritdoc/>
    public virtual event Action GeometryChanged
    {
        add => Inner.GeometryChanged += value;
        remove => Inner.GeometryChanged -= value;
    }

    /// <inheritdoc/>
    public virtual ValueTask<long> MeasureAsync() => Inner.MeasureAsync();

    /// <inheritdoc/>
    public virtual ValueTask<bool> IsDeletedAsync() => Inner.IsDeletedAsync();

    /// <inheritdoc/>
    public virtual string? Unavailable => Inner.Unavailable;

    /// <inheritdoc/>
    public virtual long? AvailableBytes => Inner.AvailableBytes;

    /// <inheritdoc/>
    public virtual ValueTask DisposeAsync()
    {
        GC.SuppressFinalize(this);
        return Inner.DisposeAsync();
    }
}
