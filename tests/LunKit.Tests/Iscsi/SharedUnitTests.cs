using System.Buffers.Binary;
using LunKit.Iscsi.Initiator;
using LunKit.Scsi;

namespace LunKit.Tests.Iscsi;

/// <summary>One unit in two targets: it knows the ports of both, and tells an initiator's ways apart.</summary>
public sealed class SharedUnitTests
{
    private const string Other = "iqn.2026-11.local.lunkit:other";
    private const ulong Key = 0x1111;

    private static async Task<(TestTarget Target, IscsiInitiator One, IscsiInitiator Two)> ConnectAsync()
    {
        var target = new TestTarget();
        target.Server.SetTarget(target.Target with { Name = Other });
        var one = await target.ConnectAsync();
        var two = await target.ConnectAsync(target.Options with { TargetName = Other });
        return (target, one, two);
    }

    private static Task<ScsiAnswer> ReserveAsync(IscsiInitiator initiator, int action, ulong key, ulong newKey)
    {
        var list = new byte[24];
        BinaryPrimitives.WriteUInt64BigEndian(list, key);
        BinaryPrimitives.WriteUInt64BigEndian(list.AsSpan(8), newKey);
        return initiator.ExecuteAsync(0, [0x5F, (byte)action, 1, 0, 0, 0, 0, 0, 24, 0], list);
    }

    /// <summary>The same initiator port at two target ports is two nexuses, each with a registration of its own (SPC-5 5.14.7).</summary>
    [Fact]
    public async Task EachWayIsARegistrantOfItsOwn()
    {
        var (target, one, two) = await ConnectAsync();
        await using var scope = target;
        Assert.Equal(ScsiStatus.Good, (await ReserveAsync(one, 0x00, 0, Key)).Status);
        Assert.Equal(ScsiStatus.Good, (await ReserveAsync(one, 0x01, Key, 0)).Status);
        Assert.Equal(ScsiStatus.ReservationConflict, (await two.ExecuteAsync(0, Cdbs.Write16(0, 1), new byte[512])).Status);
        Assert.Equal(ScsiStatus.ReservationConflict, (await ReserveAsync(two, 0x02, Key, 0)).Status);
        Assert.Equal(ScsiStatus.Good, (await one.ExecuteAsync(0, Cdbs.Write16(0, 1), new byte[512])).Status);
        // One target goes, and comes back: the port is the same, and its registration.
        target.Server.RemoveTarget(TestTarget.Iqn);
        target.Server.SetTarget(target.Target);
        var again = await target.ConnectAsync();
        Assert.Equal(ScsiStatus.Good, (await again.ExecuteAsync(0, Cdbs.Write16(0, 1), new byte[512])).Status);
        Assert.Equal(ScsiStatus.ReservationConflict, (await two.ExecuteAsync(0, Cdbs.Write16(0, 1), new byte[512])).Status);
    }

    [Fact]
    public async Task AllPortsAreReportedAndEachWayHasItsOwn()
    {
        var (target, one, two) = await ConnectAsync();
        await using var scope = target;
        static async Task<string> GroupsAsync(IscsiInitiator initiator) =>
            Convert.ToHexString((await initiator.ExecuteAsync(0, [0xA3, 0x0A, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0], null, 256)).Data);
        // One group, 1, with the ports 1 and 2.
        const string Both = "00000010008F0001000000020000000100000002";
        Assert.Equal((Both, Both), (await GroupsAsync(one), await GroupsAsync(two)));
        Assert.Equal((1, 2), (await PortAsync(one), await PortAsync(two)));
        target.Server.SetTarget(target.Target with { Luns = new Dictionary<int, LunKit.LogicalUnits.LogicalUnit>() });
        Assert.Equal("0000000C008F00010000000100000002", await GroupsAsync(two));
        Assert.Equal(2, await PortAsync(two));
    }

    /// <summary>Relative target port identifier of VPD page 83h.</summary>
    private static async Task<int> PortAsync(IscsiInitiator initiator)
    {
        var page = (await initiator.ExecuteAsync(0, [0x12, 1, 0x83, 1, 0, 0], null, 256)).Data;
        for (int at = 4; at < page.Length; at += 4 + page[at + 3])
            if ((page[at + 1] & 0x3F) == 0x14) return BinaryPrimitives.ReadUInt16BigEndian(page.AsSpan(at + 6));
        return -1;
    }

    /// <summary>Whether access states may be set depends on the way by which an initiator comes.</summary>
    [Fact]
    public async Task StatesAreSetThroughTheTargetThatAllowsIt()
    {
        var (target, one, two) = await ConnectAsync();
        await using var scope = target;
        target.Server.SetTarget(target.Target with { Name = Other, ExplicitAlua = true });
        byte[] set = [0xA4, 0x0A, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0], standby = [0, 0, 0, 0, 0x02, 0, 0, 1];
        Assert.Equal((0x10, 0x30), ((await InquiryAsync(one))[5] & 0x30, (await InquiryAsync(two))[5] & 0x30));
        Assert.Equal(ScsiStatus.CheckCondition, (await one.ExecuteAsync(0, set, standby)).Status);
        Assert.Equal(ScsiStatus.Good, (await two.ExecuteAsync(0, set, standby)).Status);
        Assert.Equal(Sense.AsymmetricAccessStateChanged, (await one.ExecuteAsync(0, new byte[6])).SenseCode);
        Assert.Equal(Sense.TargetPortStandby, (await one.ExecuteAsync(0, Cdbs.Read16(0, 1), null, 512)).SenseCode);
        // It allows it no more: the states begin anew, and everybody hears so.
        target.Server.SetTarget(target.Target with { Name = Other });
        Assert.Equal(Sense.AsymmetricAccessStateChanged, (await one.ExecuteAsync(0, new byte[6])).SenseCode);
        Assert.Equal(ScsiStatus.Good, (await one.ExecuteAsync(0, Cdbs.Read16(0, 1), null, 512)).Status);

        static async Task<byte[]> InquiryAsync(IscsiInitiator initiator) => (await initiator.ExecuteAsync(0, [0x12, 0, 0, 0, 96, 0], null, 96)).Data;
    }
}
