namespace LunKit.Backstores;

/// <summary>
/// Stands between a filter and its inner backstore, and checks that the filter keeps the contract of <see cref="IBackstore"/>: it makes only calls that
/// the inner backstore declares, inside the geometry, and one at a time unless that one is <see cref="BackstoreFeatures.Concurrent"/>. A call that does
/// not is an <see cref="InvalidOperationException"/>: a fault in the filter. Emulates nothing and counts nothing, because the <see cref="BackstoreGuard"/>
/// in front of the outermost filter does that for all of them (docs/decisions/0016). Thread safe.
/// </summary>
internal sealed class LayerGuard(IBackstore inner) : IBackstore
{
    private readonly bool _isSerial = (inner.Features & BackstoreFeatures.Concurrent) == 0;
    private int _isInside;

    public BackstoreGeometry Geometry => inner.Geometry;

    public BackstoreFeatures Features => inner.Features;

    public string? Unavailable => inner.Unavailable;

    public long? AvailableBytes => inner.AvailableBytes;

    public event Action GeometryChanged
    {
        add => inner.GeometryChanged += value;
        remove => inner.GeometryChanged -= value;
    }

    public ValueTask ReadAsync(long offset, DataBuffer data, CancellationToken cancellationToken)
    {
        RequireRange(offset, data.Length);
        return _isSerial ? AloneAsync(static c => c.inner.ReadAsync(c.offset, c.data, c.cancellationToken), (inner, offset, data, cancellationToken))
            : inner.ReadAsync(offset, data, cancellationToken);
    }

    public ValueTask WriteAsync(long offset, DataBuffer data, WriteOptions options, CancellationToken cancellationToken)
    {
        RequireRange(offset, data.Length);
        return _isSerial ? AloneAsync(static c => c.inner.WriteAsync(c.offset, c.data, c.options, c.cancellationToken), (inner, offset, data, options, cancellationToken))
            : inner.WriteAsync(offset, data, options, cancellationToken);
    }

    public ValueTask FlushAsync(CancellationToken cancellationToken) => _isSerial
        ? AloneAsync(static c => c.inner.FlushAsync(c.cancellationToken), (inner, cancellationToken)) : inner.FlushAsync(cancellationToken);

    public ValueTask DiscardAsync(long offset, long length, CancellationToken cancellationToken)
    {
        Require(BackstoreFeatures.Discard, nameof(DiscardAsync));
        RequireRange(offset, length);
        return AloneAsync(static c => c.inner.DiscardAsync(c.offset, c.length, c.cancellationToken), (inner, offset, length, cancellationToken));
    }

    public ValueTask WriteZeroesAsync(long offset, long length, WriteOptions options, CancellationToken cancellationToken)
    {
        Require(BackstoreFeatures.WriteZeroes, nameof(WriteZeroesAsync));
        RequireRange(offset, length);
        return AloneAsync(static c => c.inner.WriteZeroesAsync(c.offset, c.length, c.options, c.cancellationToken), (inner, offset, length, options, cancellationToken));
    }

    public ValueTask WriteSameAsync(long offset, long length, DataBuffer pattern, WriteOptions options, CancellationToken cancellationToken)
    {
        Require(BackstoreFeatures.WriteSame, nameof(WriteSameAsync));
        RequireRange(offset, length);
        if (pattern.IsEmpty || length % pattern.Length != 0) throw new InvalidOperationException($"{Name}: {length} bytes are no multiple of a pattern of {pattern.Length}");
        return AloneAsync(static c => c.inner.WriteSameAsync(c.offset, c.length, c.pattern, c.options, c.cancellationToken),
            (inner, offset, length, pattern, options, cancellationToken));
    }

