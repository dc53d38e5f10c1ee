using LunKit.Backstores;
using Microsoft.Extensions.Time.Testing;

namespace LunKit.Tests.Backstores.Filters;

public sealed class RateFilterTests
{
    private static readonly RateSettings s_hundred = new() { OperationsPerSecond = 100, Burst = TimeSpan.FromMilliseconds(10) };

    private readonly FakeTimeProvider _time = new();

    private RateFilter Over(RateSettings settings) => new(new MemoryBackstore(64 << 20), settings, _time);

    private static Task Read(IBackstore store, int bytes = 512, CancellationToken stop = default) => store.ReadAsync(0, new DataBuffer(new byte[bytes]), stop).AsTask();

    private static int Done(IEnumerable<Task> tasks) => tasks.Count(t => t.IsCompletedSuccessfully);

    [Fact]
    public void OperationsComeAtTheRateAndInOrder()
    {
        var filter = Over(s_hundred);
        var reads = Enumerable.Range(0, 20).Select(_ => Read(filter)).ToList();
        Assert.Equal((1, 19), (Done(reads), filter.Waiting));
        for (int i = 1; i <= 19; i++)
        {
            _time.Advance(TimeSpan.FromMilliseconds(9));
            Assert.Equal(i, Done(reads));
            _time.Advance(TimeSpan.FromMilliseconds(1));
            Assert.Equal(i + 1, Done(reads));
            Assert.True(reads[i].IsCompleted);
        }
    }

    /// <summary>What may come at once after a pause is the burst, however long the pause was.</summary>
    [Fact]
    public void APauseGivesABurst()
    {
        var filter = Over(s_hundred with { Burst = TimeSpan.FromMilliseconds(50) });
        _time.Advance(TimeSpan.FromMinutes(1));
        Assert.Equal(5, Done(Enumerable.Range(0, 20).Select(_ => Read(filter)).ToList()));
    }

    /// <summary>An operation that is longer than a second's bytes goes at once, and the next wait for its debt.</summary>
    [Fact]
    public void LongOperationsGoIntoDebt()
    {
        var filter = Over(new RateSettings { BytesPerSecond = 1 << 20, Burst = TimeSpan.FromSeconds(1) });
        Assert.True(Read(filter, 3 << 20).IsCompleted);
        Task small = Read(filter), flush = filter.FlushAsync(default).AsTask();
        _time.Advance(TimeSpan.FromSeconds(1.99));
        Assert.Equal(2, filter.Waiting);
        _time.Advance(TimeSpan.FromSeconds(0.02));
        Assert.True(small.IsCompletedSuccessfully);
        Assert.True(flush.IsCompletedSuccessfully);
    }

    /// <summary>A discard of the whole disk moves no data, and stops nobody for hours.</summary>
    [Fact]
    public void DiscardsCountAsOperationsOnly()
    {
        var filter = Over(new RateSettings { BytesPerSecond = 1000, OperationsPerSecond = 10, Burst = TimeSpan.FromMilliseconds(200) });
        Assert.True(filter.DiscardAsync(0, 64 << 20, default).IsCompleted);
        Assert.True(filter.WriteZeroesAsync(0, 64 << 20, default, default).IsCompleted);
        var read = Read(filter);
        Assert.False(read.IsCompleted);
        _time.Advance(TimeSpan.FromMilliseconds(100));
        Assert.True(read.IsCompletedSuccessfully);
    }

    [Fact]
    public async Task WhoCancelsCostsNothingAndLeavesTheOrder()
    {
        var filter = Over(s_hundred);
        using var stop = new CancellationTokenSource();
        Task first = Read(filter), cancelled = Read(filter, stop: stop.Token), third = Read(filter);
        Assert.True(first.IsCompleted);
        await stop.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => cancelled);
        Assert.Equal(1, filter.Waiting);
        _time.Advance(TimeSpan.FromMilliseconds(10));
        await third;
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => Read(filter, stop: stop.Token));
    }

    [Fact]
    public void AChangeReachesThoseThatWait()
    {
        var filter = Over(s_hundred with { OperationsPerSecond = 0.1 });
        var reads = Enumerable.Range(0, 5).Select(_ => Read(filter)).ToList();
        Assert.Equal(1, Done(reads));
        filter.Settings = s_hundred;
        _time.Advance(TimeSpan.FromMilliseconds(10));
        Assert.Equal(2, Done(reads));
        filter.Settings = RateSettings.Off;
        Assert.Equal((5, 0), (Done(reads), filter.Waiting));
        Assert.True(Read(filter).IsCompleted);
    }

    [Fact]
    public async Task TheQueueHasALimit()
    {
        var filter = Over(s_hundred);
        var reads = Enumerable.Range(0, 1 + RateFilter.MostWaiting).Select(_ => Read(filter)).ToList();
        var refusal = await Assert.ThrowsAsync<BackstoreException>(() => Read(filter));
        Assert.Equal(BackstoreError.Busy, refusal.Error);
        filter.Settings = RateSettings.Off;
        await Task.WhenAll(reads);
    }

    [Theory]
    [InlineData(-1, 0, 100)]
    [InlineData(double.NaN, 0, 100)]
    [InlineData(0, double.PositiveInfinity, 100)]
    [InlineData(1, 1, 0)]
    public void LimitsThatCannotBeAreRefused(double operations, double bytes, int burst) => Assert.Throws<ArgumentException>(() =>
        Over(new RateSettings { OperationsPerSecond = operations, BytesPerSecond = bytes, Burst = TimeSpan.FromMilliseconds(burst) }));

    /// <summary>Many callers, cancellations and changes at once, in real time: all end, and nobody is forgotten in the queue.</summary>
    [Fact]
    public async Task ChangesAndCancellationsAtOnceForgetNobody()
    {
        await using var filter = new RateFilter(new MemoryBackstore(1 << 20), new RateSettings { OperationsPerSecond = 2000 });
        var callers = Enumerable.Range(0, 8).Select(async seed =>
        {
            var random = new Random(seed);
            for (int i = 0; i < 100; i++)
            {
                using var stop = new CancellationTokenSource();
                var read = Read(filter, stop: stop.Token);
                await Task.Yield();
                if (random.Next(3) == 0) await stop.CancelAsync();
                if (random.Next(20) == 0) filter.Settings = new RateSettings { OperationsPerSecond = 1000 + random.Next(5000) };
                await read.ContinueWith(_ => { }, TestContext.Current.CancellationToken, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
            }
        }).ToList();
        await Task.WhenAll(callers).WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
        Assert.Equal(0, filter.Waiting);
    }
}
