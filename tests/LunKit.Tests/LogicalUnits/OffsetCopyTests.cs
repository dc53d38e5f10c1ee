using System.Buffers.Binary;
using LunKit.Backstores;
using LunKit.Iscsi.Initiator;
using LunKit.LogicalUnits;
using LunKit.Scsi;
using LunKit.Tests.Iscsi;

namespace LunKit.Tests.LogicalUnits;

/// <summary>EXTENDED COPY by segment descriptor 0Ah: bytes that begin and end anywhere in their blocks.</summary>
public class OffsetCopyTests
{
    private static byte[] List(BlockUnit from, BlockUnit to, uint bytes, (long Lba, int Skip) source, (long Lba, int Skip) target)
    {
        var list = new byte[16 + 64 + 32];
        (list[0], list[3], list[11]) = (1, 64, 32);
        foreach (var (at, unit) in ((int, BlockUnit)[])[(16, from), (48, to)])
        {
            (list[at], list[at + 4], list[at + 5], list[at + 7]) = (0xE4, 1, 3, 8);
            unit.Identity.Naa.Span.CopyTo(list.AsSpan(at + 8));
        }
        var s = list.AsSpan(80);
        (s[0], s[3], s[7]) = (0x0A, 0x1C, 1);
        BinaryPrimitives.WriteUInt32BigEndian(s[8..], bytes);
        BinaryPrimitives.WriteInt64BigEndian(s[12..], source.Lba);
        BinaryPrimitives.WriteInt64BigEndian(s[20..], target.Lba);
        BinaryPrimitives.WriteUInt16BigEndian(s[28..], (ushort)source.Skip);
        BinaryPrimitives.WriteUInt16BigEndian(s[30..], (ushort)target.Skip);
        return list;
    }

    private static byte[] Cdb(byte[] list) => TestUnit.Bytes($"83 00 0000000000000000 {list.Length:X8} 00 00");

    /// <summary>A memory disk with blocks of 4096 bytes.</summary>
    private sealed class Blocks4096(byte[] bytes) : IBackstore
    {
        public BackstoreGeometry Geometry { get; } = new(bytes.Length) { BlockSize = 4096, PhysicalBlockSize = 4096 };
        public BackstoreFeatures Features => BackstoreFeatures.None;

        public ValueTask ReadAsync(long offset, DataBuffer data, CancellationToken cancellationToken)
        {
            data.CopyFrom(bytes.AsSpan((int)offset, data.Length));
            return ValueTask.CompletedTask;
        }

        public ValueTask WriteAsync(long offset, DataBuffer data, WriteOptions options, CancellationToken cancellationToken)
        {
            data.CopyTo(bytes.AsSpan((int)offset));
            return ValueTask.CompletedTask;
        }

        public ValueTask FlushAsync(CancellationToken cancellationToken) => ValueTask.CompletedTask;
    }

    [Theory]
    [InlineData(0, 0, 8 * 4096)]
    [InlineData(10, 50, 100)]            // within one block
    [InlineData(511, 1, 1)]
    [InlineData(0, 4000, 200)]           // over the edge of two blocks
    [InlineData(7, 4095, 3 * 4096)]
    [InlineData(300, 0, 5 * 4096 + 3)]   // begins with a block, ends inside one
    [InlineData(300, 9, 1_300_001)]      // several steps
    [InlineData(3, 3, 0)]
    public async Task CopiesExactlyTheseBytesBetweenUnitsOfDifferentBlocks(int skip, int targetSkip, int length)
    {
        byte[] large = new byte[4 << 20], expected = new byte[4 << 20];
        Random.Shared.NextBytes(large);
        large.CopyTo(expected, 0);
        var stores = new Dictionary<int, IBackstore> { [0] = new MemoryBackstore(4 << 20), [1] = new Blocks4096(large) };
        await using var target = new TestTarget(stores: stores);
        var initiator = await target.ConnectAsync();
        var source = new byte[3 << 20];
        Random.Shared.NextBytes(source);
        Assert.Equal(ScsiStatus.Good, (await initiator.ExecuteAsync(0, Cdbs.Write16(0, source.Length / 512), source)).Status);
        source.AsSpan(100 * 512 + skip, length).CopyTo(expected.AsSpan(20 * 4096 + targetSkip));
        var list = List(target.Units[0], target.Units[1], (uint)length, (100, skip), (20, targetSkip));
        Assert.Equal(ScsiStatus.Good, (await initiator.ExecuteAsync(0, Cdb(list), list)).Status);
        Assert.True(expected.AsSpan().SequenceEqual(large));
        // RECEIVE COPY STATUS: one segment, the blocks that were written.
        byte[] status = [0x84, 0x00, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0];
        var answer = (await initiator.ExecuteAsync(0, status, dataInLength: 12)).Data;
        int blocks = length == 0 ? 0 : (targetSkip + length + 4095) / 4096;
        Assert.Equal([0, 0, 0, 8, 1, 0, 1, 0xF1, .. BitConverter.GetBytes(BinaryPrimitives.ReverseEndianness(blocks))], answer);
        // And back, from large blocks to small ones.
        byte[] before = (await initiator.ExecuteAsync(0, Cdbs.Read16(0, 8192), dataInLength: 4 << 20)).Data;
        expected.AsSpan(20 * 4096 + targetSkip, length).CopyTo(before.AsSpan(600 * 512 + skip));
        list = List(target.Units[1], target.Units[0], (uint)length, (20, targetSkip), (600, skip));
        Assert.Equal(ScsiStatus.Good, (await initiator.ExecuteAsync(0, Cdb(list), list)).Status);
        byte[] after = (await initiator.ExecuteAsync(0, Cdbs.Read16(0, 8192), dataInLength: 4 << 20)).Data;
        Assert.True(before.AsSpan().SequenceEqual(after));
    }

