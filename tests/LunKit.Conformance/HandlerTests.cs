using System.Buffers.Binary;
using System.Diagnostics;
using System.Net;
using LunKit.Iscsi.Initiator;
using LunKit.Scsi;
using Xunit;

namespace LunKit.Conformance;

/// <summary>Logical units behind handler processes, which are killed, stopped, replaced and foreign while initiators use them.</summary>
public sealed class HandlerTests
{
    private static string NewFolder() => Directory.CreateTempSubdirectory("lunkit-handler-").FullName;

    private static string Spec(string folder, string more = "") => $"user:file/{folder}/disk.img,size=2M{more}";

    [Fact]
    public async Task FiftyKillsLoseNothingAndInitiatorsSeeAPauseOnly()
    {
        string folder = NewFolder(), path = HandlerRun.NewPath();
        await using var server = await LunKitProcess.StartAsync("--handlers", path, Spec(folder));
        var handler = HandlerRun.Start(path);
        await using var load = await VerifiedLoad.StartAsync(server.Port);
        var random = new Random(50);
        for (int kill = 0; kill < 50; kill++)
        {
            await load.ProgressAsync(random.Next(1, 200));
            await Task.Delay(random.Next(0, 10));
            await handler.KillAsync();
            await handler.DisposeAsync();
            handler = HandlerRun.Start(path);
        }
        await load.ProgressAsync(200);
        await load.FinishAsync();
        Assert.Equal(0, await handler.StopAsync());
        await handler.DisposeAsync();
        Directory.Delete(folder, recursive: true);
    }

    [Fact]
    public async Task AStoppedHandlerIsAPauseToo()
    {
        string folder = NewFolder(), path = HandlerRun.NewPath();
        await using var server = await LunKitProcess.StartAsync("--handlers", path, Spec(folder));
        await using var handler = HandlerRun.Start(path);
        await using var load = await VerifiedLoad.StartAsync(server.Port);
        for (int stop = 0; stop < 5; stop++)
        {
            await load.ProgressAsync(100);
            await handler.SignalAsync("STOP");
            await Task.Delay(300);
            await handler.SignalAsync("CONT");
        }
        await load.ProgressAsync(100);
        await load.FinishAsync();
        Directory.Delete(folder, recursive: true);
    }

    [Fact]
    public async Task AHandlerIsUpgradedWithoutAnError()
    {
        string folder = NewFolder(), path = HandlerRun.NewPath();
        await using var server = await LunKitProcess.StartAsync("--handlers", path, Spec(folder));
        var handler = HandlerRun.Start(path);
        await using var load = await VerifiedLoad.StartAsync(server.Port);
        for (int version = 0; version < 3; version++)
        {
            await load.ProgressAsync(100);
            var next = HandlerRun.Start(path);
            await next.UntilAsync("Connected to the target");
            Assert.Equal(0, await handler.StopAsync());
            await handler.DisposeAsync();
            await next.UntilAsync("is served");
            handler = next;
        }
        await load.ProgressAsync(100);
        await load.FinishAsync();
        Assert.DoesNotContain("not repeated", server.Output, StringComparison.Ordinal);
        await handler.DisposeAsync();
        Directory.Delete(folder, recursive: true);
    }

    [Fact]
    public async Task ASupervisedHandlerComesBackByItself()
    {
        string folder = NewFolder(), path = HandlerRun.NewPath();
        await using var server = await LunKitProcess.StartAsync("--handlers", path, Spec(folder, ",handler=auto"));
        await using var load = await VerifiedLoad.StartAsync(server.Port);
        for (int kill = 1; kill <= 3; kill++)
        {
            await load.ProgressAsync(100);
            string last = server.Output.Split("runs as process ")[^1];
            Process.GetProcessById(int.Parse(last.Split('\n')[0].Trim(), System.Globalization.CultureInfo.InvariantCulture)).Kill();
            for (int i = 0; i < 500 && server.Output.Split("runs as process ").Length < kill + 2; i++) await Task.Delay(20);
        }
        await load.ProgressAsync(100);
        await load.FinishAsync();
        Assert.Equal(0, await server.StopAsync());
        Directory.Delete(folder, recursive: true);
    }

