using System.Net;
using System.Net.Sockets;
using Xunit;

namespace LunKit.Conformance;

/// <summary>What a user of `lunkit serve` sees: one clear line for every mistake, a clean stop.</summary>
public sealed class CommandLineTests
{
    private static async Task<(int Status, string Output)> Lunkit(params string[] arguments) =>
        await Tool.RunAsync(Path.Combine(Repository.Root, "lunkit"), arguments);

    [Theory]
    [InlineData(2, "kind 'floppy' is not known", "serve", "floppy:1M")]
    [InlineData(2, "is not a size", "serve", "memory:many")]
    [InlineData(1, "does not exist; give a size", "serve", "/tmp/there-is-no-such-image")]
    [InlineData(2, "is not an iSCSI name", "serve", "memory:1M", "--iqn", "disk")]
    [InlineData(2, "--allow-anyone", "serve", "memory:1M", "--portal", "0.0.0.0:0")]
    [InlineData(2, "needs --chap", "serve", "memory:1M", "--mutual-chap", "a:b")]
    [InlineData(1, "cannot be read: its folder does not exist", "serve", "memory:1M", "--chap-file", "/nowhere/secret")]
    [InlineData(2, "did you mean 'serve'?", "srve")]
    [InlineData(2, "did you mean '--read-only'?", "serve", "memory:1M", "--readonly")]
    [InlineData(1, "no such address", "serve", "memory:1M", "--portal", "192.0.2.1:0", "--allow-anyone")]
    public async Task MistakesAreOneClearLine(int status, string message, params string[] arguments)
    {
        var (actual, output) = await Lunkit(arguments);
        string line = Assert.Single(output.Split('\n'), l => l.StartsWith("lunkit: ", StringComparison.Ordinal));
        Assert.Contains(message, line, StringComparison.Ordinal);
        Assert.Equal(status, actual);
    }

    [Fact]
    public async Task TakenPortAndLockedImageAreTold()
    {
        using var taken = new TcpListener(IPAddress.Loopback, 0);
        taken.Start();
        var (status, output) = await Lunkit("serve", "memory:1M", "--portal", taken.LocalEndpoint.ToString()!);
        Assert.Equal(1, status);
        Assert.Contains("the port is taken by another process", output, StringComparison.Ordinal);
        string folder = Directory.CreateTempSubdirectory("lunkit-cli-").FullName;
        await using var server = await LunKitProcess.StartAsync($"file:{folder}/disk.img,size=1M");
        (status, output) = await Lunkit("serve", $"{folder}/disk.img", "--portal", "127.0.0.1:0");
        Assert.Equal(1, status);
        Assert.Contains("in use by another process", output, StringComparison.Ordinal);
    }

    /// <summary>An image grows while it is served, by a server that nohup has started; the same command line serves it afterwards.</summary>
    [Fact]
    public async Task GrowthIsTakenAndOutlivesTheServer()
    {
        string folder = Directory.CreateTempSubdirectory("lunkit-cli-").FullName, image = $"{folder}/disk.img";
        string program = Path.Combine(Repository.Root, "artifacts/bin/LunKit.App/release/LunKit.App.dll");
        await using (var server = await LunKitProcess.StartProgramAsync(["sh", "-c", "trap '' HUP; exec dotnet \"$@\"", "sh", program], $"{image},size=1M"))
        {
            await Tool.MustRunAsync("truncate", ["-s", "2M", image]);
            await Tool.MustRunAsync("kill", ["-HUP", $"{server.Id}"]);
            await BlocksAsync(server, 4096);
            Assert.Equal(0, await server.StopAsync());
        }
        await using var again = await LunKitProcess.StartAsync($"{image},size=1M");
        await BlocksAsync(again, 4096);
        await again.UntilAsync("more than its size=");
    }

