using LunKit.Backstores;
using LunKit.Gluster;
using LunKit.Scsi;
using LunKit.Testing;
using Xunit;

namespace LunKit.Conformance;

/// <summary>Files on a real Gluster volume: the contract, foreign initiators, and bricks that go and come.</summary>
public sealed class GlusterTests
{
    private static int s_files;

    private static string NewName() => $"file{Interlocked.Increment(ref s_files)}.img";

    [Theory]
    [InlineData(512, false)]
    [InlineData(4096, false)]
    [InlineData(512, true)]
    public async Task KeepsTheContract(int block, bool sync)
    {
        var cluster = await GlusterCluster.SharedAsync();
        var options = new GlusterBackstoreOptions { Servers = [new(cluster.Host, GlusterServer.DefaultPort)], Volume = "gv0", Path = NewName(), BlockSize = block, Sync = sync };
        await using (IBackstore made = GlusterBackstore.Open(options with { SizeBytes = 16 << 20 })) Assert.Equal(16 << 20, made.Geometry.LengthBytes);
        (await BackstoreContract.VerifyAsync(() => ValueTask.FromResult<IBackstore>(GlusterBackstore.Open(options)), new ContractOptions { Steps = 800, MayGrow = true }, null,
            TestContext.Current.CancellationToken)).EnsurePassed();
        await using IBackstore again = GlusterBackstore.Open(options with { ReadOnly = true });
        Assert.Equal(17 << 20, again.Geometry.LengthBytes);
    }

    /// <summary>Another client makes the file longer: nothing of that is cut off.</summary>
    [Fact]
    public async Task AnotherClientMayGrowIt()
    {
        var cluster = await GlusterCluster.SharedAsync();
        var options = new GlusterBackstoreOptions { Servers = [new(cluster.Host, GlusterServer.DefaultPort)], Volume = "gv0", Path = NewName() };
        await using (IBackstore made = GlusterBackstore.Open(options with { SizeBytes = 16 << 20 })) Assert.Equal(16 << 20, made.Geometry.LengthBytes);
        // Another order of servers is another connection: another client.
        var other = options with { Servers = [new(cluster.Host, GlusterServer.DefaultPort), new("127.0.0.1", 9)] };
        var contract = new ContractOptions { Steps = 100, MayGrow = true, Grow = async bytes => await GlusterBackstore.Open(other with { SizeBytes = bytes }).DisposeAsync() };
        (await BackstoreContract.VerifyAsync(() => ValueTask.FromResult<IBackstore>(GlusterBackstore.Open(options)), contract, null, TestContext.Current.CancellationToken)).EnsurePassed();
    }

    [Fact]
    public async Task AnotherServerKnowsTheVolumeToo()
    {
        var cluster = await GlusterCluster.SharedAsync();
        var options = new GlusterBackstoreOptions { Servers = [new("127.0.0.1", 9), new(cluster.Host, GlusterServer.DefaultPort)], Volume = "gv0", Path = NewName(), SizeBytes = 1 << 20 };
        await using IBackstore store = GlusterBackstore.Open(options);
        await store.WriteAsync(0, new DataBuffer(new byte[512]), WriteOptions.None, default);
    }

    [Fact]
    public async Task FilesOfAVolumeShareAConnection()
    {
        var cluster = await GlusterCluster.SharedAsync();
        // Another order of servers is another connection: this one is the test's.
        var options = new GlusterBackstoreOptions { Servers = [new(cluster.Host, GlusterServer.DefaultPort), new("127.0.0.1", 9)], Volume = "gv0", Path = NewName(), SizeBytes = 1 << 20 };
        await using var first = GlusterBackstore.Open(options);
        int before = GlusterVolume.Count;
        await using var second = GlusterBackstore.Open(options with { Path = NewName() });
        Assert.InRange(GlusterVolume.Count, 1, before);
    }

    [Fact]
    public async Task FioVerifies()
    {
        var cluster = await GlusterCluster.SharedAsync();
        await using var server = await LunKitProcess.StartAsync($"{cluster.Spec(NewName())},size=64M");
        string folder = Directory.CreateTempSubdirectory("lunkit-gluster-").FullName;
        await QemuTests.FioVerifiesAsync(server, Path.Combine(folder, "nbd.sock"), megabytes: 16);
        Directory.Delete(folder, recursive: true);
    }

    [Theory]
    [InlineData(1, "on")]
    [InlineData(2, "off")]
    public async Task AcknowledgedWritesSurviveKill(int seed, string writeCache)
    {
        var cluster = await GlusterCluster.SharedAsync();
        await DurabilityTests.SurvivesKillsAsync($"{cluster.Spec(NewName())},size=4M", seed, writeCache);
    }

