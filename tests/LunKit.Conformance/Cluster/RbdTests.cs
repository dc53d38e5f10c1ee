using System.Globalization;
using System.Text.Json;
using LunKit.Backstores;
using LunKit.Ceph;
using LunKit.Iscsi.Initiator;
using LunKit.Scsi;
using LunKit.Testing;
using Xunit;

namespace LunKit.Conformance;

/// <summary>RBD images of a real cluster: the contract, foreign initiators, and everything that happens to clusters.</summary>
public sealed class RbdTests
{
    private static int s_images;

    private static string NewName() => $"image{Interlocked.Increment(ref s_images)}";

    private static RbdBackstoreOptions Options(CephCluster cluster, string image) => new() { Pool = "rbd", Image = image, ConfigurationFile = cluster.Conf };

    [Theory]
    [InlineData(512, false, "")]
    [InlineData(4096, false, "")]
    [InlineData(512, true, "")]
    [InlineData(512, false, "space")]
    public async Task KeepsTheContract(int block, bool cache, string space)
    {
        var cluster = await CephCluster.SharedAsync();
        string image = NewName(), path = space.Length > 0 ? $"rbd/{space}/{image}" : $"rbd/{image}";
        if (space.Length > 0) await cluster.RbdAsync("namespace", "create", $"rbd/{space}");
        await cluster.RbdAsync("create", "--size", "32M", path);
        var options = Options(cluster, image) with { BlockSize = block, Cache = cache, Namespace = space };
        var report = await BackstoreContract.VerifyAsync(() => ValueTask.FromResult<IBackstore>(RbdBackstore.Open(options)), new ContractOptions
        {
            Steps = 800, MayGrow = true, Grow = bytes => cluster.RbdAsync("resize", "--size", $"{bytes / 1024}K", path),
        }, null, TestContext.Current.CancellationToken);
        report.EnsurePassed();
        // Nothing of it is out any more: the connection is closed with the last image.
        Assert.DoesNotContain(report.Results, r => r.Name.StartsWith("growth", StringComparison.Ordinal) && r.Outcome != ContractOutcome.Passed);
    }

    [Fact]
    public async Task ASnapshotIsReadOnly()
    {
        var cluster = await CephCluster.SharedAsync();
        string image = NewName();
        await cluster.CreateAsync(image, 8);
        await using (IBackstore store = RbdBackstore.Open(Options(cluster, image))) await store.WriteAsync(0, new DataBuffer(new byte[] { 1, 2, 3, 4 }.Concat(new byte[508]).ToArray()), default, default);
        await cluster.RbdAsync("snap", "create", $"rbd/{image}@one");
        await using (IBackstore store = RbdBackstore.Open(Options(cluster, image))) await store.WriteAsync(0, new DataBuffer(new byte[512]), default, default);
        var options = Options(cluster, image) with { Snapshot = "one" };
        (await BackstoreContract.VerifyAsync(() => ValueTask.FromResult<IBackstore>(RbdBackstore.Open(options)), null, null, TestContext.Current.CancellationToken)).EnsurePassed();
        await using IBackstore snapshot = RbdBackstore.Open(options);
        var data = new byte[512];
        await snapshot.ReadAsync(0, new DataBuffer(data), default);
        Assert.Equal([1, 2, 3, 4], data[..4]);
        Assert.True(snapshot.Geometry.ReadOnly);
    }

    [Fact]
    public async Task ImagesOfAConfigurationShareAConnection()
    {
        var cluster = await CephCluster.SharedAsync();
        string one = NewName(), two = NewName();
        await cluster.CreateAsync(one, 8);
        await cluster.CreateAsync(two, 8);
        var configuration = new RadosConfiguration(cluster.Conf, null, null, TimeSpan.FromSeconds(21), false);
        var options = Options(cluster, one) with { Timeout = configuration.Timeout };
        await using var first = RbdBackstore.Open(options);
        int before = RadosCluster.Count;
        await using (var second = RbdBackstore.Open(options with { Image = two }))
        {
            Assert.Equal(before, RadosCluster.Count);
            using var same = RadosCluster.Rent(configuration);
            Assert.Equal(before, RadosCluster.Count);
        }
    }

