using LunKit.Backstores;
using LunKit.LogicalUnits;
using LunKit.Scsi;
using Microsoft.Extensions.Logging;

namespace LunKit.Tests.LogicalUnits.Tasks;

/// <summary>CloseAsync: drains, flushes, disposes; never under a running call.</summary>
public class CloseTests
{
    private sealed class ListLogger : ILogger
    {
        private readonly Lock _gate = new();
        private readonly List<string> _lines = [];

        public string Text
        {
            get { lock (_gate) return string.Join('\n', _lines); }
        }

        public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;
        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            lock (_gate) _lines.Add($"{logLevel}: {formatter(state, exception)}");
        }
    }

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    private static async Task<bool> Closed(UnitBench bench, Task<bool> closing)
    {
        for (int i = 0; i < 4000 && !closing.IsCompleted; i++)
        {
            bench.Settle();
            await Task.Delay(1, Cancellation).ConfigureAwait(false);
        }
        return await closing.WaitAsync(TimeSpan.FromSeconds(1), Cancellation);
    }

    private static async Task<bool> Until(UnitBench bench, Func<bool> holds)
    {
        for (int i = 0; i < 4000 && !holds(); i++)
        {
            bench.Settle();
            await Task.Delay(1, Cancellation).ConfigureAwait(false);
        }
        return holds();
    }

    [Fact]
    public async Task UnderLoad()
    {
        await using var bench = new UnitBench(new GatedStore(BackstoreFeatures.VolatileCache) { Gated = "write" });
        bool raised = false;
        bench.Unit.Closed += () => raised = true;
        var running = bench.Write("running", 0, 1);
        var waiting = bench.Write("waiting", 1, 2, attribute: TaskAttribute.Ordered);
        var closing = bench.Unit.CloseAsync(TimeSpan.FromMinutes(5));
        // Each caller has a time of its own.
        Assert.False(await bench.Unit.CloseAsync(TimeSpan.Zero));
        Assert.True(bench.Unit.IsClosing);
        // What comes from here on is refused.
        Assert.Equal("05/25/00", bench.Answer(1, "12 00 00 00 24 00"));
        bench.Settle();
        Assert.Equal("TaskAborted", waiting.Answer);
        Assert.False(bench.Store.IsDisposed || closing.IsCompleted || raised);
        bench.Release("write 1+1");
        Assert.Equal("TaskAborted", running.Answer);
        Assert.True(await Closed(bench, closing));
        Assert.True(bench.Store.IsDisposed && raised);
        Assert.Equal(["write 1+1", "flush"], bench.Store.TakeLog());
        Assert.Equal(0, bench.Store.CallsAtDisposal);
    }

    [Fact]
    public async Task AStorageThatHangsIsNamedAndLeftOpen()
    {
        var log = new ListLogger();
        await using var bench = new UnitBench(new GatedStore { Gated = "write" }, log: log);
        var running = bench.Write("running", 0, 1);
        running.Tag = 0xABCD;
        bench.Write("ghost", 2, 9);
        bench.Nexus(2).Close();
        Assert.False(await Closed(bench, bench.Unit.CloseAsync(TimeSpan.FromMilliseconds(20))));
        Assert.False(bench.Store.IsDisposed);
        Assert.Contains("Error: bench is not closed after 0 s, its storage stays open: command 2Ah (tag ABCD) of iqn.test:initiator0,i,0x000000000000, running; " +
            "command 2Ah (tag 0) of iqn.test:initiator2,i,0x000000000002, running, its session is gone", log.Text, StringComparison.Ordinal);
        // Later, when it has ended.
        bench.Release("write 1+1");
        Assert.False(bench.Store.IsDisposed);
        bench.Release("write 9+1");
        Assert.True(await Until(bench, () => bench.Store.IsDisposed));
        Assert.Equal(0, bench.Store.CallsAtDisposal);
    }

    [Fact]
    public async Task AFlushThatHangsIsNamed()
    {
        var log = new ListLogger();
        await using var bench = new UnitBench(new GatedStore { Gated = "flush" }, log: log);
        Assert.False(await Closed(bench, bench.Unit.CloseAsync(TimeSpan.FromMilliseconds(20))));
        Assert.Contains("its storage does not answer", log.Text, StringComparison.Ordinal);
        Assert.False(bench.Store.IsDisposed);
        bench.Store.Release("flush");
        Assert.True(await Until(bench, () => bench.Store.IsDisposed));
    }

    [Fact]
    public async Task AFlushThatFailsIsLogged()
    {
        var log = new ListLogger();
        await using var bench = new UnitBench(new GatedStore { FlushFailure = new BackstoreException(BackstoreError.MediumWrite, "lost") }, log: log);
        Assert.True(await Closed(bench, bench.Unit.CloseAsync(TimeSpan.FromMinutes(1))));
        Assert.True(bench.Store.IsDisposed);
        Assert.Contains("Error: bench: a flush failed (the unit is closed): lost; acknowledged writes may be lost", log.Text, StringComparison.Ordinal);
    }

    /// <summary>SYNCHRONIZE CACHE with IMMED was answered long ago; its flush is a call all the same.</summary>
    [Fact]
    public async Task AFlushInTheBackgroundIsWaitedFor()
    {
        await using var bench = new UnitBench(new GatedStore(BackstoreFeatures.VolatileCache) { Gated = "flush" });
        Assert.Equal("Good", bench.Answer(0, "35 02 00000000 00 0000 00"));
        Assert.Equal(["flush"], bench.Store.Waiting);
        bench.Store.Gated = "";
        var closing = bench.Unit.CloseAsync(TimeSpan.FromMinutes(1));
        await Task.Delay(20, Cancellation);
        bench.Settle();
        Assert.False(bench.Store.IsDisposed);
        bench.Release("flush");
        Assert.True(await Closed(bench, closing));
        Assert.Equal(0, bench.Store.CallsAtDisposal);
    }

    /// <summary>The flush that a reset owes, and the one that a switched-off cache owes, belong to no command.</summary>
    [Fact]
    public async Task AFlushOfTheUnitsOwnIsWaitedFor()
    {
        await using var bench = new UnitBench(new GatedStore(BackstoreFeatures.VolatileCache) { Gated = "flush" });
        var switching = bench.Unit.SetWriteCacheAsync(false).AsTask();
        Assert.Equal(["flush"], bench.Store.Waiting);
        Assert.Equal("a call of the unit's own of LunKit, collecting", Assert.Single(bench.Unit.Tasks.Describe(8)));
        bench.Store.Gated = "";
        var closing = bench.Unit.CloseAsync(TimeSpan.FromMinutes(1));
        await Task.Delay(20, Cancellation);
        bench.Settle();
        Assert.False(bench.Store.IsDisposed);
        bench.Release("flush");
        Assert.True(await switching.WaitAsync(TimeSpan.FromSeconds(10), Cancellation));
        Assert.True(await Closed(bench, closing));
        Assert.Equal(0, bench.Store.CallsAtDisposal);
        // Too late.
        await Assert.ThrowsAsync<BackstoreException>(() => bench.Unit.FlushAsync().AsTask());
    }

    [Fact]
    public async Task ASanitizeIsStoppedAndRemembered()
    {
        var state = new VolatileUnitState(UnitIdentity.IdOf("bench"));
        var store = new GatedStore(BackstoreFeatures.Discard) { Gated = "discard", HeedsCancellation = true };
        await using (var bench = new UnitBench(store, state: state))
        {
            Assert.Equal("Good", bench.Answer(0, "48 A2 0000000000 0000 00"));
            Assert.Single(store.Waiting);
            Assert.True(await Closed(bench, bench.Unit.CloseAsync(TimeSpan.FromMinutes(1))));
            Assert.Equal(0, store.CallsAtDisposal);
        }
        // The next process knows that it did not end.
        await using var next = new UnitBench(new GatedStore(BackstoreFeatures.Discard), state: state);
        Assert.Equal("03/31/03", next.Answer(0, "28 00 00000000 00 0001 00"));
        Assert.Equal("Good", next.Answer(0, "48 1F 0000000000 0000 00"));
        Assert.Equal("Good", next.Answer(0, "28 00 00000000 00 0001 00"));
    }

    [Fact]
    public async Task ASanitizeThatCannotBeStoppedIsWaitedFor()
    {
        await using var bench = new UnitBench(new GatedStore(BackstoreFeatures.Discard) { Gated = "discard" });
        Assert.Equal("Good", bench.Answer(0, "48 82 0000000000 0000 00"));
        Assert.False(await Closed(bench, bench.Unit.CloseAsync(TimeSpan.FromMilliseconds(20))));
        Assert.False(bench.Store.IsDisposed);
        bench.Store.Release(bench.Store.Waiting[0]);
        Assert.True(await Until(bench, () => bench.Store.IsDisposed));
        Assert.Equal(0, bench.Store.CallsAtDisposal);
    }

    [Fact]
    public async Task AWaitingResizeEnds()
    {
        await using var bench = new UnitBench(new GatedStore(BackstoreFeatures.Resize) { Gated = "write" });
        bench.Write("running", 0, 2000);
        bench.Store.MediumBlocks = 1000;
        var resizing = bench.Unit.RefreshSizeAsync().AsTask();
        Assert.False(resizing.IsCompleted);
        var closing = bench.Unit.CloseAsync(TimeSpan.FromMinutes(1));
        bench.Settle();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => resizing);
        bench.Release("write 2000+1");
        Assert.True(await Closed(bench, closing));
        Assert.DoesNotContain(bench.Store.TakeLog(), l => l.StartsWith("take", StringComparison.Ordinal));
    }
}