    public ValueTask<long> CompareAndWriteAsync(long offset, DataBuffer compare, DataBuffer data, WriteOptions options, CancellationToken cancellationToken)
    {
        Require(BackstoreFeatures.CompareAndWrite, nameof(CompareAndWriteAsync));
        RequireRange(offset, data.Length);
        if (compare.Length != data.Length) throw new InvalidOperationException($"{Name}: {compare.Length} bytes cannot be compared for {data.Length}");
        return AloneAsync(static c => c.inner.CompareAndWriteAsync(c.offset, c.compare, c.data, c.options, c.cancellationToken),
            (inner, offset, compare, data, options, cancellationToken));
    }

    public ValueTask<BackstoreExtent> ExtentAsync(long offset, long length, CancellationToken cancellationToken)
    {
        Require(BackstoreFeatures.Extents, nameof(ExtentAsync));
        RequireRange(offset, length);
        return AloneAsync(static c => c.inner.ExtentAsync(c.offset, c.length, c.cancellationToken), (inner, offset, length, cancellationToken));
    }

    public ValueTask GrowAsync(long lengthBytes, CancellationToken cancellationToken)
    {
        Require(BackstoreFeatures.Resize, nameof(GrowAsync));
        if (lengthBytes < Geometry.LengthBytes) throw new InvalidOperationException($"{Name}: {lengthBytes} bytes are fewer than {Geometry.LengthBytes}");
        return AloneAsync(static c => c.inner.GrowAsync(c.lengthBytes, c.cancellationToken), (inner, lengthBytes, cancellationToken));
    }

    public ValueTask TakeLengthAsync(long lengthBytes, CancellationToken cancellationToken)
    {
        Require(BackstoreFeatures.Resize, nameof(TakeLengthAsync));
        return AloneAsync(static c => c.inner.TakeLengthAsync(c.lengthBytes, c.cancellationToken), (inner, lengthBytes, cancellationToken));
    }

    public ValueTask<long> MeasureAsync() => AloneAsync(static s => s.MeasureAsync(), inner);

    public ValueTask<bool> IsDeletedAsync() => AloneAsync(static s => s.IsDeletedAsync(), inner);

    public ValueTask DisposeAsync()
    {
        if (Volatile.Read(ref _isInside) != 0) throw new InvalidOperationException($"{Name}: disposed while a call is in progress");
        return inner.DisposeAsync();
    }

    private string Name => $"a filter over {inner.GetType().Name}";

    private void Require(BackstoreFeatures feature, string call)
    {
        if ((inner.Features & feature) == 0) throw new InvalidOperationException($"{Name}: {call} is called, but BackstoreFeatures.{feature} is not declared");
    }

    private void RequireRange(long offset, long length)
    {
        if (length <= 0) throw new InvalidOperationException($"{Name}: a call of {length} bytes");
        inner.Geometry.RequireRange(offset, length);
    }

    private ValueTask AloneAsync<TCall>(Func<TCall, ValueTask> call, TCall arguments)
    {
        return _isSerial ? RunAsync(call, arguments) : call(arguments);

        async ValueTask RunAsync(Func<TCall, ValueTask> call, TCall arguments)
        {
            Enter();
            try
            {
                await call(arguments).ConfigureAwait(false);
            }
            finally
            {
                Volatile.Write(ref _isInside, 0);
            }
        }
    }

    private ValueTask<TResult> AloneAsync<TCall, TResult>(Func<TCall, ValueTask<TResult>> call, TCall arguments)
    {
        return _isSerial ? RunAsync(call, arguments) : call(arguments);

        async ValueTask<TResult> RunAsync(Func<TCall, ValueTask<TResult>> call, TCall arguments)
        {
            Enter();
            try
            {
                return await call(arguments).ConfigureAwait(false);
            }
            finally
            {
                Volatile.Write(ref _isInside, 0);
            }
        }
    }

    private void Enter()
    {
        if (Interlocked.Exchange(ref _isInside, 1) != 0) throw new InvalidOperationException($"{Name}: two calls at once, but BackstoreFeatures.Concurrent is not declared");
    }
}