    [Fact]
    public async Task TheAllocationMapIsTheCluster()
    {
        var cluster = await CephCluster.SharedAsync();
        string image = NewName();
        await cluster.CreateAsync(image, 64);
        await using IBackstore store = RbdBackstore.Open(Options(cluster, image));
        const long mebi = 1 << 20;
        await store.WriteAsync(8 * mebi, new DataBuffer(new byte[4096].Select(_ => (byte)7).ToArray()), default, default);
        Assert.Equal(new BackstoreExtent(8 * mebi, false), await store.ExtentAsync(0, 64 * mebi, default));
        var data = await store.ExtentAsync(8 * mebi, 56 * mebi, default);
        Assert.True(data.Allocated);
        Assert.InRange(data.LengthBytes, 4096, 4 * mebi);
        Assert.Equal(new BackstoreExtent(52 * mebi, false), await store.ExtentAsync(12 * mebi, 52 * mebi, default));
        await store.DiscardAsync(8 * mebi, 4 * mebi, default);
        Assert.Equal(new BackstoreExtent(64 * mebi, false), await store.ExtentAsync(0, 64 * mebi, default));
    }

    [Fact]
    public async Task FioVerifies()
    {
        var cluster = await CephCluster.SharedAsync();
        await using var server = await LunKitProcess.StartAsync(await cluster.CreateAsync(NewName(), 64));
        string folder = Directory.CreateTempSubdirectory("lunkit-rbd-").FullName;
        await QemuTests.FioVerifiesAsync(server, Path.Combine(folder, "nbd.sock"), megabytes: 16);
        Directory.Delete(folder, recursive: true);
    }

    [Theory]
    [InlineData("", 1)]
    [InlineData(",cache=on", 2)]
    public async Task AcknowledgedWritesSurviveKill(string option, int seed)
    {
        var cluster = await CephCluster.SharedAsync();
        string spec = await cluster.CreateAsync(NewName(), 4);
        await DurabilityTests.SurvivesKillsAsync(spec + option, seed, option.Length > 0 ? "on" : "off", cacheDies: option.Length > 0);
    }

    /// <summary>A device that was made for tcmu-runner is served by a handler process.</summary>
    [Fact]
    public async Task AHandlerTakesTcmuRunnersConfiguration()
    {
        var cluster = await CephCluster.SharedAsync();
        string image = NewName(), path = HandlerRun.NewPath();
        await cluster.CreateAsync(image, 2);
        await using var server = await LunKitProcess.StartAsync("--handlers", path, $"user:rbd/rbd/{image};osd_op_timeout=30;conf={cluster.Conf};id=admin,size=2M");
        await using var handler = HandlerRun.Start(path);
        await using var load = await VerifiedLoad.StartAsync(server.Port);
        await load.ProgressAsync(100);
        await handler.KillAsync();
        await using var next = HandlerRun.Start(path);
        await load.ProgressAsync(100);
        await load.FinishAsync();
        Assert.Equal(0, await next.StopAsync());
    }

    [Fact]
    public async Task ResizedSnapshottedAndRolledBackInUse()
    {
        var cluster = await CephCluster.SharedAsync();
        string image = NewName();
        // Without an exclusive lock: Ceph refuses to roll back what a client has locked.
        await cluster.RbdAsync("create", "--size", "8M", "--image-feature", "layering", $"rbd/{image}");
        await using var server = await LunKitProcess.StartAsync(cluster.Spec(image));
        await using var initiator = await DurabilityTests.ConnectAsync(server.Port);
        var one = Enumerable.Range(0, 512).Select(i => (byte)i).ToArray();
        byte[] write = [0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0], read = [0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0];
        Assert.Equal(ScsiStatus.Good, (await initiator.ExecuteAsync(0, write, one, 0)).Status);
        await cluster.RbdAsync("snap", "create", $"rbd/{image}@before");
        Assert.Equal(ScsiStatus.Good, (await initiator.ExecuteAsync(0, write, new byte[512], 0)).Status);
        await cluster.RbdAsync("resize", "--size", "16M", $"rbd/{image}");
        // CAPACITY DATA HAS CHANGED, once, and then the new capacity.
        ScsiAnswer answer = default!;
        for (int i = 0; i < 200 && (answer = await initiator.ExecuteAsync(0, new byte[6], null, 0)).Status == ScsiStatus.Good; i++) await Task.Delay(50);
        Assert.Equal(ScsiStatus.CheckCondition, answer.Status);
        var capacity = (await initiator.ExecuteAsync(0, [0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], null, 8)).Data;
        Assert.Equal([0, 0, 0x7F, 0xFF], capacity[..4]);
        Assert.Equal(ScsiStatus.Good, (await initiator.ExecuteAsync(0, [0x2A, 0, 0, 0, 0x7F, 0xFF, 0, 0, 1, 0], one, 0)).Status);
        await cluster.RbdAsync("snap", "rollback", "--no-progress", $"rbd/{image}@before");
        for (int i = 0; i < 100 && (await initiator.ExecuteAsync(0, new byte[6], null, 0)).Status != ScsiStatus.Good; i++) await Task.Delay(50);
        Assert.Equal(one, (await initiator.ExecuteAsync(0, read, null, 512)).Data);
        Assert.Equal(0, await server.StopAsync());
    }

