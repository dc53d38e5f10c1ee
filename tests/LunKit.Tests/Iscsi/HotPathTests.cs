using LunKit.Scsi;

namespace LunKit.Tests.Iscsi;

[Collection(nameof(HotPathTests))]
[CollectionDefinition(nameof(HotPathTests), DisableParallelization = true)]
public class HotPathTests
{
    /// <summary>A command through table, checks, task set and backstore allocates nothing.</summary>
    [Theory]
    [InlineData("28 00 00000010 00 0008 00", 0)]
    [InlineData("2A 00 00000010 00 0008 00", 4096)]
    [InlineData("88 00 0000000000000010 00000008 00 00", 0)]
    [InlineData("00 00 00 00 00 00", 0)]
    public async Task UnitAllocatesNothing(string hex, int length)
    {
        await using var unit = new LogicalUnits.TestUnit();
        var command = new PreparedCommand(new byte[4096]);
        byte[] cdb = LogicalUnits.TestUnit.Bytes(hex), data = new byte[length];
        void Once()
        {
            command.Prepare(unit.UnitNexus(0), cdb, data);
            var running = unit.Unit.ExecuteAsync(command);
            Assert.True(running.IsCompletedSuccessfully && running.Result.Status == ScsiStatus.Good);
            unit.Unit.Complete(command);
        }
        for (int i = 0; i < 1000; i++) Once();
        Assert.Equal(0, Allocations.Least(() =>
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            for (int i = 0; i < 1000; i++) Once();
            return GC.GetAllocatedBytesForCurrentThread() - before;
        }));
    }

    /// <summary>From PDU to PDU: the connection's thread allocates nothing per command either.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task ConnectionAllocatesNothing(bool immediate)
    {
        await using var target = new TestTarget();
        var initiator = await target.ConnectAsync();
        var connection = target.Server.Connections.Single();
        uint cmdSn = connection.Session!.Window.ExpCmdSn;
        // One burst of reads and writes, sent as one buffer: everything is served in the batch it came in.
        async Task Burst(uint first)
        {
            var bytes = new List<byte>();
            for (uint i = 0; i < 256; i++)
            {
                bool write = i % 2 == 1;
                var pdu = new byte[48 + (write ? 4096 : 0)];
                LunKit.Iscsi.Pdus.ScsiCommandPdu.Write(pdu.AsSpan(0, 48), 0, first + i, !write, write, true, 1, 4096, write ? Cdbs.Write16(i * 8, 8) : Cdbs.Read16(i * 8, 8));
                if (write) new LunKit.Iscsi.Pdus.Bhs(pdu.AsSpan(0, 48)).DataLength = 4096;
                if (immediate) pdu[0] |= 0x40;
                else new LunKit.Iscsi.Pdus.Bhs(pdu.AsSpan(0, 48)).CmdSn = cmdSn++;
                bytes.AddRange(pdu);
            }
            await initiator.SendRawAsync(bytes.ToArray());
        }
        // The connection notes its allocations when it runs its timers, which a wake-up makes it do.
        async Task<long> Allocated()
        {
            connection.Wake();
            await Task.Delay(100);
            return connection.AllocatedBytes;
        }
        long Done() => target.Unit.Statistics.Commands;
        async Task Serve(uint first)
        {
            long goal = Done() + 256;
            await Burst(first);
            for (int i = 0; i < 500 && Done() < goal; i++) await Task.Delay(5);
            Assert.Equal(goal, Done());
        }
        uint tag = 0x10000;
        async Task<long> Round(int bursts)
        {
            long before = await Allocated();
            for (int i = 0; i < bursts; i++, tag += 256) await Serve(tag);
            return await Allocated() - before;
        }
        await Round(8);
        Assert.InRange(await Allocations.LeastAsync(() => Round(16)), 0, 16 * 256);
    }

    /// <summary>Reads that go on after their batch, and end in any order, share the queue's chunks: none costs one of its own.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task ReadsThatWaitShareChunks(bool digests)
    {
        const int Outstanding = 32, Each = 100;
        var store = new WaitingBackstore(4 << 20);
        await using var target = new TestTarget(stores: new Dictionary<int, LunKit.Backstores.IBackstore> { [0] = store });
        var initiator = await target.ConnectAsync(target.Options with { HeaderDigest = digests, DataDigest = digests });
        async Task ReadAsync(int worker, int count)
        {
            var random = new Random(worker);
            for (int i = 0; i < count; i++)
            {
                int blocks = 1 + random.Next(16), lba = random.Next(8192 - blocks);
                var answer = await initiator.ExecuteAsync(0, Cdbs.Read16(lba, blocks), dataInLength: blocks * 512);
                Assert.True(answer.Status == ScsiStatus.Good && answer.Data.AsSpan().SequenceEqual(store.Expected(lba, blocks)), $"{blocks} blocks from {lba}");
            }
        }
        await Task.WhenAll(Enumerable.Range(0, Outstanding).Select(i => ReadAsync(i, 10)));
        long before = GC.GetTotalAllocatedBytes(precise: true);
        await Task.WhenAll(Enumerable.Range(0, Outstanding).Select(i => ReadAsync(i, Each)));
        // The initiator's own memory is about three times the data.
        Assert.InRange((GC.GetTotalAllocatedBytes(precise: true) - before) / (Outstanding * Each), 0, 48 * 1024);
    }

    /// <summary>Every block says which it is; reads take a while, each another.</summary>
    private sealed class WaitingBackstore(long bytes) : LunKit.Backstores.IBackstore
    {
        private int _reads;

        public LunKit.Backstores.BackstoreGeometry Geometry { get; } = new(bytes) { ReadOnly = true };

        public LunKit.Backstores.BackstoreFeatures Features => LunKit.Backstores.BackstoreFeatures.Concurrent;

        public byte[] Expected(int lba, int blocks)
        {
            var data = new byte[blocks * 512];
            for (int i = 0; i < data.Length; i += 4) System.Buffers.Binary.BinaryPrimitives.WriteInt32LittleEndian(data.AsSpan(i), (lba + i / 512) * 128 + i % 512 / 4);
            return data;
        }

        public async ValueTask ReadAsync(long offset, LunKit.Backstores.DataBuffer data, CancellationToken cancellationToken)
        {
            int number = Interlocked.Increment(ref _reads);
            if (number % 7 == 0) await Task.Delay(1, cancellationToken);
            else for (int i = 0; i < number % 3; i++) await Task.Yield();
            data.CopyFrom(Expected((int)(offset / 512), data.Length / 512));
        }

        public ValueTask WriteAsync(long offset, LunKit.Backstores.DataBuffer data, LunKit.Backstores.WriteOptions options, CancellationToken cancellationToken) => throw new NotSupportedException();

        public ValueTask FlushAsync(CancellationToken cancellationToken) => default;

        public ValueTask DisposeAsync() => default;
    }

    private sealed class PreparedCommand(byte[] dataIn) : LunKit.LogicalUnits.ScsiCommand
    {
        public void Prepare(LunKit.LogicalUnits.UnitNexus nexus, byte[] cdb, byte[] dataOut)
        {
            Reset(cdb);
            Nexus = nexus.Nexus;
            UnitNexus = nexus;
            Attribute = TaskAttribute.Simple;
            DataOut = new LunKit.Backstores.DataBuffer(dataOut);
            DataOutBufferSize = dataOut.Length;
        }

        public override LunKit.Backstores.DataBuffer RentDataIn(int length) => new(dataIn.AsMemory(0, length));
    }
}
