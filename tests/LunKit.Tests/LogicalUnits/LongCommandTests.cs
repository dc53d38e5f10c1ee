using System.Buffers.Binary;
using LunKit.Backstores;
using LunKit.LogicalUnits;
using LunKit.Scsi;

namespace LunKit.Tests.LogicalUnits;

/// <summary>Commands that work in steps: what they take, where they stop, what they say of it.</summary>
public class LongCommandTests
{
    /// <summary>A command that keeps account of the memory that it is lent.</summary>
    private sealed class MeteredCommand : ScsiCommand
    {
        private long _held;

        public long Most { get; private set; }

        public long Held => _held;

        public void Prepare(UnitNexus nexus, byte[] cdb, byte[] data)
        {
            Reset(cdb);
            (Nexus, UnitNexus) = (nexus.Nexus, nexus);
            DataOut = new DataBuffer(data);
            DataOutBufferSize = data.Length;
        }

        public override DataBuffer RentDataIn(int length) => new(new byte[length]);

        protected internal override void Charge(long bytes)
        {
            _held += bytes;
            Most = Math.Max(Most, _held);
        }
    }

    [Theory]
    [InlineData("8F 00 0000000000000000 00008000 00 00", 0, 256)]
    [InlineData("8F 06 0000000000000000 00008000 00 00", 512, 256)]
    [InlineData("8B 00 0000000000000000 00008000 00 00", 16 << 20, 1024)]
    [InlineData("93 00 0000000000000000 00008000 00 00", 512, 1024)]
    [InlineData("89 00 0000000000000000 000000FF 00 00", 2 * 255 * 512, 256)]
    public async Task ScratchIsBoundedAndOnTheCommandsAccount(string cdb, int data, int kibibytes)
    {
        await using var unit = new TestUnit(new RecordingBackstore(32 << 20));
        var command = new MeteredCommand();
        byte[] bytes = new byte[data];
        if (cdb.StartsWith("93", StringComparison.Ordinal)) bytes[0] = 1;
        command.Prepare(unit.UnitNexus(0), TestUnit.Bytes(cdb), bytes);
        var result = await unit.Unit.ExecuteAsync(command);
        unit.Unit.Complete(command);
        Assert.Equal(ScsiStatus.Good, result.Status);
        Assert.InRange(command.Most, 1, kibibytes * 1024);
        Assert.Equal(0, command.Held);
    }

    [Theory]
    [InlineData("8F 00 0000000000000000 00008000 00 00", 0, "read")]
    [InlineData("8F 06 0000000000000000 00008000 00 00", 512, "read")]
    [InlineData("8B 00 0000000000000000 00008000 00 00", 16 << 20, "write")]
    [InlineData("93 00 0000000000000000 00008000 00 00", 512, "write")]
    [InlineData("42 00 00000000 00 0028 00", 40, "discard")]
    public async Task AnAbortedCommandStopsAtItsNextStep(string cdb, int length, string call)
    {
        var store = new RecordingBackstore(32 << 20);
        await using var unit = new TestUnit(store);
        var gate = new TaskCompletionSource();
        store.Before = c => c == call ? gate.Task : Task.CompletedTask;
        byte[] data = length == 40
            ? [0, 38, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0, 0, 8, 0, 0, 0, 0]
            : [.. Enumerable.Repeat((byte)1, length)];
        if (call == "read") data = new byte[length];
        var running = unit.Start(new TestCommand(), cdb, data).AsTask();
        Assert.Single(store.Calls, call);
        unit.Nexus(0).Close();
        gate.SetResult();
        Assert.Equal(ScsiStatus.TaskAborted, (await running).Status);
        Assert.Single(store.Calls, call);
    }

    [Fact]
    public async Task OrWriteGoesThroughAllSteps()
    {
        await using var unit = new TestUnit(new RecordingBackstore(32 << 20));
        var random = new Random(7);
        byte[] before = new byte[3 << 20], bits = new byte[3 << 20];
        random.NextBytes(before);
        random.NextBytes(bits);
        unit.Good("8A 00 0000000000000005 00001800 00 00", before);
        unit.Good("8B 00 0000000000000005 00001800 00 00", bits);
        Assert.Equal(before.Zip(bits, (a, b) => (byte)(a | b)), unit.Good("88 00 0000000000000005 00001800 00 00"));
    }

    [Fact]
    public async Task MiscomparesAreFoundInEveryStep()
    {
        await using var unit = new TestUnit(new RecordingBackstore(32 << 20));
        var data = new byte[1 << 20];
        unit.Good("8A 00 0000000000000000 00000800 00 00", data);
        foreach (int at in (int[])[0, (256 << 10) - 1, 256 << 10, (1 << 20) - 1])
        {
            data[at] = 1;
            Assert.Equal((ulong)at, unit.Checks(Sense.MiscompareDuringVerify, "8F 02 0000000000000000 00000800 00 00", data).Detail.Information);
            data[at] = 0;
        }
        unit.Good("8A 00 00000000000007FF 00000001 00 00", [.. new byte[511], 1]);
        var repeated = unit.Checks(Sense.MiscompareDuringVerify, "8F 06 0000000000000000 00000800 00 00", new byte[512]);
        Assert.Equal((1UL << 20) - 1, repeated.Detail.Information);
    }

