using System.Net.Sockets;
using System.Text;
using Xunit;

namespace LunKit.Conformance;

/// <summary>`lunkit serve` as a service of systemd: what it tells, and what its unit file allows.</summary>
public sealed class ServiceTests
{
    // Points of systemd's scale, of 100; 20 and less is "OK".
    private const int MostExposure = 20;

    private readonly string _folder = Directory.CreateTempSubdirectory("lunkit-service-").FullName;

    [Fact]
    public async Task TheUnitFileIsRightAndHardened()
    {
        Tool.Require("systemd-analyze");
        string unit = $"{_folder}/lunkit.service";
        // What is not installed here.
        var lines = File.ReadLines(Path.Combine(Repository.Root, "packaging/systemd/lunkit.service")).Where(l => !l.StartsWith("Documentation=", StringComparison.Ordinal));
        await File.WriteAllLinesAsync(unit, lines.Select(l => l.Replace("/usr/bin/lunkit", "/bin/true", StringComparison.Ordinal)), TestContext.Current.CancellationToken);
        Assert.Equal("", (await Tool.MustRunAsync("systemd-analyze", ["verify", unit])).Trim());
        await Tool.MustRunAsync("systemd-analyze", ["security", "--offline=true", "--no-pager", $"--threshold={MostExposure}", unit]);
    }

    [Fact]
    public async Task TheManagerHearsOfEachStep()
    {
        string path = $"{_folder}/notify";
        using var manager = new Socket(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);
        manager.Bind(new UnixDomainSocketEndPoint(path));
        await File.WriteAllTextAsync($"{_folder}/lunkit.yaml", $"portals: ['127.0.0.1:0']\nunits: {{a: {{kind: memory, size: 1M}}}}\ntargets: {{'{LunKitProcess.Iqn}': {{luns: {{0: a}}}}}}\n", TestContext.Current.CancellationToken);
        var environment = new Dictionary<string, string> { ["NOTIFY_SOCKET"] = path, ["WATCHDOG_USEC"] = "400000", ["STATE_DIRECTORY"] = _folder, ["RUNTIME_DIRECTORY"] = _folder };
        await using var server = await LunKitProcess.StartProgramAsync(LunKitProcess.Program, environment, "--config", $"{_folder}/lunkit.yaml");
        await HearAsync("READY=1\nSTATUS=1 targets, 1 units, 0 sessions");
        await HearAsync("WATCHDOG=1");
        await HearAsync("WATCHDOG=1");
        await server.HangUpAsync();
        await HearAsync("RELOADING=1");
        await HearAsync("READY=1");
        Assert.Equal(0, await server.StopAsync());
        await HearAsync("STOPPING=1");

        async Task HearAsync(string wanted)
        {
            var buffer = new byte[4096];
            using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(30));
            for (string heard = ""; !heard.StartsWith(wanted, StringComparison.Ordinal);)
                heard = Encoding.UTF8.GetString(buffer, 0, await manager.ReceiveAsync(buffer, SocketFlags.None, limit.Token));
        }
    }
}
