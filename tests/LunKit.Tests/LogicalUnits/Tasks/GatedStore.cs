using LunKit.Backstores;

namespace LunKit.Tests.LogicalUnits.Tasks;

/// <summary>A call that waits in a <see cref="GatedStore"/>.</summary>
internal sealed record StoreCall(string Kind, long Block, long Blocks, WriteOptions Options, TaskCompletionSource Gate)
{
    public override string ToString() => Kind is "flush" ? "flush" : $"{Kind} {Block}+{Blocks}{(Options == WriteOptions.None ? "" : " fua")}";
}

/// <summary>
/// A memory disk that notes every call, and in which the calls of <see cref="Gated"/> wait until the test lets them go. Like a disk it does not
/// hear of cancellation, unless <see cref="HeedsCancellation"/>.
/// </summary>
internal sealed class GatedStore(BackstoreFeatures features = BackstoreFeatures.None, long blocks = 2048) : IBackstore
{
    private readonly MemoryBackstore _memory = new(blocks * 512);
    private readonly Lock _gate = new();
    private readonly List<StoreCall> _waiting = [];
    private readonly List<string> _log = [];
    private BackstoreGeometry _geometry = new(blocks * 512);

    /// <summary>Kinds of calls that wait, with spaces between; * for all.</summary>
    public string Gated { get; set; } = "";

    public bool HeedsCancellation { get; init; }

    public bool IsDisposed { get; private set; }

    /// <summary>Calls in progress when the store was disposed; the contract says none.</summary>
    public int CallsAtDisposal { get; private set; }

    public Exception? FlushFailure { get; set; }

    public long? AvailableBytes { get; set; }

    public BackstoreGeometry Geometry
    {
        get => _geometry;
        init => _geometry = value;
    }

    public BackstoreFeatures Features => features | BackstoreFeatures.Concurrent;

    /// <summary>What waits, oldest first.</summary>
    public IReadOnlyList<string> Waiting
    {
        get { lock (_gate) return [.. _waiting.Select(c => c.ToString())]; }
    }

    /// <summary>All calls that were made, in order, and empties the list.</summary>
    public IReadOnlyList<string> TakeLog()
    {
        lock (_gate)
        {
            string[] log = [.. _log];
            _log.Clear();
            return log;
        }
    }

    /// <summary>Lets the oldest waiting call go on that reads as <paramref name="call"/> does, e.g. "write 5+1".</summary>
    public void Release(string call)
    {
        StoreCall found;
        lock (_gate)
        {
            found = _waiting.First(c => c.ToString() == call);
            _waiting.Remove(found);
        }
        found.Gate.SetResult();
    }

    /// <summary>Fails the oldest waiting call that reads so.</summary>
    public void Fail(string call, Exception e)
    {
        StoreCall found;
        lock (_gate)
        {
            found = _waiting.First(c => c.ToString() == call);
            _waiting.Remove(found);
        }
        found.Gate.SetException(e);
    }

    private int _inside;

    private async ValueTask EnterAsync(string kind, long offset, long length, WriteOptions options, CancellationToken cancellationToken)
    {
        var call = new StoreCall(kind, offset / 512, length / 512, options, new TaskCompletionSource());
        bool waits = Gated == "*" || Gated.Split(' ').Contains(kind);
        lock (_gate)
        {
            _log.Add(call.ToString());
            if (waits) _waiting.Add(call);
        }
        if (!waits) return;
        Interlocked.Increment(ref _inside);
        try
        {
            await (HeedsCancellation ? call.Gate.Task.WaitAsync(cancellationToken) : call.Gate.Task).ConfigureAwait(false);
        }
        finally
        {
            Interlocked.Decrement(ref _inside);
            lock (_gate) _waiting.Remove(call);
        }
    }

    public async ValueTask ReadAsync(long offset, DataBuffer data, CancellationToken cancellationToken)
    {
        await EnterAsync("read", offset, data.Length, WriteOptions.None, cancellationToken).ConfigureAwait(false);
        await _memory.ReadAsync(offset, data, CancellationToken.None).ConfigureAwait(false);
    }