    /// <summary>Waits until the disk has that many blocks.</summary>
    private static async Task BlocksAsync(LunKitProcess server, int blocks)
    {
        string output = "";
        for (int tries = 0; tries < 50; tries++)
        {
            (_, output) = await Tool.RunAsync("iscsi-readcapacity16", [server.Url(0)]);
            if (output.Contains($"RETURNED LOGICAL BLOCK ADDRESS:{blocks - 1}", StringComparison.Ordinal)) return;
            await Task.Delay(100);
        }
        Assert.Fail(output);
    }

    [Fact]
    public async Task StateThatCannotBeWrittenIsTold()
    {
        string folder = Directory.CreateTempSubdirectory("lunkit-cli-").FullName;
        Directory.CreateDirectory($"{folder}/disk.img.lunkit-state.tmp");
        var (status, output) = await Lunkit("serve", $"{folder}/disk.img,size=1M", "--portal", "127.0.0.1:0");
        Assert.Equal(1, status);
        Assert.StartsWith("lunkit: ", output, StringComparison.Ordinal);
        Assert.Contains("state file", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task TerminationIsClean()
    {
        await using var server = await LunKitProcess.StartAsync("memory:16M");
        Assert.Equal(0, await server.StopAsync());
        await server.UntilAsync("Stopped");
    }

    [Fact]
    public async Task TerminationTakesTheTimeThatInitiatorsNeed()
    {
        await using var server = await LunKitProcess.StartAsync("memory:16M");
        // It does not log out when it is asked to, so the target waits its three seconds for that.
        await using var initiator = await LunKit.Iscsi.Initiator.IscsiInitiator.ConnectAsync(
            new LunKit.Iscsi.Initiator.InitiatorOptions { Portal = new IPEndPoint(IPAddress.Loopback, server.Port), TargetName = LunKitProcess.Iqn });
        Assert.Equal(0, await server.StopAsync());
        await server.UntilAsync("Stopped");
    }

    [Fact]
    public async Task HelpHasExamples()
    {
        var (status, output) = await Lunkit("serve", "--help");
        Assert.Equal(0, status);
        Assert.Contains("Examples:", output, StringComparison.Ordinal);
        Assert.Contains("lunkit serve memory:1G", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task ChapFromAFileLetsInOnlyWhoKnowsIt()
    {
        Tool.Require("iscsi-inq");
        string file = Path.GetTempFileName();
        await File.WriteAllTextAsync(file, "# for the test\nalice:correct-horse-battery\n");
        await using var server = await LunKitProcess.StartAsync("memory:16M", "--chap-file", file);
        var (without, _) = await Tool.RunAsync("iscsi-inq", [server.Url(0)]);
        Assert.NotEqual(0, without);
        await Tool.MustRunAsync("iscsi-inq", [server.Url(0).Replace("iscsi://", "iscsi://alice%correct-horse-battery@", StringComparison.Ordinal)]);
        Assert.DoesNotContain("correct-horse", server.Output, StringComparison.Ordinal);
        File.Delete(file);
    }

    [Fact]
    public async Task HelloDiskSaysHello()
    {
        Tool.Require("qemu-io");
        string dll = Path.Combine(Repository.Root, "artifacts/bin/HelloDisk/release/HelloDisk.dll");
        using var hello = System.Diagnostics.Process.Start(new System.Diagnostics.ProcessStartInfo("dotnet", [dll, "0"]) { RedirectStandardOutput = true })!;
        string? line = await hello.StandardOutput.ReadLineAsync().WaitAsync(TimeSpan.FromSeconds(20));
        string url = line!.Split(' ')[4];
        string output = await Tool.MustRunAsync("qemu-io", ["-f", "raw", "-c", "read -v 1024 32", "-c", "write -P 7 0 64k", "-c", "read -P 7 0 64k", url]);
        Assert.Contains("48 65 6c 6c 6f 2c 20 62 6c 6f 63 6b 20 32 21", output, StringComparison.Ordinal);
        hello.Kill();
        await hello.WaitForExitAsync();
    }
}
