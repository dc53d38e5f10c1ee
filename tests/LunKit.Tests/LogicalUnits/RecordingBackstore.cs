using LunKit.Backstores;

namespace LunKit.Tests.LogicalUnits;

/// <summary>A memory disk with a volatile cache that records what it is asked for, can hold calls up and can fail flushes.</summary>
internal sealed class RecordingBackstore(long length = 1 << 20, BackstoreFeatures features = RecordingBackstore.All) : IBackstore
{
    public const BackstoreFeatures All = BackstoreFeatures.Concurrent | BackstoreFeatures.VolatileCache | BackstoreFeatures.ForceUnitAccess |
        BackstoreFeatures.Discard | BackstoreFeatures.WriteZeroes;

    private readonly MemoryBackstore _memory = new(length);
    private readonly Lock _gate = new();
    private readonly List<string> _calls = [];

    /// <summary>Awaited before each call has its effect, whatever the caller's token says.</summary>
    public Func<string, Task>? Before { get; set; }

    public Exception? FlushFailure { get; set; }

    public BackstoreGeometry Geometry => _memory.Geometry;

    public BackstoreFeatures Features => features;

    public IReadOnlyList<string> Calls
    {
        get
        {
            lock (_gate) return [.. _calls];
        }
    }

    public void Forget()
    {
        lock (_gate) _calls.Clear();
    }

    private async Task Record(string call)
    {
        lock (_gate) _calls.Add(call);
        if (Before is { } before) await before(call);
    }

    private static string Name(string call, WriteOptions options) => options == WriteOptions.ForceUnitAccess ? $"{call} FUA" : call;

    public async ValueTask ReadAsync(long offset, DataBuffer data, CancellationToken cancellationToken)
    {
        await Record("read");
        await _memory.ReadAsync(offset, data, CancellationToken.None);
    }

    public async ValueTask WriteAsync(long offset, DataBuffer data, WriteOptions options, CancellationToken cancellationToken)
    {
        await Record(Name("write", options));
        await _memory.WriteAsync(offset, data, options, CancellationToken.None);
    }

    public async ValueTask FlushAsync(CancellationToken cancellationToken)
    {
        await Record("flush");
        if (FlushFailure is { } failure) throw failure;
    }

    public async ValueTask DiscardAsync(long offset, long length, CancellationToken cancellationToken)
    {
        await Record("discard");
        await _memory.DiscardAsync(offset, length, CancellationToken.None);
    }

    public async ValueTask WriteZeroesAsync(long offset, long length, WriteOptions options, CancellationToken cancellationToken)
    {
        await Record(Name("zeroes", options));
        await _memory.WriteZeroesAsync(offset, length, options, CancellationToken.None);
    }
}
