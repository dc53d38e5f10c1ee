using LunKit.Backstores;
using LunKit.LogicalUnits;
using LunKit.Scsi;

namespace LunKit.Tests.LogicalUnits;

public class OrderTests
{
    /// <summary>A memory disk whose calls wait until the test lets them go.</summary>
    private sealed class GatedBackstore : IBackstore
    {
        private readonly MemoryBackstore _memory = new(1 << 20);
        public List<(bool Write, TaskCompletionSource Gate)> Calls { get; } = [];
        public BackstoreGeometry Geometry => _memory.Geometry;
        public BackstoreFeatures Features => BackstoreFeatures.Concurrent | BackstoreFeatures.ForceUnitAccess;

        private Task Wait(bool write, CancellationToken cancellationToken)
        {
            var gate = new TaskCompletionSource();
            lock (Calls) Calls.Add((write, gate));
            return gate.Task.WaitAsync(cancellationToken);
        }

        public async ValueTask ReadAsync(long offset, DataBuffer data, CancellationToken cancellationToken)
        {
            await Wait(false, cancellationToken);
            await _memory.ReadAsync(offset, data, cancellationToken);
        }

        public async ValueTask WriteAsync(long offset, DataBuffer data, WriteOptions options, CancellationToken cancellationToken)
        {
            await Wait(true, cancellationToken);
            await _memory.WriteAsync(offset, data, options, cancellationToken);
        }

        public ValueTask FlushAsync(CancellationToken cancellationToken) => ValueTask.CompletedTask;

        public void Release(int call) => Calls[call].Gate.SetResult();
    }

    private readonly GatedBackstore _store = new();

    private Task<CommandResult> Start(TestUnit unit, string cdb, byte[]? data = null, TaskAttribute attribute = TaskAttribute.Simple, int nexus = 0) =>
        unit.Start(new TestCommand(), cdb, data, nexus, attribute).AsTask();

    private async Task Calls(int count)
    {
        for (int i = 0; i < 500 && _store.Calls.Count < count; i++) await Task.Delay(5, TestContext.Current.CancellationToken);
        Assert.Equal(count, _store.Calls.Count);
    }

    [Fact]
    public async Task OrderedWaitsForOlderAndHoldsYounger()
    {
        await using var unit = new TestUnit(_store);
        var first = Start(unit, "28 00 00000000 00 0001 00");
        var ordered = Start(unit, "28 00 00000100 00 0001 00", attribute: TaskAttribute.Ordered);
        var last = Start(unit, "28 00 00000200 00 0001 00");
        await Calls(1);
        _store.Release(0);
        await first;
        await Calls(2);
        Assert.False(last.IsCompleted);
        _store.Release(1);
        await ordered;
        await Calls(3);
        _store.Release(2);
        Assert.Equal(ScsiStatus.Good, (await last).Status);
    }

    [Fact]
    public async Task HeadOfQueueOvertakesOrdered()
    {
        await using var unit = new TestUnit(_store);
        var first = Start(unit, "28 00 00000000 00 0001 00");
        var ordered = Start(unit, "28 00 00000100 00 0001 00", attribute: TaskAttribute.Ordered);
        var head = Start(unit, "28 00 00000200 00 0001 00", attribute: TaskAttribute.HeadOfQueue);
        await Calls(2);
        _store.Release(1);
        Assert.Equal(ScsiStatus.Good, (await head).Status);
        _store.Release(0);
        await first;
        await Calls(3);
        _store.Release(2);
        await ordered;
    }

    [Fact]
    public async Task CompareAndWriteHasItsBlocksForItself()
    {
        await using var unit = new TestUnit(_store);
        var compare = Start(unit, "89 00 0000000000000010 00000001 00 00", [.. new byte[512], .. Enumerable.Repeat((byte)1, 512)]);
        await Calls(1);
        var overlapping = Start(unit, "28 00 0000000F 00 0002 00");
        var beside = Start(unit, "28 00 00000011 00 0002 00");
        await Calls(2);
        _store.Release(1);
        await beside;
        _store.Release(0);
        await Calls(3);
        Assert.True(_store.Calls[2].Write);
        Assert.False(overlapping.IsCompleted);
        _store.Release(2);
        Assert.Equal(ScsiStatus.Good, (await compare).Status);
        await Calls(4);
        _store.Release(3);
        await overlapping;
    }

    [Fact]
    public async Task AbortEndsRunningAndWaitingCommands()
    {
        await using var unit = new TestUnit(_store, nexuses: 2);
        var running = Start(unit, "28 00 00000000 00 0001 00");
        var waiting = Start(unit, "28 00 00000100 00 0001 00", attribute: TaskAttribute.Ordered);
        var other = Start(unit, "28 00 00000200 00 0001 00", nexus: 1);
        await Calls(1);
        var over = unit.Unit.TaskManager.AbortTaskSet(unit.UnitNexus(0));
        Assert.Equal(ScsiStatus.TaskAborted, (await running).Status);
        Assert.Equal(ScsiStatus.TaskAborted, (await waiting).Status);
        await over.WaitAsync(TimeSpan.FromSeconds(10), TestContext.Current.CancellationToken);
        await Calls(2);
        _store.Release(1);
        Assert.Equal(ScsiStatus.Good, (await other).Status);
        Assert.Equal(0, unit.Unit.Tasks.Count);
    }

    [Fact]
    public async Task AcaIsRefused()
    {
        await using var unit = new TestUnit();
        var result = await Start(unit, "00 00 00 00 00 00", attribute: TaskAttribute.Aca);
        Assert.Equal(new Sense(SenseKey.IllegalRequest, 0x49, 0x00), result.Sense);
    }
}
