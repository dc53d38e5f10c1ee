using LunKit.Backstores;
using Microsoft.Extensions.Time.Testing;

namespace LunKit.Tests.Backstores.Filters;

public sealed class DelayFilterTests
{
    private static readonly TimeSpan s_delay = TimeSpan.FromMilliseconds(20), s_moment = TimeSpan.FromMilliseconds(1);

    private readonly FakeTimeProvider _time = new();

    private DelayFilter Over(DelaySettings settings) => new(new MemoryBackstore(1 << 20), settings, _time);

    private static Task Read(IBackstore store, CancellationToken stop = default) => store.ReadAsync(0, new DataBuffer(new byte[512]), stop).AsTask();

    [Fact]
    public async Task EachClassHasItsDelay()
    {
        var filter = Over(new DelaySettings { Read = s_delay, Write = 2 * s_delay, Flush = 3 * s_delay, Discard = 4 * s_delay });
        Task[] calls =
        [
            Read(filter), filter.WriteAsync(0, new DataBuffer(new byte[512]), default, default).AsTask(), filter.FlushAsync(default).AsTask(),
            filter.DiscardAsync(0, 512, default).AsTask(), filter.ExtentAsync(0, 512, default).AsTask(), filter.WriteZeroesAsync(0, 512, default, default).AsTask(),
        ];
        int[] due = [1, 2, 3, 4, 1, 2];
        for (int step = 1; step <= 4; step++)
        {
            _time.Advance(s_delay - s_moment);
            Assert.Equal(due.Select(d => d < step), calls.Select(c => c.IsCompleted));
            _time.Advance(s_moment);
            Assert.Equal(due.Select(d => d <= step), calls.Select(c => c.IsCompleted));
        }
        await Task.WhenAll(calls);
    }

    /// <summary>A write that waits has not happened.</summary>
    [Fact]
    public async Task NothingHappensBeforeTheDelay()
    {
        var memory = new MemoryBackstore(1 << 20);
        var filter = new DelayFilter(memory, DelaySettings.All(s_delay), _time);
        var read = new byte[512];
        var write = filter.WriteAsync(0, new DataBuffer(Enumerable.Repeat((byte)7, 512).ToArray()), default, default).AsTask();
        await memory.ReadAsync(0, new DataBuffer(read), default);
        Assert.Equal(0, read[0]);
        _time.Advance(s_delay);
        await write;
        await memory.ReadAsync(0, new DataBuffer(read), default);
        Assert.Equal(7, read[0]);
    }

    [Fact]
    public void OperationsWaitSideBySide()
    {
        var filter = Over(DelaySettings.All(s_delay));
        Assert.Equal(BackstoreFeatures.Concurrent, filter.Features & BackstoreFeatures.Concurrent);
        var reads = Enumerable.Range(0, 10).Select(_ => Read(filter)).ToList();
        _time.Advance(s_delay);
        Assert.All(reads, r => Assert.True(r.IsCompletedSuccessfully));
    }

    [Fact]
    public async Task CancellationEndsTheWait()
    {
        var filter = Over(DelaySettings.All(s_delay));
        using var stop = new CancellationTokenSource();
        Task read = Read(filter, stop.Token), other = Read(filter);
        await stop.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => read);
        Assert.False(other.IsCompleted);
        _time.Advance(s_delay);
        await other;
    }

    /// <summary>Off, shorter and longer: the time that has passed counts.</summary>
    [Fact]
    public void AChangeReachesThoseThatWait()
    {
        var filter = Over(DelaySettings.All(s_delay));
        Task first = Read(filter), flush = filter.FlushAsync(default).AsTask();
        _time.Advance(s_delay / 2);
        filter.Settings = filter.Settings with { Read = s_delay / 2 };
        Assert.Equal((true, false), (first.IsCompleted, flush.IsCompleted));
        filter.Settings = DelaySettings.All(2 * s_delay);
        _time.Advance(s_delay);
        Assert.False(flush.IsCompleted);
        filter.Settings = DelaySettings.Off;
        Assert.True(flush.IsCompletedSuccessfully);
        Assert.True(Read(filter).IsCompletedSuccessfully);
    }

    [Fact]
    public void DelaysThatCannotBeAreRefused()
    {
        var filter = Over(DelaySettings.Off);
        Assert.Throws<ArgumentException>(() => filter.Settings = DelaySettings.All(-s_delay));
        Assert.Throws<ArgumentException>(() => filter.Settings = new DelaySettings { Flush = TimeSpan.FromHours(2) });
        Assert.Throws<ArgumentException>(() => Over(DelaySettings.All(-s_delay)));
        Assert.Equal(DelaySettings.Off, filter.Settings);
    }

    [Fact]
    public void SwitchedOffItAllocatesNothing()
    {
        var filter = new RateFilter(Over(DelaySettings.Off), RateSettings.Off);
        var data = new DataBuffer(new byte[512]);
        for (int i = 0; i < 100; i++) Assert.True(filter.ReadAsync(0, data, default).IsCompletedSuccessfully);
        Assert.InRange(Allocations.Least(() =>
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            for (int i = 0; i < 1000; i++) filter.ReadAsync(0, data, default).GetAwaiter().GetResult();
            return GC.GetAllocatedBytesForCurrentThread() - before;
        }), 0, 1000);
    }
}
