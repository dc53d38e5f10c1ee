using LunKit.Backstores;
using LunKit.Iscsi.Initiator;
using LunKit.Scsi;
using LunKit.Targets;
using LunKit.Tests.Backstores.Filters;

namespace LunKit.Tests.Iscsi;

public class SessionTests
{
    private static readonly ChapCredential s_alice = new("alice", "correct horse battery"), s_target = new("target", "staple and some more");

    private static byte[] Random(int length)
    {
        var data = new byte[length];
        System.Random.Shared.NextBytes(data);
        return data;
    }

    [Theory]
    [InlineData(false, false, false, true, 262144)]
    [InlineData(true, true, false, true, 262144)]
    [InlineData(true, false, true, false, 8192)]
    [InlineData(false, true, true, true, 1024)]
    [InlineData(true, true, false, false, 65536)]
    public async Task DataGoesThroughInEveryMode(bool headerDigest, bool dataDigest, bool initialR2T, bool immediate, int segment)
    {
        await using var target = new TestTarget();
        var initiator = await target.ConnectAsync(target.Options with
        {
            HeaderDigest = headerDigest, DataDigest = dataDigest, InitialR2T = initialR2T, ImmediateData = immediate, MaxRecvDataSegmentLength = segment,
        });
        Assert.Equal(headerDigest, initiator.Parameters.HeaderDigest);
        foreach (int blocks in (int[])[1, 3, 8, 511, 2048, 9000])
        {
            var data = Random(blocks * 512);
            Assert.Equal(ScsiStatus.Good, (await initiator.ExecuteAsync(0, Cdbs.Write16(7, blocks), data)).Status);
            var answer = await initiator.ExecuteAsync(0, Cdbs.Read16(7, blocks), dataInLength: data.Length);
            Assert.Equal(ScsiStatus.Good, answer.Status);
            Assert.True(answer.Data.AsSpan().SequenceEqual(data));
        }
    }

    [Fact]
    public async Task ManyCommandsAtOnceAllEnd()
    {
        await using var target = new TestTarget();
        var initiator = await target.ConnectAsync();
        var answers = await Task.WhenAll(Enumerable.Range(0, 200).Select(async i =>
        {
            var data = Random(4096);
            await initiator.ExecuteAsync(0, Cdbs.Write16(i * 8, 8), data);
            return (data, (await initiator.ExecuteAsync(0, Cdbs.Read16(i * 8, 8), dataInLength: 4096)).Data);
        }));
        Assert.All(answers, a => Assert.Equal(a.data, a.Data));
    }

    [Theory]
    [InlineData(5)]
    [InlineData(6)]
    [InlineData(7)]
    [InlineData(8)]
    public async Task ChapWorksBothWaysWithEveryDigest(int algorithm)
    {
        Assert.SkipUnless(LunKit.Iscsi.Login.Chap.IsSupported(algorithm), "needs an OpenSSL with SHA-3 (1.1.1 or newer)");
        await using var target = new TestTarget(chap: s_alice, mutual: s_target);
        var options = target.Options with { Chap = s_alice, MutualChap = s_target, ChapAlgorithms = [algorithm] };
        var initiator = await target.ConnectAsync(options);
        Assert.Equal(ScsiStatus.Good, (await initiator.ExecuteAsync(0, new byte[6])).Status);
        var wrong = await Assert.ThrowsAsync<IscsiLoginException>(() => target.ConnectAsync(options with { Chap = s_alice with { Secret = "wrong" } }));
        Assert.Equal(0x0201, wrong.Status);
        var unknown = await Assert.ThrowsAsync<IscsiLoginException>(() => target.ConnectAsync(options with { Chap = s_alice with { Name = "eve" } }));
        Assert.Equal(0x0201, unknown.Status);
        await Assert.ThrowsAsync<IscsiLoginException>(() => target.ConnectAsync(options with { MutualChap = s_target with { Secret = "other" } }));
    }

    [Fact]
    public async Task WithoutCredentialNobodyGetsIn()
    {
        await using var target = new TestTarget(chap: s_alice);
        Assert.Equal(0x0201, (await Assert.ThrowsAsync<IscsiLoginException>(() => target.ConnectAsync())).Status);
        Assert.Equal(0x0201, (await Assert.ThrowsAsync<IscsiLoginException>(() => target.ConnectAsync(target.Options with { TargetName = null }))).Status);
    }

