using System.Diagnostics;
using System.Globalization;
using Xunit;

namespace LunKit.Conformance;

/// <summary>Wireshark's dissector reads a whole run: no PDU is malformed, StatSN and MaxCmdSN never go back.</summary>
public sealed class CaptureTests
{
    [Fact]
    public async Task NoPduIsMalformed()
    {
        Tool.Require("tshark");
        Tool.Require("qemu-io");
        string capture = Path.GetTempFileName();
        await using var server = await LunKitProcess.StartAsync("memory:64M");
        using var tshark = Process.Start(new ProcessStartInfo("tshark", ["-q", "-i", "lo", "-f", $"tcp port {server.Port}", "-w", capture]) { RedirectStandardError = true })!;
        string? ready = await tshark.StandardError.ReadLineAsync();
        while (ready is not null && !ready.Contains("Capturing", StringComparison.Ordinal)) ready = await tshark.StandardError.ReadLineAsync();
        if (ready is null) Assert.Skip("needs the right to capture on the loopback interface (root or CAP_NET_RAW)");
        await Task.Delay(1000);
        await Tool.MustRunAsync("qemu-io",
            ["-f", "raw", "-c", "write -P 1 0 3M", "-c", "read -P 1 0 3M", "-c", "write -P 2 5M 4k", "-c", "discard 0 1M", "-c", "flush", server.Url(0)]);
        await Tool.MustRunAsync("iscsi-ls", ["-s", $"iscsi://127.0.0.1:{server.Port}"]);
        await Tool.RunAsync("iscsi-inq", ["-e", "1", "-c", "0x83", server.Url(0)]);
        await Task.Delay(1000);
        using (var stop = Process.Start("kill", ["-INT", tshark.Id.ToString(CultureInfo.InvariantCulture)])) await stop.WaitForExitAsync();
        await tshark.WaitForExitAsync();
        string[] common = ["-r", capture, "-d", $"tcp.port=={server.Port},iscsi", "-o", "iscsi.bogus_pdu_max_data_len:1048576"];
        // An INQUIRY page that its allocation length cuts is "malformed" to the dissector.
        string malformed = await Tool.MustRunAsync("tshark", [.. common, "-Y", "_ws.malformed && !(scsi_sbc.opcode == 0x12)"]);
        Assert.Empty(Lines(malformed));
        string fields = await Tool.MustRunAsync("tshark",
            [.. common, "-Y", $"iscsi && tcp.srcport=={server.Port}", "-T", "fields", "-e", "tcp.stream", "-e", "iscsi.statsn", "-e", "iscsi.maxcmdsn", "-E", "occurrence=l"]);
        var last = new Dictionary<string, (uint StatSn, uint MaxCmdSn)>();
        int pdus = 0;
        foreach (string line in Lines(fields))
        {
            var parts = line.Split('\t');
            if (parts.Length < 3 || !uint.TryParse(parts[2], CultureInfo.InvariantCulture, out uint max)) continue;
            pdus++;
            _ = uint.TryParse(parts[1], CultureInfo.InvariantCulture, out uint stat);
            var before = last.GetValueOrDefault(parts[0], (stat, max));
            Assert.True((int)(max - before.Item2) >= 0, $"MaxCmdSN goes back: {line}");
            if (parts[1].Length > 0 && stat != 0) Assert.True((int)(stat - before.Item1) >= 0, $"StatSN goes back: {line}");
            last[parts[0]] = (parts[1].Length > 0 && stat != 0 ? stat : before.Item1, max);
        }
        Assert.InRange(pdus, 20, int.MaxValue);
        File.Delete(capture);
    }

    private static IEnumerable<string> Lines(string text) =>
        text.Split('\n').Where(l => l.Length > 0 && !l.StartsWith("Running as", StringComparison.Ordinal));
}