    [Fact]
    public async Task CompareAndWriteComparesInStepsAndWritesOnce()
    {
        var store = new RecordingBackstore(32 << 20);
        await using var unit = new TestUnit(new BlocksOf4096(store));
        var data = new byte[2 << 20];
        foreach (int at in (int[])[0, (256 << 10) - 1, 256 << 10, (1020 << 10) - 1])
        {
            data[at] = 1;
            var list = data[..(2 * 1020 << 10)];
            Assert.Equal((ulong)at, unit.Checks(Sense.MiscompareDuringVerify, "89 00 0000000000000000 000000FF 00 00", list).Detail.Information);
            data[at] = 0;
        }
        store.Forget();
        unit.Good("89 00 0000000000000000 000000FF 00 00", data[..(2 * 1020 << 10)]);
        Assert.Equal(["read", "read", "read", "read", "write"], store.Calls);
    }

    private sealed class BlocksOf4096(RecordingBackstore store) : IBackstore
    {
        public BackstoreGeometry Geometry { get; } = new(32 << 20) { BlockSize = 4096, PhysicalBlockSize = 4096 };
        public BackstoreFeatures Features => store.Features;
        public ValueTask ReadAsync(long offset, DataBuffer data, CancellationToken cancellationToken) => store.ReadAsync(offset, data, cancellationToken);
        public ValueTask WriteAsync(long offset, DataBuffer data, WriteOptions options, CancellationToken cancellationToken) =>
            store.WriteAsync(offset, data, options, cancellationToken);
        public ValueTask FlushAsync(CancellationToken cancellationToken) => store.FlushAsync(cancellationToken);
    }

    private static byte[] CopyList(BlockUnit unit, params (long From, long To, ushort Blocks)[] segments)
    {
        var list = new byte[16 + 32 + 28 * segments.Length];
        list[0] = 1;
        list[3] = 32;
        BinaryPrimitives.WriteInt32BigEndian(list.AsSpan(8), 28 * segments.Length);
        (list[16], list[20], list[21], list[23]) = (0xE4, 1, 3, 8);
        unit.Identity.Naa.Span.CopyTo(list.AsSpan(24));
        for (int i = 0; i < segments.Length; i++)
        {
            var s = list.AsSpan(48 + 28 * i, 28);
            (s[0], s[3]) = (0x02, 0x18);
            BinaryPrimitives.WriteUInt16BigEndian(s[10..], segments[i].Blocks);
            BinaryPrimitives.WriteInt64BigEndian(s[12..], segments[i].From);
            BinaryPrimitives.WriteInt64BigEndian(s[20..], segments[i].To);
        }
        return list;
    }

    [Fact]
    public async Task ListErrorsAreFoundBeforeAnythingIsCopied()
    {
        var store = new RecordingBackstore();
        await using var unit = new TestUnit(store);
        var list = CopyList(unit.Unit, [.. Enumerable.Range(0, 257).Select(i => ((long)i, 1000L + i, (ushort)1))]);
        unit.Checks(Sense.TooManySegmentDescriptors, $"83 00 0000000000000000 {list.Length:X8} 00 00", list);
        list = CopyList(unit.Unit, (0, 1000, 1), (0, 1001, 1));
        list[48 + 28] = 0x05;
        unit.Checks(Sense.UnsupportedSegmentDescriptorType, $"83 00 0000000000000000 {list.Length:X8} 00 00", list);
        list = CopyList(unit.Unit, (0, 1000, 1), (0, 1001, 1));
        list[48 + 28 + 7] = 9;
        unit.Checks(Sense.CopyTargetUnreachable, $"83 00 0000000000000000 {list.Length:X8} 00 00", list);
        Assert.Empty(store.Calls);
        list = CopyList(unit.Unit, [.. Enumerable.Range(0, 256).Select(i => ((long)i, 1000L + i, (ushort)1))]);
        unit.Good($"83 00 0000000000000000 {list.Length:X8} 00 00", list);
    }

    [Fact]
    public async Task AFailedSegmentIsNamed()
    {
        await using var unit = new TestUnit();
        var list = CopyList(unit.Unit, (0, 1000, 1), (1, 1001, 1), (2047, 1002, 2));
        var failed = unit.Checks(Sense.CopySegmentFailed, $"83 00 0000000000000000 {list.Length:X8} 00 00", list);
        Assert.Equal(2u, failed.Detail.CommandSpecific);
        var sense = new byte[SenseData.MaxLength];
        Assert.Equal(18, SenseData.Write(sense, failed.Detail, descriptor: false));
        Assert.Equal([0, 0, 0, 2], sense[8..12]);
        int length = SenseData.Write(sense, failed.Detail, descriptor: true);
        Assert.Equal([1, 0x0A, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2], sense[8..length]);
        // RECEIVE COPY STATUS: two segments are done.
        Assert.Equal(2, BinaryPrimitives.ReadUInt16BigEndian(unit.Good("84 00 01 00000000000000 0000000C 00 00").AsSpan(5)));
    }
}
