using LunKit.Backstores;

namespace LunKit.Tests.Backstores;

/// <summary>A medium behind a cache that is lost with the power, and one fault, named by its words, or none.</summary>
internal sealed class CrashingBackstore(string fault) : IBackstore
{
    private const int Bytes = 8 << 20;

    // The medium, and the machine that is on it: one that lost its power is on it no more.
    private static readonly byte[] s_medium = new byte[Bytes];
    private static int s_boot;

    private readonly byte[] _cache = (byte[])s_medium.Clone();
    private readonly int _boot = s_boot;
    private readonly Lock _gate = new();

    /// <summary>The power fails.</summary>
    public static Task CrashAsync()
    {
        Interlocked.Increment(ref s_boot);
        return Task.CompletedTask;
    }

    public BackstoreGeometry Geometry { get; } = new(Bytes);

    public BackstoreFeatures Features => BackstoreFeatures.Concurrent |
        (fault == "has a cache and does not declare it" ? 0 : BackstoreFeatures.VolatileCache) |
        (fault is "forces nothing" or "has a cache and forces" ? BackstoreFeatures.ForceUnitAccess : 0);

    private void Reach(int start, int length)
    {
        if (_boot == Volatile.Read(ref s_boot)) _cache.AsSpan(start, length).CopyTo(s_medium.AsSpan(start));
    }

    public ValueTask ReadAsync(long offset, DataBuffer data, CancellationToken cancellationToken)
    {
        lock (_gate) data.CopyFrom(_cache.AsSpan((int)offset, data.Length));
        return ValueTask.CompletedTask;
    }

    public ValueTask WriteAsync(long offset, DataBuffer data, WriteOptions options, CancellationToken cancellationToken)
    {
        lock (_gate)
        {
            data.CopyTo(_cache.AsSpan((int)offset));
            if (options == WriteOptions.ForceUnitAccess && fault != "forces nothing") Reach((int)offset, data.Length);
        }
        return ValueTask.CompletedTask;
    }

    public ValueTask FlushAsync(CancellationToken cancellationToken)
    {
        lock (_gate)
            if (fault != "flushes nothing") Reach(0, Bytes);
        return ValueTask.CompletedTask;
    }

    /// <summary>An orderly end leaves nothing in the cache.</summary>
    public ValueTask DisposeAsync()
    {
        lock (_gate) Reach(0, Bytes);
        return ValueTask.CompletedTask;
    }
}
