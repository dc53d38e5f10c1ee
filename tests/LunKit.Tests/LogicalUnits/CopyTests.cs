using System.Buffers.Binary;
using LunKit.Backstores;
using LunKit.Iscsi.Initiator;
using LunKit.Scsi;
using LunKit.Targets;
using LunKit.Tests.Iscsi;

namespace LunKit.Tests.LogicalUnits;

public class CopyTests
{

    private static TestTarget Target(IReadOnlyList<NodeAcl>? acls = null)
    {
        return new TestTarget(acls: acls, stores: new Dictionary<int, IBackstore>
        {
            [0] = new MemoryBackstore(4 << 20), [1] = new MemoryBackstore(4 << 20), [2] = new MemoryBackstore(4 << 20),
        });
    }

    private static byte[] Naa(TestTarget target, int lun)
    {
        var descriptor = new byte[32];
        descriptor[0] = 0xE4;
        descriptor[4] = 1;
        descriptor[5] = 3;
        descriptor[7] = 8;
        target.Units[lun].Identity.Naa.Span.CopyTo(descriptor.AsSpan(8));
        return descriptor;
    }

    private static byte[] CopyList(byte[] source, byte[] destination, ushort blocks, long from, long to)
    {
        var list = new byte[16 + 64 + 28];
        list[0] = 1;
        list[3] = 64;
        list[11] = 28;
        source.CopyTo(list, 16);
        destination.CopyTo(list, 48);
        list[80] = 0x02;
        list[83] = 0x18;
        list[87] = 1;
        BinaryPrimitives.WriteUInt16BigEndian(list.AsSpan(90), blocks);
        BinaryPrimitives.WriteInt64BigEndian(list.AsSpan(92), from);
        BinaryPrimitives.WriteInt64BigEndian(list.AsSpan(100), to);
        return list;
    }

    private static byte[] Out(int action, int length, uint listId = 7)
    {
        var cdb = new byte[16];
        cdb[0] = 0x83;
        cdb[1] = (byte)action;
        if (action != 0) BinaryPrimitives.WriteUInt32BigEndian(cdb.AsSpan(6), listId);
        BinaryPrimitives.WriteUInt32BigEndian(cdb.AsSpan(10), (uint)length);
        return cdb;
    }

    private static async Task<byte[]> Fill(IscsiInitiator initiator, int lun, long lba, int blocks)
    {
        var data = new byte[blocks * 512];
        Random.Shared.NextBytes(data);
        Assert.Equal(ScsiStatus.Good, (await initiator.ExecuteAsync(lun, Cdbs.Write16(lba, blocks), data)).Status);
        return data;
    }

    [Fact]
    public async Task ExtendedCopyCopiesBetweenUnits()
    {
        await using var target = Target();
        var initiator = await target.ConnectAsync();
        var data = await Fill(initiator, 0, 100, 3000);
        var list = CopyList(Naa(target, 0), Naa(target, 1), 3000, 100, 200);
        // A pending unit attention of the destination does not stop the copy, and stays for its initiator.
        target.Units[1].EstablishForOthers(null, Sense.CapacityChanged);
        Assert.Equal(ScsiStatus.Good, (await initiator.ExecuteAsync(0, Out(0, list.Length), list)).Status);
        Assert.Equal(Sense.CapacityChanged, (await initiator.ExecuteAsync(1, new byte[6])).SenseCode);
        Assert.Equal(data, (await initiator.ExecuteAsync(1, Cdbs.Read16(200, 3000), dataInLength: data.Length)).Data);
    }

