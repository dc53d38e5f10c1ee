using LunKit.Backstores;
using LunKit.Iscsi.Initiator;
using LunKit.LogicalUnits;
using LunKit.Scsi;
using LunKit.Targets;

namespace LunKit.Tests.Iscsi;

/// <summary>Targets that change while initiators use them.</summary>
public class TargetChangeTests
{
    private static BlockUnit NewUnit(string name) => new(new MemoryBackstore(1 << 20), name, new VolatileUnitState(UnitIdentity.IdOf(name)));

    private static Target With(Target target, params (int Lun, LogicalUnit Unit)[] luns) => target with { Luns = luns.ToDictionary(l => l.Lun, l => l.Unit) };

    private static async Task<byte[]> ReportedLunsAsync(IscsiInitiator initiator)
    {
        var data = (await initiator.ExecuteAsync(0, [0xA0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0], dataInLength: 256)).Data;
        return [.. data.Skip(8).Where((_, i) => i % 8 == 1)];
    }

    [Fact]
    public async Task NewLunIsToldAndServed()
    {
        await using var target = new TestTarget();
        await using var more = NewUnit("more");
        var initiator = await target.ConnectAsync();
        target.Server.SetTarget(With(target.Target, (0, target.Unit), (5, more)));
        Assert.Equal(Sense.ReportedLunsChanged, (await initiator.ExecuteAsync(0, new byte[6])).SenseCode);
        Assert.Equal(ScsiStatus.Good, (await initiator.ExecuteAsync(0, new byte[6])).Status);
        Assert.Equal([0, 5], await ReportedLunsAsync(initiator));
        Assert.Equal(Sense.PowerOnOrReset, (await initiator.ExecuteAsync(5, new byte[6])).SenseCode);
        Assert.Equal(ScsiStatus.Good, (await initiator.ExecuteAsync(5, Cdbs.Write16(0, 1), new byte[512])).Status);
    }

    [Fact]
    public async Task ReportLunsTakesTheAttention()
    {
        await using var target = new TestTarget();
        await using var more = NewUnit("more");
        var initiator = await target.ConnectAsync();
        target.Server.SetTarget(With(target.Target, (0, target.Unit), (1, more)));
        Assert.Equal([0, 1], await ReportedLunsAsync(initiator));
        Assert.Equal(ScsiStatus.Good, (await initiator.ExecuteAsync(0, new byte[6])).Status);
    }

    [Fact]
    public async Task RemovedLunIsGoneAndItsCommandsEnd()
    {
        await using var target = new TestTarget(stores: new Dictionary<int, IBackstore> { [0] = new MemoryBackstore(1 << 20), [1] = new MemoryBackstore(1 << 20) });
        using var initiator = new ScriptedInitiator(target, level: 0);
        initiator.Command(1, new byte[6]);
        initiator.Receive();
        initiator.Command(2, new byte[6], lun: 1);
        initiator.Receive();
        initiator.Command(3, Cdbs.Write16(0, 16), write: 8192, lun: 1);
        initiator.Receive(LunKit.Iscsi.Pdus.PduOpcode.ReadyToTransfer);
        target.Server.SetTarget(With(target.Target, (0, target.Unit)));
        // Its initiator is still there: what waited for data is answered.
        var aborted = initiator.Receive();
        Assert.Equal((3u, (byte)ScsiStatus.TaskAborted), (aborted.Tag, aborted.Header[3]));
        for (int i = 0; i < 100 && target.Units[1].Tasks.Any(_ => true); i++) await Task.Delay(20);
        Assert.False(target.Units[1].Tasks.Any(_ => true));
        initiator.Command(4, new byte[6], lun: 1);
        var gone = initiator.Receive();
        Assert.Equal((4u, 0x05, 0x25), (gone.Tag, gone.Data[4] & 0x0F, gone.Data[14]));
        initiator.Command(5, new byte[6]);
        var attention = initiator.Receive();
        Assert.Equal((0x3F, 0x0E), (attention.Data[14], attention.Data[15]));
    }

    [Fact]
    public async Task InitiatorThatIsNoLongerAdmittedIsPutOut()
    {
        await using var target = new TestTarget();
        var initiator = await target.ConnectAsync();
        target.Server.SetTarget(target.Target with { Acls = [new NodeAcl("iqn.2026-11.test:other")] });
        await initiator.LogoutRequested.WaitAsync(TimeSpan.FromSeconds(30));
        await Assert.ThrowsAsync<IscsiLoginException>(() => IscsiInitiator.ConnectAsync(target.Options));
    }

    [Fact]
    public async Task TargetsComeAndGo()
    {
        await using var target = new TestTarget();
        await using var unit = NewUnit("other");
        var other = new Target { Name = "iqn.2026-11.test:second", Luns = new Dictionary<int, LogicalUnit> { [0] = unit } };
        target.Server.SetTarget(other);
        var initiator = await target.ConnectAsync(target.Options with { TargetName = other.Name });
        Assert.Equal(ScsiStatus.Good, (await initiator.ExecuteAsync(0, new byte[6])).Status);
        Assert.True(target.Server.RemoveTarget(other.Name));
        Assert.False(target.Server.RemoveTarget(other.Name));
        await initiator.LogoutRequested.WaitAsync(TimeSpan.FromSeconds(30));
        await Assert.ThrowsAsync<IscsiLoginException>(() => IscsiInitiator.ConnectAsync(target.Options with { TargetName = other.Name }));
    }
}
