using System.Buffers.Binary;
using LunKit.Backstores;

namespace LunKit.Tests.Simulation;

/// <summary>What a simulated disk does to its calls.</summary>
internal sealed record DiskWeather
{
    public double Immediate { get; init; } = 0.4;
    public double Fails { get; init; } = 0.02;
    public double Hangs { get; init; } = 0.03;
    public int LongestHangSeconds { get; init; } = 400;
    public double IgnoresCancellation { get; init; } = 0.5;
    public double RunsOutOfThreads { get; init; } = 0.01;

    public static DiskWeather Fair { get; } = new() { Fails = 0, Hangs = 0, RunsOutOfThreads = 0 };
}

/// <summary>
/// A disk in a <see cref="SimulatedWorld"/>: calls take their time, take effect block by block at any moment until they end, hang for minutes,
/// fail, ignore that they are cancelled. It reads a write's data when the write takes effect, so data that was given back too early shows. A
/// volatile cache lies over the medium. Says what it was closed under.
/// </summary>
internal sealed class SimulatedDisk(SimulatedWorld world, int blocks) : IBackstore
{
    public const int BlockSize = 512;

    // With the number of the change: what is on the medium never becomes older.
    private readonly (ulong Value, long Change)[] _cache = new (ulong, long)[blocks];
    private readonly (ulong Value, long Change)[] _medium = new (ulong, long)[blocks];
    private long _changes;
    private int _inProgress;
    private int _callers;

    public DiskWeather Weather { get; set; } = new();
    public bool IsClosed { get; private set; }

    /// <summary>What has gone wrong with its use, or null.</summary>
    public string? Misuse { get; private set; }

    public int Flushes { get; private set; }

    /// <summary>Flushes that did not do it.</summary>
    public int FailedFlushes { get; private set; }

    public BackstoreGeometry Geometry { get; } = new((long)blocks * BlockSize) { BlockSize = BlockSize };

    public BackstoreFeatures Features => BackstoreFeatures.Concurrent | BackstoreFeatures.Discard | BackstoreFeatures.VolatileCache;

    /// <summary>Another process uses it from here on.</summary>
    public void Open() => IsClosed = false;

    /// <summary>Nobody uses it any more.</summary>
    public void Close() => IsClosed = true;

    /// <summary>Whoever has called is gone: what has not happened never does, and nobody hears of it.</summary>
    public void CallersDied()
    {
        _callers++;
        _inProgress = 0;
        IsClosed = true;
    }

    /// <summary>What had a cache is gone, and what has not reached the medium with it; the blocks that are older now.</summary>
    public List<int> LoseCache()
    {
        var lost = new List<int>();
        for (int i = 0; i < _cache.Length; i++)
        {
            if (_cache[i].Change <= _medium[i].Change) continue;
            // A cache is also written back by itself.
            if (world.Chance(0.3))
            {
                _medium[i] = _cache[i];
                continue;
            }
            _cache[i] = _medium[i];
            lost.Add(i);
        }
        return lost;
    }

    /// <summary>What the medium would have after a power loss.</summary>
    public ulong Durable(int block) => _medium[block].Value;

    public ulong Current(int block) => _cache[block].Value;

    public ValueTask ReadAsync(long offset, DataBuffer data, CancellationToken cancellationToken) =>
        Call(offset, data.Length, (block, at) => Store(data.Slice(at, BlockSize), _cache[block].Value), cancellationToken);

    public ValueTask WriteAsync(long offset, DataBuffer data, WriteOptions options, CancellationToken cancellationToken) =>
        Call(offset, data.Length, (block, at) => _cache[block] = (Load(data.Slice(at, BlockSize)), ++_changes), cancellationToken);

    public ValueTask DiscardAsync(long offset, long length, CancellationToken cancellationToken) =>
        Call(offset, (int)length, (block, _) => _cache[block] = (0, ++_changes), cancellationToken);