    /// <summary>The lesson of CVE-2020-28374: a unit that the nexus does not see cannot be named.</summary>
    [Fact]
    public async Task ExtendedCopyReachesNoForeignUnit()
    {
        var acl = new NodeAcl("iqn.a:b") { MappedLuns = new Dictionary<int, int> { [0] = 0 } };
        await using var target = Target([acl]);
        var initiator = await IscsiInitiator.ConnectAsync(target.Options with { InitiatorName = "iqn.a:b" });
        await initiator.ExecuteAsync(0, new byte[6]);
        foreach (var (source, destination) in ((int, int)[])[(1, 0), (0, 2)])
        {
            var list = CopyList(Naa(target, source), Naa(target, destination), 8, 0, 0);
            Assert.Equal(Sense.CopyTargetUnreachable, (await initiator.ExecuteAsync(0, Out(0, list.Length), list)).SenseCode);
        }
        await initiator.DisposeAsync();
    }

    private static async Task<byte[]> Populate(IscsiInitiator initiator, int lun, params (long, uint)[] ranges)
    {
        var list = TokenLists.Populate(ranges);
        Assert.Equal(ScsiStatus.Good, (await initiator.ExecuteAsync(lun, Out(0x10, list.Length), list)).Status);
        byte[] receive = [0x84, 0x07, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0];
        var answer = await initiator.ExecuteAsync(lun, receive, dataInLength: 1024);
        Assert.Equal(0x10, answer.Data[4]);
        Assert.Equal(0x01, answer.Data[5]);
        return answer.Data[38..(38 + 512)];
    }

    [Fact]
    public async Task TokensCarryBlocksAcrossUnits()
    {
        await using var target = Target();
        var initiator = await target.ConnectAsync();
        byte[] first = await Fill(initiator, 0, 0, 100), second = await Fill(initiator, 0, 1000, 100);
        var token = await Populate(initiator, 0, (0, 100), (1000, 100));
        var list = TokenLists.Write(token, 50, (500, 30), (600, 90));
        Assert.Equal(ScsiStatus.Good, (await initiator.ExecuteAsync(1, Out(0x11, list.Length), list)).Status);
        byte[] whole = [.. first, .. second], expected = whole[(50 * 512)..(170 * 512)];
        var a = (await initiator.ExecuteAsync(1, Cdbs.Read16(500, 30), dataInLength: 30 * 512)).Data;
        var b = (await initiator.ExecuteAsync(1, Cdbs.Read16(600, 90), dataInLength: 90 * 512)).Data;
        Assert.Equal(expected, a.Concat(b).ToArray());
        // What a token represents has changed: it is void.
        await Fill(initiator, 0, 1050, 1);
        Assert.Equal(Sense.InvalidTokenUnknown, (await initiator.ExecuteAsync(1, Out(0x11, list.Length), list)).SenseCode);
    }

    [Fact]
    public async Task TokensOfUnseenUnitsAreUnknown()
    {
        var acls = new[] { new NodeAcl("iqn.a:b"), new NodeAcl("iqn.c:d") { MappedLuns = new Dictionary<int, int> { [1] = 1 } } };
        await using var target = Target(acls);
        var owner = await target.ConnectAsync(target.Options with { InitiatorName = "iqn.a:b" });
        var token = await Populate(owner, 0, (0, 8));
        var thief = await IscsiInitiator.ConnectAsync(target.Options with { InitiatorName = "iqn.c:d" });
        await thief.ExecuteAsync(1, new byte[6]);
        var list = TokenLists.Write(token, 0, (0, 8));
        Assert.Equal(Sense.InvalidTokenUnknown, (await thief.ExecuteAsync(1, Out(0x11, list.Length), list)).SenseCode);
        await thief.DisposeAsync();
    }

    [Fact]
    public async Task ZeroTokenWritesZeroes()
    {
        await using var target = Target();
        var initiator = await target.ConnectAsync();
        await Fill(initiator, 0, 0, 64);
        var token = new byte[512];
        BinaryPrimitives.WriteUInt32BigEndian(token, 0xFFFF_0001);
        var list = TokenLists.Write(token, 0, (8, 16));
        Assert.Equal(ScsiStatus.Good, (await initiator.ExecuteAsync(0, Out(0x11, list.Length), list)).Status);
        Assert.Equal(new byte[16 * 512], (await initiator.ExecuteAsync(0, Cdbs.Read16(8, 16), dataInLength: 16 * 512)).Data);
    }
}