    [Fact]
    public async Task AclDecidesWhoSeesWhat()
    {
        var acl = new NodeAcl("iqn.a:b") { MappedLuns = new Dictionary<int, int> { [1] = 0, [5] = 16383 } };
        await using var target = new TestTarget(acls: [acl, new NodeAcl("iqn.c:d")],
            stores: new Dictionary<int, IBackstore> { [0] = new MemoryBackstore(1 << 20), [1] = new MemoryBackstore(2 << 20), [5] = new MemoryBackstore(4 << 20) });
        Assert.Equal(0x0202, (await Assert.ThrowsAsync<IscsiLoginException>(() => target.ConnectAsync())).Status);
        var initiator = await IscsiInitiator.ConnectAsync(target.Options with { InitiatorName = "iqn.a:b" });
        await initiator.ExecuteAsync(0, new byte[6]);
        var luns = await initiator.ExecuteAsync(0, [0xA0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0], dataInLength: 256);
        Assert.Equal("0000001000000000" + "0000000000000000" + "7FFF000000000000", Convert.ToHexString(luns.Data));
        Assert.Equal(232, luns.Residual);
        await initiator.ExecuteAsync(16383, new byte[6]);
        Assert.Equal(ScsiStatus.Good, (await initiator.ExecuteAsync(16383, new byte[6])).Status);
        Assert.Equal(Sense.LogicalUnitNotSupported, (await initiator.ExecuteAsync(5, new byte[6])).SenseCode);
        await initiator.DisposeAsync();
    }

    [Fact]
    public async Task DiscoveryShowsPortalsAndOnlyOwnTargets()
    {
        await using var target = new TestTarget(portals: 3);
        var discovery = await target.ConnectAsync(target.Options with { TargetName = null });
        var found = await discovery.SendTargetsAsync();
        Assert.Equal([TestTarget.Iqn], found.Where(k => k.Key == "TargetName").Select(k => k.Value));
        Assert.Equal(target.Server.Portals.Select(p => $"{p.EndPoint},{p.GroupTag}"), found.Where(k => k.Key == "TargetAddress").Select(k => k.Value));
        Assert.Empty(await discovery.SendTargetsAsync("iqn.other:target"));
        Assert.Equal(found, await discovery.SendTargetsAsync(TestTarget.Iqn.ToUpperInvariant()));
        var normal = await target.ConnectAsync();
        Assert.Contains(await normal.SendTargetsAsync(""), k => k.Value == TestTarget.Iqn);
        Assert.Empty(await normal.SendTargetsAsync("iqn.other:target"));
        // All of what this session may ask for.
        Assert.Equal(await normal.SendTargetsAsync(""), await normal.SendTargetsAsync("All"));
    }

    [Fact]
    public async Task RedirectionIsAnswered()
    {
        await using var target = new TestTarget(redirect: "192.0.2.1:3260,1");
        var moved = await Assert.ThrowsAsync<IscsiLoginException>(() => target.ConnectAsync());
        Assert.Equal((0x0101, "192.0.2.1:3260,1"), (moved.Status, moved.TargetAddress));
    }

    [Fact]
    public async Task NewLoginOfTheSamePortReplacesTheSession()
    {
        await using var target = new TestTarget();
        var first = await target.ConnectAsync();
        var second = await target.ConnectAsync();
        await first.LogoutRequested.WaitAsync(TimeSpan.FromSeconds(30));
        Assert.Equal(1, target.Server.SessionCount);
        Assert.Equal(ScsiStatus.Good, (await second.ExecuteAsync(0, new byte[6])).Status);
        var other = await target.ConnectAsync(target.Options with { Isid = 0x8000_0000_0002 });
        Assert.Equal(2, target.Server.SessionCount);
        Assert.Equal(ScsiStatus.Good, (await other.ExecuteAsync(0, new byte[6])).Status);
    }