    [Fact]
    public async Task WhatCannotBeIsRefusedBeforeAnythingIsCopied()
    {
        await using var unit = new TestUnit(new MemoryBackstore(64 << 20));
        void Refuses(int field, byte[] list) =>
            Assert.Equal(
                SenseDetail.FieldPointer(false, field, -1),
                unit.Checks(Sense.InvalidFieldInParameterList, Convert.ToHexString(Cdb(list)), list).Detail.KeySpecific);
        Refuses(108, List(unit.Unit, unit.Unit, 512, (0, 512), (8, 0)));
        Refuses(110, List(unit.Unit, unit.Unit, 512, (0, 0), (8, 512)));
        Refuses(88, List(unit.Unit, unit.Unit, 65536 * 512, (0, 0), (8, 0)));
        var bad = List(unit.Unit, unit.Unit, 512, (0, 0), (8, 0));
        bad[83] = 0x18;
        Refuses(82, bad);
        // Beyond the end: the unit's own refusal ends the copy.
        var beyond = List(unit.Unit, unit.Unit, 512, (0, 1), (131071, 1));
        unit.Checks(Sense.CopySegmentFailed, Convert.ToHexString(Cdb(beyond)), beyond);
        // The lists that say so name it.
        Assert.Equal([3, 0x02, 0x0A, 0xE4], unit.Good("84 03 0000000000000000 000000FF 00 00")[43..47]);
    }

    /// <summary>A disk on which somebody else writes a block right after it was read.</summary>
    private sealed class Busy(MemoryBackstore store, long at, byte[] theirs) : IBackstore
    {
        public BackstoreGeometry Geometry => store.Geometry;
        public BackstoreFeatures Features => BackstoreFeatures.None;
        public int Reads { get; private set; }

        public async ValueTask ReadAsync(long offset, DataBuffer data, CancellationToken cancellationToken)
        {
            await store.ReadAsync(offset, data, cancellationToken);
            if (offset == at && ++Reads == 1) await store.WriteAsync(at, new DataBuffer(theirs), WriteOptions.None, cancellationToken);
        }

        public ValueTask WriteAsync(long offset, DataBuffer data, WriteOptions options, CancellationToken cancellationToken) =>
            store.WriteAsync(offset, data, options, cancellationToken);

        public ValueTask FlushAsync(CancellationToken cancellationToken) => store.FlushAsync(cancellationToken);
    }

    [Fact]
    public async Task WhatOthersWriteToTheRestOfTheBlockIsKept()
    {
        var theirs = new byte[512];
        theirs.AsSpan().Fill(0x77);
        var store = new Busy(new MemoryBackstore(4 << 20), 1000 * 512, theirs);
        await using var unit = new TestUnit(store);
        var source = new byte[512];
        source.AsSpan().Fill(0x11);
        unit.Good("8A 00 0000000000000005 00000001 00 00", source);
        var list = List(unit.Unit, unit.Unit, 100, (5, 10), (1000, 50));
        unit.Good(Convert.ToHexString(Cdb(list)), list);
        source.AsSpan(0, 100).CopyTo(theirs.AsSpan(50));
        Assert.Equal(theirs, unit.Good("88 00 00000000000003E8 00000001 00 00"));
        // Read, compared in vain, read again, compared, and read by us.
        Assert.Equal(5, store.Reads);
    }
}