    [Fact]
    public async Task AnOsdThatIsGoneIsAPause()
    {
        await using var cluster = await CephCluster.NewAsync();
        await using var server = await LunKitProcess.StartAsync(await cluster.CreateAsync("image", 2) + ",timeout=50");
        await using var load = await VerifiedLoad.StartAsync(server.Port);
        try
        {
            for (int round = 0; round < 3; round++)
            {
                await load.ProgressAsync(100);
                await cluster.RunAsync("osd-stop");
                await Task.Delay(500);
                await cluster.RunAsync("osd-start");
            }
            await load.ProgressAsync(100);
            await load.FinishAsync();
        }
        catch (Exception e)
        {
            Assert.Fail($"{load.Failure ?? e.Message}\n{server.Output}\n{await cluster.StateAsync()}");
        }
        Assert.Equal(0, await server.StopAsync());
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task FailuresKeepTheContract(bool cache)
    {
        await using var cluster = await CephCluster.NewAsync();
        await cluster.CreateAsync("image", 8);
        var options = Options(cluster, "image") with { Timeout = TimeSpan.FromSeconds(2), Cache = cache };
        var report = await BackstoreContract.VerifyAsync(() => ValueTask.FromResult<IBackstore>(RbdBackstore.Open(options)), new ContractOptions
        {
            WorkBytes = 4 << 20, Steps = 100, Break = broken => cluster.RunAsync(broken ? "osd-stop" : "osd-start"),
        }, null, TestContext.Current.CancellationToken);
        Assert.DoesNotContain(report.EnsurePassed().Results, r => r.Message.StartsWith("0 of ", StringComparison.Ordinal));
    }

    /// <summary>librbd tells one flush what its cache could not write, and the others that it is well.</summary>
    [Fact]
    public async Task WhatTheCacheLosesIsToldToEveryFlush()
    {
        await using var cluster = await CephCluster.NewAsync();
        await cluster.CreateAsync("image", 2);
        string pid = (await File.ReadAllTextAsync(Path.Combine(cluster.Folder, "osd.pid"), TestContext.Current.CancellationToken)).Trim();
        await using var store = new BackstoreGuard(RbdBackstore.Open(Options(cluster, "image") with { Timeout = TimeSpan.FromSeconds(2), Cache = true }));
        var data = new DataBuffer(new byte[4096]);
        // Until the first flush the cache writes through.
        await store.WriteAsync(0, data, WriteOptions.None, default);
        await store.FlushAsync(default);
        await Tool.MustRunAsync("kill", ["-STOP", pid]);
        try
        {
            await store.WriteAsync(0, data, WriteOptions.None, default);
            var flushes = Enumerable.Range(0, 4).Select(_ => store.FlushAsync(default).AsTask()).ToArray();
            foreach (var flush in flushes) await Assert.ThrowsAsync<BackstoreException>(() => flush);
        }
        finally
        {
            await Tool.MustRunAsync("kill", ["-CONT", pid]);
        }
        await Assert.ThrowsAsync<BackstoreException>(() => store.FlushAsync(default).AsTask());
    }

    [Fact]
    public async Task AnOsdThatStaysAwayIsNotReadyUntilItComesBack()
    {
        await using var cluster = await CephCluster.NewAsync();
        await using var server = await LunKitProcess.StartAsync(await cluster.CreateAsync("image", 2) + ",timeout=3");
        await using var initiator = await DurabilityTests.ConnectAsync(server.Port);
        byte[] write = [0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0];
        var data = new byte[512];
        Assert.Equal(ScsiStatus.Good, (await initiator.ExecuteAsync(0, write, data, 0)).Status);
        await cluster.RunAsync("osd-stop");
        long began = Environment.TickCount64;
        var refused = await initiator.ExecuteAsync(0, write, data, 0);
        Assert.Equal(ScsiStatus.CheckCondition, refused.Status);
        Assert.Equal(SenseKey.NotReady, refused.SenseCode.Key);
        Assert.InRange(Environment.TickCount64 - began, 2000, 30_000);
        await cluster.RunAsync("osd-start");
        ScsiAnswer answer = refused;
        for (int i = 0; i < 20 && answer.Status != ScsiStatus.Good; i++) answer = await initiator.ExecuteAsync(0, write, data, 0);
        Assert.Equal(ScsiStatus.Good, answer.Status);
    }

    /// <summary>What a gateway's peer, or an operator, does to a client that they want to be gone.</summary>
    [Fact]
    public async Task ABlocklistedClientComesBackWithANewConnection()
    {
        await using var cluster = await CephCluster.NewAsync();
        await using var server = await LunKitProcess.StartAsync(await cluster.CreateAsync("image", 2));
        await using var initiator = await DurabilityTests.ConnectAsync(server.Port);
        byte[] write = [0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0], read = [0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0];
        var data = Enumerable.Range(0, 512).Select(i => (byte)(i * 3)).ToArray();
        Assert.Equal(ScsiStatus.Good, (await initiator.ExecuteAsync(0, write, data, 0)).Status);
        using var status = JsonDocument.Parse(await cluster.RbdAsync("status", "--format", "json", "rbd/image"));
        string address = status.RootElement.GetProperty("watchers")[0].GetProperty("address").GetString()!;
        await cluster.CephAsync("osd", "blocklist", "add", address);
        int refusals = 0;
        ScsiAnswer answer = default!;
        for (int i = 0; i < 300; i++)
        {
            answer = await initiator.ExecuteAsync(0, write, data, 0);
            if (answer.Status == ScsiStatus.Good && refusals > 0) break;
            if (answer.Status != ScsiStatus.Good)
            {
                refusals++;
                Assert.Equal(SenseKey.NotReady, answer.SenseCode.Key);
            }
            await Task.Delay(100);
        }
        Assert.True(answer.Status == ScsiStatus.Good && refusals > 0, $"{refusals} refusals, at last {answer.Status}: {server.Output}");
        Assert.Equal(data, (await initiator.ExecuteAsync(0, read, null, 512)).Data);
        await server.UntilAsync("connecting");
        Assert.Equal(0, await server.StopAsync());
    }

    [Fact]
    public async Task AClusterThatIsNotThereYetIsConnectedToLater()
    {
        await using var cluster = await CephCluster.NewAsync();
        string spec = await cluster.CreateAsync("image", 2);
        string pid = await File.ReadAllTextAsync(Path.Combine(cluster.Folder, "mon.pid"), TestContext.Current.CancellationToken);
        await Tool.MustRunAsync("kill", ["-STOP", pid.Trim()]);
        await using var server = await LunKitProcess.StartAsync(spec + ",size=2M,timeout=3");
        await server.UntilAsync("connecting");
        await using var initiator = await DurabilityTests.ConnectAsync(server.Port);
        byte[] read = [0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0];
        var refused = await initiator.ExecuteAsync(0, read, null, 512);
        Assert.Equal((ScsiStatus.CheckCondition, Sense.BecomingReady), (refused.Status, refused.SenseCode));
        await Tool.MustRunAsync("kill", ["-CONT", pid.Trim()]);
        ScsiAnswer answer = refused;
        for (int i = 0; i < 600 && answer.Status != ScsiStatus.Good; i++)
        {
            await Task.Delay(100);
            answer = await initiator.ExecuteAsync(0, read, null, 512);
        }
        Assert.Equal(ScsiStatus.Good, answer.Status);
    }

    [Theory]
    [InlineData("rbd:rbd/none,conf={0}", "rbd create --size 10G rbd/none makes an image")]
    [InlineData("rbd:nopool/none,conf={0}", "ceph osd pool ls shows the pools")]
    [InlineData("rbd:rbd/x,conf=/nowhere/ceph.conf", "name it with conf=PATH")]
    [InlineData("rbd:rbd/x,conf={0},id=nobody", "is there a keyring for this user?")]
    [InlineData("rbd:rbd", "is not POOL[/NAMESPACE]/IMAGE[@SNAPSHOT]")]
    [InlineData("rbd:rbd/x,timeout=0", "is not 1 to 3600 seconds")]
    public async Task OpeningSaysWhatIsWrong(string spec, string says)
    {
        var cluster = await CephCluster.SharedAsync();
        var (status, output) = await Tool.RunAsync(Path.Combine(Repository.Root, "lunkit"), ["serve", string.Format(CultureInfo.InvariantCulture, spec, cluster.Conf), "--portal", "127.0.0.1:0"]);
        Assert.NotEqual(0, status);
        Assert.Contains(says, output, StringComparison.Ordinal);
    }
}