    [Fact]
    public async Task SeveralConnectionsShareASession()
    {
        await using var target = new TestTarget();
        var leading = await target.ConnectAsync(target.Options with { MaxConnections = 2 });
        var second = await IscsiInitiator.ConnectAsync(target.Options with { SessionHandle = leading.SessionHandle, ConnectionId = 1 });
        Assert.Equal(1, target.Server.SessionCount);
        Assert.Equal(2, target.Server.ConnectionCount);
        var refused = await Assert.ThrowsAsync<IscsiLoginException>(() =>
            IscsiInitiator.ConnectAsync(target.Options with { SessionHandle = leading.SessionHandle, ConnectionId = 2 }));
        Assert.Equal(0x0206, refused.Status);
        var gone = await Assert.ThrowsAsync<IscsiLoginException>(() => IscsiInitiator.ConnectAsync(target.Options with { SessionHandle = 0x7777, ConnectionId = 1 }));
        Assert.Equal(0x020A, gone.Status);
        // CmdSN counts over both: a command that comes early on one connection waits for the one before it on the other.
        second.SetCommandNumber(leading.CommandNumber + 1);
        var early = second.ExecuteAsync(0, Cdbs.Read16(0, 1), dataInLength: 512);
        await Task.Delay(100);
        Assert.False(early.IsCompleted);
        Assert.Equal(ScsiStatus.Good, (await leading.ExecuteAsync(0, Cdbs.Read16(0, 1), dataInLength: 512)).Status);
        Assert.Equal(ScsiStatus.Good, (await early).Status);
        await second.DisposeAsync();
    }

    [Fact]
    public async Task PingIsEchoed()
    {
        await using var target = new TestTarget();
        var initiator = await target.ConnectAsync(target.Options with { DataDigest = true });
        var data = Random(777);
        Assert.Equal(data, await initiator.PingAsync(data));
    }

    [Fact]
    public async Task StoppingAsksForLogout()
    {
        await using var target = new TestTarget();
        var initiator = await target.ConnectAsync();
        var stopping = target.Server.StopAsync();
        await initiator.LogoutRequested.WaitAsync(TimeSpan.FromSeconds(30));
        await initiator.LogoutAsync();
        await stopping.WaitAsync(TimeSpan.FromSeconds(30));
        Assert.Equal(0, target.Server.ConnectionCount);
    }

    [Fact]
    public async Task ResetTellsEveryNexus()
    {
        await using var target = new TestTarget(coldReset: true);
        var a = await target.ConnectAsync();
        var b = await target.ConnectAsync(target.Options with { Isid = 0x8000_0000_0002 });
        Assert.Equal(0, await a.ManageAsync(TaskManagementFunction.LogicalUnitReset, 0));
        Assert.Equal(Sense.BusDeviceResetOccurred, (await a.ExecuteAsync(0, new byte[6])).SenseCode);
        Assert.Equal(Sense.BusDeviceResetOccurred, (await b.ExecuteAsync(0, new byte[6])).SenseCode);
        Assert.Equal(2, await a.ManageAsync(TaskManagementFunction.LogicalUnitReset, 9));
        Assert.Equal(4, await a.ManageAsync(TaskManagementFunction.TaskReassign, 0));
        Assert.Equal(5, await a.ManageAsync(TaskManagementFunction.ClearAca, 0));
        Assert.Equal(0, await a.ManageAsync(TaskManagementFunction.TargetColdReset, 0));
        await b.LogoutRequested.WaitAsync(TimeSpan.FromSeconds(30));
    }

    [Fact]
    public async Task AbortedCommandGetsNoAnswerAndEndsBeforeTheFunction()
    {
        var store = HangingDisk.Create(heedsCancellation: true);
        await using var target = new TestTarget(stores: new Dictionary<int, IBackstore> { [0] = store });
        var initiator = await target.ConnectAsync();
        var (tag, answer) = await initiator.StartAsync(0, Cdbs.Read16(0, 1), null, 512);
        await store.WhenHangingAsync(1).WaitAsync(TimeSpan.FromSeconds(30));
        Assert.Equal(0, await initiator.ManageAsync(TaskManagementFunction.AbortTask, 0, tag));
        Assert.Equal(0, store.Hanging);
        Assert.False(answer.IsCompleted);
        Assert.Equal(1, await initiator.ManageAsync(TaskManagementFunction.AbortTask, 0, tag));
        Assert.Equal(ScsiStatus.Good, (await initiator.ExecuteAsync(0, new byte[6])).Status);
    }
}
