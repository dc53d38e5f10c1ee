using LunKit.Backstores;
using LunKit.Scsi;

namespace LunKit.Tests.Tcmu.Target;

/// <summary>The closing of a unit that a handler answers.</summary>
public sealed class UnitClosingTests
{
    private sealed class Cached() : BackstoreFilter(new MemoryBackstore(1 << 20), AllFeatures)
    {
        public bool Fails { get; set; }
        public Task Gate { get; set; } = Task.CompletedTask;
        public TaskCompletionSource IsFlushing { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
        public override BackstoreFeatures Features => (Inner.Features | BackstoreFeatures.VolatileCache | BackstoreFeatures.SurvivesProcess) & ~BackstoreFeatures.Ephemeral;
        public override async ValueTask FlushAsync(CancellationToken cancellationToken)
        {
            IsFlushing.TrySetResult();
            await Gate;
            if (Fails) throw new BackstoreException(BackstoreError.NoSpace, "no space left for what is in the page cache");
        }
    }

    /// <summary>The storage is in use until the handler has flushed and let go; whoever removes the unit hears when that fails.</summary>
    [Fact]
    public async Task TheClosingWaitsForTheHandlersFlush()
    {
        await using var bench = new UserBench();
        var store = new Cached();
        var gate = new TaskCompletionSource();
        store.Gate = gate.Task;
        await using var handler = bench.Handle(store);
        Assert.Equal(ScsiStatus.Good, (await bench.SendAsync(UserBench.Write(5, 1), UserBench.Pattern(5, 1))).Result.Status);
        var closing = bench.Unit.CloseAsync(TimeSpan.FromSeconds(20));
        await store.IsFlushing.Task.WaitAsync(TimeSpan.FromSeconds(20), TestContext.Current.CancellationToken);
        await Task.Delay(200, TestContext.Current.CancellationToken);
        Assert.False(closing.IsCompleted);
        gate.SetResult();
        Assert.True(await closing);
        Assert.Null(bench.Unit.ClosingFailure);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task TheClosingSaysThatTheHandlersFlushFailed(bool hasWritten)
    {
        await using var bench = new UserBench();
        var store = new Cached();
        await using var handler = bench.Handle(store);
        if (hasWritten) Assert.Equal(ScsiStatus.Good, (await bench.SendAsync(UserBench.Write(5, 1), UserBench.Pattern(5, 1))).Result.Status);
        else await UserBench.UntilAsync(() => bench.Listener.Devices[0].IsServed, "served");
        store.Fails = true;
        Assert.True(await bench.Unit.CloseAsync(TimeSpan.FromSeconds(20)));
        Assert.Contains("durable", Assert.IsType<IOException>(bench.Unit.ClosingFailure).Message);
    }
}
