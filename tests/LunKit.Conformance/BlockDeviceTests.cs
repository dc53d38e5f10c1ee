using System.Net;
using LunKit.Backstores;
using LunKit.Iscsi.Initiator;
using LunKit.Scsi;
using LunKit.Testing;
using LunKit.Tests.Backstores;
using Xunit;

namespace LunKit.Conformance;

/// <summary>Block devices as backstores, on loop devices of this machine.</summary>
public sealed class BlockDeviceTests
{
    [Theory]
    [InlineData(512)]
    [InlineData(4096)]
    public async Task KeepsTheContract(int sectorSize)
    {
        await using var loop = await LoopDevice.CreateAsync(8 << 20, sectorSize);
        var options = new ContractOptions { WorkBytes = 4 << 20, Steps = 200, Grow = loop.GrowAsync };
        (await BackstoreContract.VerifyAsync(() => ValueTask.FromResult<IBackstore>(BlockBackstore.Open(new() { Path = loop.Path })), options, null, TestContext.Current.CancellationToken)).EnsurePassed();
    }

    /// <summary>The backstore is past the page cache: what others read of the device is the same.</summary>
    [Fact]
    public async Task OthersReadWhatIsWritten()
    {
        await using var loop = await LoopDevice.CreateAsync(4 << 20);
        await using var guard = new BackstoreGuard(BlockBackstore.Open(new() { Path = loop.Path }));
        Assert.Equal((4 << 20, 512), ((int)guard.Geometry.LengthBytes, guard.Geometry.BlockSize));
        var model = new byte[4 << 20];
        new Random(1).NextBytes(model);
        await guard.WriteAsync(0, new DataBuffer(model), WriteOptions.None, default);
        await guard.WriteZeroesAsync(512, 1 << 20, WriteOptions.ForceUnitAccess, default);
        await guard.DiscardAsync(2 << 20, 1 << 20, default);
        model.AsSpan(512, 1 << 20).Clear();
        model.AsSpan(2 << 20, 1 << 20).Clear();
        await guard.FlushAsync(default);
        var whole = new byte[model.Length];
        using var plain = File.OpenRead(loop.Path);
        plain.ReadExactly(whole);
        Assert.True(whole.AsSpan().SequenceEqual(model));
    }

    [Fact]
    public async Task IsServedExclusivelyAndItsGrowthIsTold()
    {
        await using var loop = await LoopDevice.CreateAsync(8 << 20);
        await using var server = await LunKitProcess.StartAsync($"block:{loop.Path}");
        await using (var initiator = await ConnectAsync(server.Port))
        {
            var data = Enumerable.Range(0, 4096).Select(i => (byte)(i * 7)).ToArray();
            Assert.Equal(ScsiStatus.Good, (await initiator.ExecuteAsync(0, [0x2A, 0, 0, 0, 0, 8, 0, 0, 8, 0], data, 0)).Status);
            Assert.Equal(data, (await initiator.ExecuteAsync(0, [0x28, 0, 0, 0, 0, 8, 0, 0, 8, 0], null, 4096)).Data);
            await loop.GrowAsync(16 << 20);
            await Tool.MustRunAsync("kill", ["-HUP", $"{server.Id}"]);
            ScsiAnswer answer;
            for (int i = 0; (answer = await initiator.ExecuteAsync(0, new byte[6], null, 0)).Status == ScsiStatus.Good && i < 1500; i++) await Task.Delay(20);
            if (answer.Status == ScsiStatus.Good)
            {
                var (_, state) = await Tool.RunAsync("sh", ["-c", $"blockdev --getsize64 {loop.Path}; grep -E '^(Sig|Shd)' /proc/{server.Id}/status; cd /proc/{server.Id}/task && for t in *; do echo $(cat $t/comm $t/wchan); done"]);
                Assert.Fail($"the growth is not told: {server.Output}\n{state}");
            }
            Assert.Equal(ScsiStatus.CheckCondition, answer.Status);
            byte[] capacity = (await initiator.ExecuteAsync(0, [0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], null, 8)).Data;
            Assert.Equal([0x00, 0x00, 0x7F, 0xFF], capacity[..4]);
        }
        var (status, output) = await Tool.RunAsync(Path.Combine(Repository.Root, "lunkit"), ["serve", $"block:{loop.Path}", "--portal", "127.0.0.1:0"]);
        Assert.Equal(1, status);
        Assert.Contains("is in use: mounted", output, StringComparison.Ordinal);
        Assert.Equal(0, await server.StopAsync());
    }

    /// <summary>A device has no file beside it: what an initiator may rely on after a restart is in the folder of states.</summary>
    [Fact]
    public async Task ReservationsOutliveARestart()
    {
        await using var loop = await LoopDevice.CreateAsync(8 << 20);
        string states = Directory.CreateTempSubdirectory("lunkit-block-states-").FullName;
        try
        {
            byte[] key = [0, 0, 0, 0, 0, 0, 0x12, 0x34], parameters = [.. new byte[8], .. key, 0, 0, 0, 0, 0x01, 0, 0, 0];
            byte[] keys = [];
            for (int start = 0; start < 2; start++)
            {
                await using var server = await LunKitProcess.StartAsync($"block:{loop.Path}", "--state-dir", states);
                await using (var initiator = await ConnectAsync(server.Port))
                {
                    if (start == 0) Assert.Equal(ScsiStatus.Good, (await initiator.ExecuteAsync(0, [0x5F, 0x06, 0, 0, 0, 0, 0, 0, 24, 0], parameters)).Status);
                    keys = (await initiator.ExecuteAsync(0, [0x5E, 0x00, 0, 0, 0, 0, 0, 0, 64, 0], null, 64)).Data;
                }
                await server.UntilAsync($"{states}/block-");
                Assert.Equal(0, await server.StopAsync());
            }
            Assert.Equal(key, keys[8..16]);
            Assert.Single(Directory.GetFiles(states, "*.json"));
        }
        finally
        {
            Directory.Delete(states, recursive: true);
        }
    }

    [Theory]
    [InlineData("block:/dev/null", "is not a block device")]
    [InlineData("block:/dev/there-is-none", "cannot be opened")]
    [InlineData("block:", "/dev/NAME is missing")]
    public async Task MistakesAreOneClearLine(string spec, string message)
    {
        var (status, output) = await Tool.RunAsync(Path.Combine(Repository.Root, "lunkit"), ["serve", spec, "--portal", "127.0.0.1:0"]);
        Assert.NotEqual(0, status);
        Assert.Contains(message, Assert.Single(output.Split('\n'), l => l.StartsWith("lunkit: ", StringComparison.Ordinal)), StringComparison.Ordinal);
    }

    private static async Task<IscsiInitiator> ConnectAsync(int port)
    {
        var initiator = await IscsiInitiator.ConnectAsync(new InitiatorOptions { Portal = new IPEndPoint(IPAddress.Loopback, port), TargetName = LunKitProcess.Iqn });
        await initiator.ExecuteAsync(0, new byte[6], null, 0);
        return initiator;
    }
}