    [Fact]
    public async Task AHandlerInCWorksBesideLunKitsOwn()
    {
        Tool.Require("gcc");
        Tool.Require("qemu-io");
        string folder = NewFolder(), path = HandlerRun.NewPath(), program = Path.Combine(folder, "handler");
        await Tool.MustRunAsync("gcc", ["-O2", "-Wall", "-Wextra", "-Werror", "-o", program, Path.Combine(Repository.Root, "samples/CHandler/handler.c")]);
        await using var server = await LunKitProcess.StartAsync("--handlers", path, "user:ram/x,size=16M", Spec(folder), "user:memory/y,size=8M");
        await using var own = HandlerRun.Start(path);
        await using var c = HandlerRun.StartProgram(program, [path, "ram"]);
        await c.UntilAsync("serving tcm-user/0/lun0/ram/x");
        for (int lun = 0; lun < 3; lun++)
            await Tool.MustRunAsync("qemu-io", ["-f", "raw", "-c", $"write -P {lun + 1} 0 2M", "-c", $"read -P {lun + 1} 0 2M", "-c", $"read -P {lun + 1} 777k 3k", "-c", "flush", server.Url(lun)]);
        // A handler that ends takes its own device with it, and no other.
        await c.KillAsync();
        await Tool.MustRunAsync("qemu-io", ["-f", "raw", "-c", "read -P 2 0 2M", server.Url(1)]);
        Directory.Delete(folder, recursive: true);
    }

    /// <summary>The memory handler's disk is its own memory: what it acknowledged dies with it, flushed or not, and nobody flushes successfully what is gone.</summary>
    [Fact]
    public async Task AHandlerThatIsKilledWithItsCacheIsReported()
    {
        string path = HandlerRun.NewPath();
        await using var server = await LunKitProcess.StartAsync("--handlers", path, "user:memory/x,size=1M");
        var options = new InitiatorOptions { Portal = new IPEndPoint(IPAddress.Loopback, server.Port), TargetName = LunKitProcess.Iqn };
        await using var initiator = await IscsiInitiator.ConnectAsync(options);
        byte[] write = [0x2A, 0, 0, 0, 0, 8, 0, 0, 1, 0], flush = [0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        var handler = HandlerRun.Start(path);
        await initiator.ExecuteAsync(0, new byte[6], null, 0);
        Assert.Equal(ScsiStatus.Good, (await initiator.ExecuteAsync(0, write, new byte[512], 0)).Status);
        Assert.Equal(ScsiStatus.Good, (await initiator.ExecuteAsync(0, flush, null, 0)).Status);
        // A flush has promised nothing: all of the disk is gone.
        await handler.KillAsync();
        await handler.DisposeAsync();
        handler = HandlerRun.Start(path);
        var restarted = await initiator.ExecuteAsync(0, new byte[6], null, 0);
        Assert.Equal(new Sense(SenseKey.UnitAttention, 0x29, 0x04), restarted.SenseCode);
        Assert.Equal(new Sense(SenseKey.HardwareError, 0x0C, 0x00), (await initiator.ExecuteAsync(0, flush, null, 0)).SenseCode);
        await server.UntilAsync("has died with acknowledged writes");
        await handler.DisposeAsync();
    }

    [Fact]
    public async Task CommandsFailInTimeWithoutAHandlerAndWorkAgainWithOne()
    {
        string path = HandlerRun.NewPath();
        await using var server = await LunKitProcess.StartAsync("--handlers", path, "user:memory/x,size=1M,timeout=1");
        await using var initiator = await IscsiInitiator.ConnectAsync(new InitiatorOptions { Portal = new IPEndPoint(IPAddress.Loopback, server.Port), TargetName = LunKitProcess.Iqn });
        await initiator.ExecuteAsync(0, new byte[6], null, 0);
        long start = Environment.TickCount64;
        var answer = await initiator.ExecuteAsync(0, new byte[6], null, 0);
        Assert.Equal(ScsiStatus.CheckCondition, answer.Status);
        Assert.InRange(Environment.TickCount64 - start, 900, 15_000);
        await using var handler = HandlerRun.Start(path);
        await handler.UntilAsync("is served");
        Assert.Equal(ScsiStatus.Good, (await initiator.ExecuteAsync(0, new byte[6], null, 0)).Status);
    }

    [Fact]
    public async Task OtherUsersAreNotAdmitted()
    {
        Assert.SkipUnless(Environment.UserName == "root", "needs root, to become somebody else");
        string path = HandlerRun.NewPath();
        await using var server = await LunKitProcess.StartAsync("--handlers", path, "user:memory/x,size=1M");
        await using var stranger = HandlerRun.StartProgram("setpriv",
            ["--reuid", "65534", "--clear-groups", "dotnet", Path.Combine(Repository.Root, "artifacts/bin/LunKit.App/release/LunKit.App.dll"), "handle", "--target", path]);
        for (int i = 0; i < 500 && !server.Output.Contains("is not admitted", StringComparison.Ordinal); i++) await Task.Delay(20);
        await server.UntilAsync("of user 65534 is not admitted");
        Assert.DoesNotContain("is served", stranger.Output, StringComparison.Ordinal);
    }
}
