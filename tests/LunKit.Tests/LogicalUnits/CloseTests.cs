using LunKit.Backstores;

namespace LunKit.Tests.LogicalUnits;

public class CloseTests
{
    /// <summary>Discards until it may end, whoever cancels it, and keeps the order of what it does.</summary>
    private sealed class SlowEraser : IBackstore
    {
        private readonly MemoryBackstore _memory = new(1 << 20);

        public TaskCompletionSource Entered { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
        public TaskCompletionSource MayEnd { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
        public List<string> Done { get; } = [];

        public BackstoreGeometry Geometry => _memory.Geometry;
        public BackstoreFeatures Features => BackstoreFeatures.Concurrent | BackstoreFeatures.Discard | BackstoreFeatures.VolatileCache;

        public ValueTask ReadAsync(long offset, DataBuffer data, CancellationToken cancellationToken) => _memory.ReadAsync(offset, data, cancellationToken);

        public ValueTask WriteAsync(long offset, DataBuffer data, WriteOptions options, CancellationToken cancellationToken) =>
            _memory.WriteAsync(offset, data, options, cancellationToken);

        public async ValueTask DiscardAsync(long offset, long length, CancellationToken cancellationToken)
        {
            Entered.TrySetResult();
            await MayEnd.Task;
            lock (Done) Done.Add("discard");
        }

        public ValueTask FlushAsync(CancellationToken cancellationToken)
        {
            lock (Done) Done.Add("flush");
            return ValueTask.CompletedTask;
        }

        public ValueTask DisposeAsync()
        {
            lock (Done) Done.Add("dispose");
            return ValueTask.CompletedTask;
        }
    }

    /// <summary>A SANITIZE that runs without a command ends before the last flush: what it did is on the medium, too.</summary>
    [Fact]
    public async Task NothingChangesTheMediumBehindTheLastFlush()
    {
        var store = new SlowEraser();
        var unit = new TestUnit(store);
        unit.Good("48 82 00 00 00 00 00 00 00 00");
        await store.Entered.Task;
        var closing = unit.Unit.CloseAsync(TimeSpan.FromSeconds(20));
        await Task.Delay(50, TestContext.Current.CancellationToken);
        lock (store.Done) Assert.Empty(store.Done);
        store.MayEnd.SetResult();
        Assert.True(await closing);
        Assert.Equal(("discard", "flush", "dispose"), (store.Done[0], store.Done[^2], store.Done[^1]));
    }
}
