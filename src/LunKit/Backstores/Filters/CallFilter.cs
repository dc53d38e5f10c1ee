namespace LunKit.Backstores;

/// <summary>A filter that sees the operations which return nothing as <see cref="BackstoreCall"/>s, in one place.</summary>
/// <param name="inner">The inner backstore; the filter owns it from now on.</param>
public abstract class CallFilter(IBackstore inner) : BackstoreFilter(inner, AllFeatures)
{
    /// <summary>Carries out an operation; never one of the two that return something.</summary>
    /// <param name="call">The operation.</param>
    /// <param name="data">Its data; the pattern of a write same; empty where it has none.</param>
    /// <param name="cancellationToken">Cancels it.</param>
    protected abstract ValueTask RunAsync(BackstoreCall call, DataBuffer data, CancellationToken cancellationToken);

    /// <inheritdoc/>
    public override ValueTask ReadAsync(long offset, DataBuffer data, CancellationToken cancellationToken) =>
        RunAsync(new(BackstoreOperation.Read, offset, data.Length), data, cancellationToken);

    /// <inheritdoc/>
    public override ValueTask WriteAsync(long offset, DataBuffer data, WriteOptions options, CancellationToken cancellationToken) =>
        RunAsync(new(BackstoreOperation.Write, offset, data.Length, options), data, cancellationToken);

    /// <inheritdoc/>
    public override ValueTask FlushAsync(CancellationToken cancellationToken) => RunAsync(new(BackstoreOperation.Flush, 0, 0), default, cancellationToken);

    /// <inheritdoc/>
    public override ValueTask DiscardAsync(long offset, long length, CancellationToken cancellationToken) =>
        RunAsync(new(BackstoreOperation.Discard, offset, length), default, cancellationToken);

    /// <inheritdoc/>
    public override ValueTask WriteZeroesAsync(long offset, long length, WriteOptions options, CancellationToken cancellationToken) =>
        RunAsync(new(BackstoreOperation.WriteZeroes, offset, length, options), default, cancellationToken);

    /// <inheritdoc/>
    public override ValueTask WriteSameAsync(long offset, long length, DataBuffer pattern, WriteOptions options, CancellationToken cancellationToken) =>
        RunAsync(new(BackstoreOperation.WriteSame, offset, length, options), pattern, cancellationToken);
}