    public async ValueTask WriteAsync(long offset, DataBuffer data, WriteOptions options, CancellationToken cancellationToken)
    {
        await EnterAsync("write", offset, data.Length, options, cancellationToken).ConfigureAwait(false);
        await _memory.WriteAsync(offset, data, options, CancellationToken.None).ConfigureAwait(false);
    }

    public async ValueTask FlushAsync(CancellationToken cancellationToken)
    {
        await EnterAsync("flush", 0, 0, WriteOptions.None, cancellationToken).ConfigureAwait(false);
        if (FlushFailure is { } failure) throw failure;
    }

    public async ValueTask DiscardAsync(long offset, long length, CancellationToken cancellationToken)
    {
        await EnterAsync("discard", offset, length, WriteOptions.None, cancellationToken).ConfigureAwait(false);
        await _memory.DiscardAsync(offset, length, CancellationToken.None).ConfigureAwait(false);
    }

    public async ValueTask WriteZeroesAsync(long offset, long length, WriteOptions options, CancellationToken cancellationToken)
    {
        await EnterAsync("zero", offset, length, options, cancellationToken).ConfigureAwait(false);
        await _memory.DiscardAsync(offset, length, CancellationToken.None).ConfigureAwait(false);
    }

    public async ValueTask WriteSameAsync(long offset, long length, DataBuffer pattern, WriteOptions options, CancellationToken cancellationToken)
    {
        await EnterAsync("same", offset, length, options, cancellationToken).ConfigureAwait(false);
        for (long done = 0; done < length; done += pattern.Length)
            await _memory.WriteAsync(offset + done, pattern, options, CancellationToken.None).ConfigureAwait(false);
    }

    public async ValueTask<long> CompareAndWriteAsync(long offset, DataBuffer compare, DataBuffer data, WriteOptions options, CancellationToken cancellationToken)
    {
        await EnterAsync("compare", offset, data.Length, options, cancellationToken).ConfigureAwait(false);
        var there = new byte[compare.Length];
        await _memory.ReadAsync(offset, new DataBuffer(there), CancellationToken.None).ConfigureAwait(false);
        int at = compare.FirstDifference(there);
        if (at < 0) await _memory.WriteAsync(offset, data, options, CancellationToken.None).ConfigureAwait(false);
        return at;
    }

    /// <summary>What its owner has made of its medium, in blocks; null: as long as the geometry is.</summary>
    public long? MediumBlocks { get; set; }

    public async ValueTask<long> MeasureAsync()
    {
        await EnterAsync("measure", 0, 0, WriteOptions.None, CancellationToken.None).ConfigureAwait(false);
        return MediumBlocks * 512 ?? _geometry.LengthBytes;
    }

    public async ValueTask GrowAsync(long lengthBytes, CancellationToken cancellationToken)
    {
        await EnterAsync("grow", 0, lengthBytes, WriteOptions.None, cancellationToken).ConfigureAwait(false);
        _geometry = _geometry with { LengthBytes = lengthBytes };
    }

    public async ValueTask TakeLengthAsync(long lengthBytes, CancellationToken cancellationToken)
    {
        await EnterAsync("take", 0, lengthBytes, WriteOptions.None, cancellationToken).ConfigureAwait(false);
        _geometry = _geometry with { LengthBytes = lengthBytes };
    }

    public event Action? GeometryChanged;

    /// <summary>The storage has another size, by itself.</summary>
    public void Become(long blocks)
    {
        _geometry = _geometry with { LengthBytes = blocks * 512 };
        GeometryChanged?.Invoke();
    }

    public ValueTask DisposeAsync()
    {
        IsDisposed = true;
        CallsAtDisposal = _inside;
        return _memory is IAsyncDisposable disposable ? disposable.DisposeAsync() : ValueTask.CompletedTask;
    }
}
