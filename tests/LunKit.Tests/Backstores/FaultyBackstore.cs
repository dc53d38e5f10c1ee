using LunKit.Backstores;

namespace LunKit.Tests.Backstores;

/// <summary>An array that has one fault, named by its words.</summary>
internal sealed class FaultyBackstore : IBackstore
{
    private readonly string _fault;
    private readonly GroupedFlush _grouped;
    private static readonly byte[] s_kept = new byte[16 << 20];
    private readonly Lock _gate = new();
    private byte[] _bytes;
    private int _writes, _told;
    private long _medium = 8 << 20;
    private bool _hasFailed;

    public FaultyBackstore(string fault)
    {
        _fault = fault;
        _bytes = Is("holds nothing over a restart") ? new byte[8 << 20] : s_kept;
        s_last = this;
        Geometry = new(8 << 20) { ReadOnly = Is("takes writes though read-only") };
        _grouped = new GroupedFlush(fault, TellOneAsync);
    }

    private bool Is(string what) => _fault == what;

    /// <summary>Writes fail, properly but for the fault.</summary>
    public static volatile bool IsBroken;

    private async ValueTask FailAsync(long offset, DataBuffer data)
    {
        if (Is("hangs when it fails")) await Task.Delay(60_000);
        if (Is("fails with anything")) throw new InvalidOperationException("broken");
        if (Is("acknowledges what it loses") || HasCache) return;
        if (Is("leaves half blocks when it fails"))
            lock (_gate) data.Slice(0, data.Length - 256).CopyTo(_bytes.AsSpan((int)offset));
        await Task.Yield();
        throw new BackstoreException(BackstoreError.MediumWrite, "broken");
    }

    public BackstoreGeometry Geometry { get; private set; }

    public BackstoreFeatures Features => BackstoreFeatures.Concurrent | BackstoreFeatures.CompareAndWrite | BackstoreFeatures.Discard | BackstoreFeatures.Resize |
        (HasCache ? BackstoreFeatures.VolatileCache : 0);

    private bool HasCache => _fault.StartsWith("loses its cache", StringComparison.Ordinal);

    public async ValueTask ReadAsync(long offset, DataBuffer data, CancellationToken cancellationToken)
    {
        // Neither heeds the token.
        if (Is("never completes a read")) await new TaskCompletionSource().Task;
        if (Is("blocks its caller")) Thread.Sleep(Timeout.Infinite);
        lock (_gate) data.CopyFrom(_bytes.AsSpan((int)offset, data.Length));
        if (!Is("writes memory late") || !cancellationToken.CanBeCanceled || data.Length < 256 * 1024) return;
        _ = LateAsync(data);
        await Task.Yield();
    }

    private static async Task LateAsync(DataBuffer data)
    {
        await Task.Delay(1);
        data.Clear();
    }

    public ValueTask WriteAsync(long offset, DataBuffer data, WriteOptions options, CancellationToken cancellationToken)
    {
        if (IsBroken || (Is("does not recover") && _hasFailed))
        {
            _hasFailed = true;
            return FailAsync(offset, data);
        }
        if (Is("forgets writes") && ++_writes % 50 == 0) return ValueTask.CompletedTask;
        int length = Is("drops the last block of long writes") && data.Length >= 4 << 20 ? data.Length - 512 : data.Length;
        lock (_gate) data.Slice(0, length).CopyTo(_bytes.AsSpan((int)offset));
        return ValueTask.CompletedTask;
    }

    public ValueTask FlushAsync(CancellationToken cancellationToken) => _fault switch
    {
        "loses its cache and says so" when _hasFailed => ValueTask.FromException(new BackstoreException(BackstoreError.MediumWrite, "lost")),
        "loses its cache and tells one flush" => TellOneAsync(),
        "loses its cache and tells one group of flushes" => _grouped.RunAsync(cancellationToken),
        _ => ValueTask.CompletedTask,
    };

    private async ValueTask TellOneAsync()
    {
        await Task.Delay(1);
        if (_hasFailed && Interlocked.Exchange(ref _told, 1) == 0) throw new BackstoreException(BackstoreError.MediumWrite, "lost");
    }

    public ValueTask DiscardAsync(long offset, long length, CancellationToken cancellationToken)
    {
        lock (_gate)
            if (!Is("discards without zeroes")) _bytes.AsSpan((int)offset, (int)length).Clear();
        return ValueTask.CompletedTask;
    }

    public async ValueTask<long> CompareAndWriteAsync(long offset, DataBuffer compare, DataBuffer data, WriteOptions options, CancellationToken cancellationToken)
    {
        int at;
        lock (_gate)
        {
            at = compare.FirstDifference(_bytes.AsSpan((int)offset, compare.Length));
            if (at < 0 && !Is("compares without writing as one")) data.CopyTo(_bytes.AsSpan((int)offset));
        }
        if (!Is("compares without writing as one")) return at;
        await Task.Yield();
        lock (_gate)
            if (at < 0) data.CopyTo(_bytes.AsSpan((int)offset));
        return at;
    }

    private static FaultyBackstore? s_last;

    /// <summary>Its owner makes what is behind the last one that was opened longer.</summary>
    public static Task GrowMediumAsync(long bytes)
    {
        s_last!._medium = bytes;
        return Task.CompletedTask;
    }

    public ValueTask<long> MeasureAsync() => ValueTask.FromResult(_medium);

    public ValueTask GrowAsync(long lengthBytes, CancellationToken cancellationToken)
    {
        if (_medium < lengthBytes || Is("cuts when it grows")) _medium = lengthBytes;
        return TakeLengthAsync(lengthBytes, cancellationToken);
    }

    public ValueTask TakeLengthAsync(long lengthBytes, CancellationToken cancellationToken)
    {
        if (Is("cuts what it takes over")) _medium = lengthBytes;
        lock (_gate)
        {
            _bytes = [.. _bytes.AsSpan(0, (int)Math.Min(Geometry.LengthBytes, lengthBytes)), .. new byte[Math.Max(0, lengthBytes - Geometry.LengthBytes)]];
            if (Is("grows with rubbish")) _bytes[^1] = 7;
            Geometry = Geometry with { LengthBytes = lengthBytes };
        }
        return ValueTask.CompletedTask;
    }
}
