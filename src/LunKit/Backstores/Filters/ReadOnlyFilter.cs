namespace LunKit.Backstores;

/// <summary>
/// Makes a backstore read-only: <see cref="BackstoreGeometry.ReadOnly"/> is set, and everything that changes the data or its space fails with
/// <see cref="BackstoreError.ReadOnly"/>. Can be switched off and on while it is used: a write that is in progress meanwhile is completed. Thread safe.
/// </summary>
/// <param name="inner">The inner backstore; the filter owns it from now on.</param>
/// <param name="isOn">Whether it refuses writes from the start.</param>
public sealed class ReadOnlyFilter(IBackstore inner, bool isOn = true) : BackstoreFilter(inner, AllFeatures)
{
    private volatile bool _isOn = isOn;
    private volatile Derived? _derived;

    private sealed record Derived(BackstoreGeometry Of, BackstoreGeometry ReadOnly);

    /// <summary>Whether writes are refused now. Initiators read the write protection of a unit with their next MODE SENSE.</summary>
    public bool IsOn
    {
        get => _isOn;
        set => _isOn = value;
    }

    /// <inheritdoc/>
    public override BackstoreGeometry Geometry
    {
        get
        {
            var geometry = Inner.Geometry;
            if (!_isOn || geometry.ReadOnly) return geometry;
            var derived = _derived;
            if (derived is null || !ReferenceEquals(derived.Of, geometry)) _derived = derived = new(geometry, geometry with { ReadOnly = true });
            return derived.ReadOnly;
        }
    }

    private BackstoreException? Refusal(long offset) =>
        _isOn ? new(BackstoreError.ReadOnly, "filter readonly: the disk takes no writes; switch the filter off, or serve the disk without it", offset) : null;

    /// <inheritdoc/>
    public override ValueTask WriteAsync(long offset, DataBuffer data, WriteOptions options, CancellationToken cancellationToken) =>
        Refusal(offset) is { } e ? ValueTask.FromException(e) : Inner.WriteAsync(offset, data, options, cancellationToken);

    /// <inheritdoc/>
    public override ValueTask DiscardAsync(long offset, long length, CancellationToken cancellationToken) =>
        Refusal(offset) is { } e ? ValueTask.FromException(e) : Inner.DiscardAsync(offset, length, cancellationToken);

    /// <inheritdoc/>
    public override ValueTask WriteZeroesAsync(long offset, long length, WriteOptions options, CancellationToken cancellationToken) =>
        Refusal(offset) is { } e ? ValueTask.FromException(e) : Inner.WriteZeroesAsync(offset, length, options, cancellationToken);

    /// <inheritdoc/>
    public override ValueTask WriteSameAsync(long offset, long length, DataBuffer pattern, WriteOptions options, CancellationToken cancellationToken) =>
        Refusal(offset) is { } e ? ValueTask.FromException(e) : Inner.WriteSameAsync(offset, length, pattern, options, cancellationToken);

    /// <inheritdoc/>
    public override ValueTask<long> CompareAndWriteAsync(long offset, DataBuffer compare, DataBuffer data, WriteOptions options, CancellationToken cancellationToken) =>
        Refusal(offset) is { } e ? ValueTask.FromException<long>(e) : Inner.CompareAndWriteAsync(offset, compare, data, options, cancellationToken);

    /// <inheritdoc/>
    public override ValueTask GrowAsync(long lengthBytes, CancellationToken cancellationToken) =>
        Refusal(Geometry.LengthBytes) is { } e ? ValueTask.FromException(e) : Inner.GrowAsync(lengthBytes, cancellationToken);
}