    /// <summary>A device that was made for tcmu-runner is served by a handler process.</summary>
    [Fact]
    public async Task AHandlerTakesTcmuRunnersConfiguration()
    {
        var cluster = await GlusterCluster.SharedAsync();
        string path = HandlerRun.NewPath();
        await using var server = await LunKitProcess.StartAsync("--handlers", path, $"user:glfs/gv0@{cluster.Host}/{NewName()},size=2M");
        await using var handler = HandlerRun.Start(path);
        await using var load = await VerifiedLoad.StartAsync(server.Port, takesResets: true);
        await load.ProgressAsync(100);
        await handler.KillAsync();
        await using var next = HandlerRun.Start(path);
        await load.ProgressAsync(100);
        await load.FinishAsync();
        // Without the option sync the handler does not say that its writes outlive it: the initiator is told of its death.
        Assert.True(load.Resets > 0, "the handler's death was not told");
        Assert.Equal(0, await next.StopAsync());
    }

    [Fact]
    public async Task ABrickThatIsGoneIsAPause()
    {
        await using var cluster = await GlusterCluster.NewAsync();
        await using var server = await LunKitProcess.StartAsync($"{cluster.Spec("disk.img")},size=2M,timeout=50");
        await using var load = await VerifiedLoad.StartAsync(server.Port);
        for (int round = 0; round < 3; round++)
        {
            await load.ProgressAsync(100);
            await cluster.RunAsync("brick-stop");
            await Task.Delay(1000);
            await cluster.RunAsync("brick-start");
        }
        await load.ProgressAsync(100);
        Assert.True(load.Failure is null, $"{load.Failure}\n{server.Output}");
        await load.FinishAsync();
        Assert.Equal(0, await server.StopAsync());
        await server.UntilAsync("the volume answers again");
    }

    [Fact]
    public async Task FailuresKeepTheContract()
    {
        await using var cluster = await GlusterCluster.NewAsync();
        await cluster.CreateAsync("disk.img", 8);
        var options = new GlusterBackstoreOptions { Servers = [new(cluster.Host, GlusterServer.DefaultPort)], Volume = "gv0", Path = "disk.img", Timeout = TimeSpan.FromSeconds(2) };
        var report = await BackstoreContract.VerifyAsync(() => ValueTask.FromResult<IBackstore>(GlusterBackstore.Open(options)), new ContractOptions
        {
            WorkBytes = 4 << 20, Steps = 100, Break = broken => cluster.RunAsync(broken ? "brick-stop" : "brick-start"),
        }, null, TestContext.Current.CancellationToken);
        Assert.DoesNotContain(report.EnsurePassed().Results, r => r.Message.StartsWith("0 of ", StringComparison.Ordinal));
    }

    [Fact]
    public async Task ABrickThatStaysAwayIsNotReadyUntilItComesBack()
    {
        await using var cluster = await GlusterCluster.NewAsync();
        await using var server = await LunKitProcess.StartAsync($"{cluster.Spec("disk.img")},size=2M,timeout=2");
        await using var initiator = await DurabilityTests.ConnectAsync(server.Port);
        byte[] write = [0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0];
        Assert.Equal(ScsiStatus.Good, (await initiator.ExecuteAsync(0, write, new byte[512], 0)).Status);
        await cluster.RunAsync("brick-stop");
        var refused = await initiator.ExecuteAsync(0, write, new byte[512], 0);
        Assert.Equal((ScsiStatus.CheckCondition, SenseKey.NotReady), (refused.Status, refused.SenseCode.Key));
        await cluster.RunAsync("brick-start");
        var answer = refused;
        for (int i = 0; i < 30 && answer.Status != ScsiStatus.Good; i++) answer = await initiator.ExecuteAsync(0, write, new byte[512], 0);
        Assert.Equal(ScsiStatus.Good, answer.Status);
    }

    [Theory]
    [InlineData("gluster:{0}/none/x", "gluster volume info shows the volumes")]
    [InlineData("gluster:{0}/gv0/none", "give a size to create it: size=10G")]
    [InlineData("gluster:{0}/gv0", "is not HOST[:PORT]/VOLUME/PATH")]
    [InlineData("gluster:{0}:x/gv0/y", "is not a port")]
    [InlineData("gluster:{0}/gv0/y,transport=pigeon", "is not tcp, unix or rdma")]
    public async Task OpeningSaysWhatIsWrong(string spec, string says)
    {
        var cluster = await GlusterCluster.SharedAsync();
        var (status, output) = await Tool.RunAsync(Path.Combine(Repository.Root, "lunkit"), ["serve", string.Format(System.Globalization.CultureInfo.InvariantCulture, spec, cluster.Host), "--portal", "127.0.0.1:0"]);
        Assert.NotEqual(0, status);
        Assert.Contains(says, output, StringComparison.Ordinal);
    }
}