    public ValueTask FlushAsync(CancellationToken cancellationToken)
    {
        var seen = ((ulong Value, long Change)[])_cache.Clone();
        Flushes++;
        bool isDone = false;
        FailedFlushes++;
        // What was there when it was called is on the medium when it ends.
        return Call(0, BlockSize, (_, _) =>
        {
            for (int i = 0; i < seen.Length; i++) if (seen[i].Change > _medium[i].Change) _medium[i] = seen[i];
            if (!isDone) FailedFlushes--;
            isDone = true;
        }, cancellationToken);
    }

    private ValueTask Call(long offset, int length, Action<int, int> effect, CancellationToken cancellationToken)
    {
        if (IsClosed) Misuse ??= "a call after it was closed";
        // Nothing was done, and it can be tried again.
        if (world.Chance(Weather.RunsOutOfThreads)) throw new BackstoreException(BackstoreError.Busy, "no thread");
        var parts = Enumerable.Range(0, length / BlockSize).Select(i => (Block: (int)(offset / BlockSize) + i, At: i * BlockSize)).ToArray();
        bool fails = world.Chance(Weather.Fails), hangs = world.Chance(Weather.Hangs), ignores = world.Chance(Weather.IgnoresCancellation);
        if (!fails && !hangs && world.Chance(Weather.Immediate))
        {
            foreach (var (block, at) in parts) effect(block, at);
            return ValueTask.CompletedTask;
        }
        _inProgress++;
        int callers = _callers;
        var source = new TaskCompletionSource();
        bool ended = false;
        CancellationTokenRegistration registration = default;
        if (!ignores) registration = cancellationToken.Register(() => End(new OperationCanceledException(cancellationToken)));
        world.Random.Shuffle(parts);
        double seconds = hangs ? world.Between(10, Weather.LongestHangSeconds) : world.Between(0, 200) / 1000.0;
        foreach (var (block, at) in parts)
        {
            world.After(TimeSpan.FromSeconds(seconds * world.Random.NextDouble()), () =>
            {
                if (ended || callers != _callers || fails && world.Chance(0.5)) return;
                if (IsClosed) Misuse ??= "closed under a call that took effect afterwards";
                effect(block, at);
            });
        }
        world.After(TimeSpan.FromSeconds(seconds), () => End(fails ? new BackstoreException(BackstoreError.MediumWrite, "simulated failure") : null));
        return new ValueTask(source.Task);

        void End(Exception? failure)
        {
            if (ended || callers != _callers) return;
            ended = true;
            _inProgress--;
            registration.Unregister();
            if (failure is null) source.SetResult();
            else source.SetException(failure);
        }
    }

    public static void Store(DataBuffer block, ulong value)
    {
        Span<byte> bytes = stackalloc byte[BlockSize];
        for (int i = 0; i < BlockSize; i += 8) BinaryPrimitives.WriteUInt64LittleEndian(bytes[i..], value);
        block.CopyFrom(bytes);
    }

    /// <summary>The value of a block; a block that is not one value all over is a fault.</summary>
    public static ulong Load(DataBuffer block) => Load(block.ToArray());

    public static ulong Load(ReadOnlySpan<byte> bytes)
    {
        ulong value = BinaryPrimitives.ReadUInt64LittleEndian(bytes);
        for (int i = 8; i < BlockSize; i += 8)
            if (BinaryPrimitives.ReadUInt64LittleEndian(bytes[i..]) != value)
                throw new SimulationException($"a block is torn: {value:x} and {BinaryPrimitives.ReadUInt64LittleEndian(bytes[i..]):x}");
        return value;
    }

    public ValueTask DisposeAsync()
    {
        if (_inProgress > 0) Misuse ??= $"closed under {_inProgress} calls";
        IsClosed = true;
        return ValueTask.CompletedTask;
    }
}

/// <summary>The simulated program has done what it must not.</summary>
internal sealed class SimulationException(string message) : Exception(message);
