using LunKit.Backstores;

namespace LunKit.App.Replay;

/// <summary>Executes the operations of a trace on a backstore, at the recorded times or as fast as possible, and measures them.</summary>
/// <param name="store">The backstore.</param>
/// <param name="trace">What to do.</param>
/// <param name="isFast">Not at the recorded times: each operation as soon as fewer than <paramref name="depth"/> are in progress.</param>
/// <param name="depth">Operations in progress at most.</param>
/// <param name="time">Clock and timers.</param>
internal sealed class Replayer(BackstoreGuard store, RecordedTrace trace, bool isFast, int depth, TimeProvider time)
{
    // A trace does not contain the data, and the data that is read is not used: all operations share these buffers.
    private readonly byte[] _source = Bytes(trace.Longest, store.Geometry.BlockSize), _sink = new byte[trace.Longest];
    private readonly Dictionary<BackstoreOperation, ReplayResult> _results = trace.Operations.Select(o => o.Call.Operation).Distinct().ToDictionary(o => o, _ => new ReplayResult());
    private long _ended, _latest;

    /// <summary>The results of each operation.</summary>
    public IReadOnlyDictionary<BackstoreOperation, ReplayResult> Results => _results;

    /// <summary>Operations that have ended.</summary>
    public long Ended => Volatile.Read(ref _ended);

    /// <summary>How much later than it should an operation began, at most, in microseconds.</summary>
    public long Latest => _latest;

    private static byte[] Bytes(int longest, int block)
    {
        var bytes = new byte[Math.Max(longest, block)];
        new Random(1).NextBytes(bytes);
        return bytes;
    }

    /// <summary>Refuses a trace that does not fit the backstore: null when it does, else why not.</summary>
    public static string? WhyNot(RecordedTrace trace, BackstoreGeometry geometry)
    {
        if (trace.End > geometry.LengthBytes) return $"the trace reaches byte {trace.End}, and there are only {geometry.LengthBytes}: give a backstore that is as large as the traced one";
        var odd = trace.Operations.Where(o => ((o.Call.Offset | o.Call.Length) & (geometry.BlockSize - 1)) != 0).Select(o => (BackstoreCall?)o.Call).FirstOrDefault();
        return odd is { } call ? $"the trace has {call}, which are no whole blocks of {geometry.BlockSize} bytes: give block= as the traced disk has it" : null;
    }

    /// <summary>Replays. Operations that fail are counted; only a cancellation ends it early, and then all that has begun has ended, too.</summary>
    public async Task RunAsync(CancellationToken stop)
    {
        using var room = new SemaphoreSlim(depth, depth);
        long began = time.GetTimestamp();
        try
        {
            foreach (var operation in trace.Operations)
            {
                if (!isFast) await WaitAsync(operation.At, began, stop);
                await room.WaitAsync(stop);
                if (!isFast) _latest = Math.Max(_latest, Since(began) - operation.At);
                _ = OneAsync(operation, room, stop);
            }
        }
        finally
        {
            for (int i = 0; i < depth; i++) await room.WaitAsync(CancellationToken.None);
        }
    }

    private long Since(long began) => time.GetElapsedTime(began).Ticks / TimeSpan.TicksPerMicrosecond;

    // Timers do not take every number that a file may have.
    private const long MostWait = 60_000;

    private async Task WaitAsync(long at, long began, CancellationToken stop)
    {
        // Timers are exact to a millisecond; what is due within one is due.
        for (long left; (left = at - Since(began)) >= 1000;) await Task.Delay(TimeSpan.FromMilliseconds(Math.Min(left / 1000, MostWait)), time, stop);
    }

    private async Task OneAsync(RecordedOperation operation, SemaphoreSlim room, CancellationToken stop)
    {
        var result = _results[operation.Call.Operation];
        long began = time.GetTimestamp();
        try
        {
            await MakeAsync(operation.Call, stop);
            result.Add(Since(began), operation);
        }
        catch (Exception e)
        {
            result.Fail(e.Message);
        }
        finally
        {
            Interlocked.Increment(ref _ended);
            room.Release();
        }
    }

    private async ValueTask MakeAsync(BackstoreCall call, CancellationToken stop)
    {
        DataBuffer Part(byte[] bytes) => new(bytes.AsMemory(0, (int)call.Length));
        switch (call.Operation)
        {
            case BackstoreOperation.Read:
                await store.ReadAsync(call.Offset, Part(_sink), stop);
                break;
            case BackstoreOperation.Write:
                await store.WriteAsync(call.Offset, Part(_source), call.Options, stop);
                break;
            case BackstoreOperation.Flush:
                await store.FlushAsync(stop);
                break;
            case BackstoreOperation.Discard:
                await store.DiscardAsync(call.Offset, call.Length, stop);
                break;
            case BackstoreOperation.WriteZeroes:
                await store.WriteZeroesAsync(call.Offset, call.Length, call.Options, stop);
                break;
            case BackstoreOperation.WriteSame:
                await store.WriteSameAsync(call.Offset, call.Length, new(_source.AsMemory(0, store.Geometry.BlockSize)), call.Options, stop);
                break;
            case BackstoreOperation.CompareAndWrite:
                await store.CompareAndWriteAsync(call.Offset, Part(_source), Part(_source), call.Options, stop);
                break;
            default:
                await store.ExtentAsync(call.Offset, call.Length, stop);
                break;
        }
    }
}

/// <summary>How the operations of one kind went. Thread safe.</summary>
internal sealed class ReplayResult
{
    private long _bytes, _failed;
    private string? _firstFailure;

    /// <summary>Times of those that succeeded.</summary>
    public LatencyHistogram Latencies { get; } = new();

    /// <summary>Their recorded times.</summary>
    public LatencyHistogram Recorded { get; } = new();

    public long Bytes => Volatile.Read(ref _bytes);

    public long Failed => Volatile.Read(ref _failed);

    /// <summary>Why the first failed; null when none did.</summary>
    public string? FirstFailure => Volatile.Read(ref _firstFailure);

    public void Add(long microseconds, RecordedOperation operation)
    {
        Latencies.Add(microseconds);
        Recorded.Add(operation.Latency);
        Interlocked.Add(ref _bytes, operation.Call.Length);
    }

    public void Fail(string why)
    {
        Interlocked.Increment(ref _failed);
        Interlocked.CompareExchange(ref _firstFailure, why, null);
    }
}
