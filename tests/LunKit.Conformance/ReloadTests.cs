using System.Buffers.Binary;
using System.Net;
using LunKit.Iscsi.Initiator;
using Xunit;

namespace LunKit.Conformance;

/// <summary>
/// `lunkit serve --config`, whose file changes at random while initiators use it: those whose target stays as it is notice nothing, the others see what the file
/// says, and nothing is left of what has gone.
/// </summary>
public sealed class ReloadTests
{
    private const string Other = "iqn.2026-11.local.lunkit:other";
    private const int Units = 8;

    private readonly string _folder = Directory.CreateTempSubdirectory("lunkit-reload-").FullName;
    private readonly Random _random = new(1);

    private string File => $"{_folder}/lunkit.yaml";

    private void Write(IReadOnlyDictionary<int, int> luns, string more = "")
    {
        var units = luns.Values.Distinct().Order().Select(u => $"  u{u}: {{kind: file, path: {_folder}/u{u}.img, size: 1M, filters: ['delay:{_random.Next(1, 4)}ms']}}");
        System.IO.File.WriteAllLines(File,
        [
            "portals: ['127.0.0.1:0']", $"state-dir: {_folder}/states", "units:", $"  load: {{kind: file, path: {_folder}/load.img, size: 4M}}", .. units,
            "targets:", $"  {LunKitProcess.Iqn}: {{luns: {{0: load}}}}", $"  {Other}: {{luns: {{{string.Join(", ", luns.Select(l => $"{l.Key}: u{l.Value}"))}}}}}", more,
        ]);
    }

    private static async Task<IReadOnlyList<int>> LunsAsync(LunKitProcess server)
    {
        await using var initiator = await IscsiInitiator.ConnectAsync(new InitiatorOptions { Portal = new IPEndPoint(IPAddress.Loopback, server.Port), TargetName = Other });
        var answer = await initiator.ExecuteAsync(0, [0xA0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0], dataInLength: 1024);
        int count = BinaryPrimitives.ReadInt32BigEndian(answer.Data) / 8;
        return [.. Enumerable.Range(1, count).Select(i => (answer.Data[i * 8] & 0x3F) << 8 | answer.Data[i * 8 + 1]).Order()];
    }

    private static async Task ReloadAsync(LunKitProcess server, string says)
    {
        int before = server.Count(says);
        await server.HangUpAsync();
        for (long end = Environment.TickCount64 + 60_000; server.Count(says) == before; await Task.Delay(20))
            Assert.True(Environment.TickCount64 < end, $"the reload does not end:\n{server.Output}");
    }

    [Fact]
    public async Task OthersNoticeNothing()
    {
        Dictionary<int, int> luns = new() { [0] = 0 };
        Write(luns);
        await using var server = await LunKitProcess.StartAsync("--config", File);
        await using var load = await VerifiedLoad.StartAsync(server.Port);
        for (int step = 0; step < 40; step++)
        {
            // A LUN comes, goes, or is another unit; LUN 0 is one that initiators can ask.
            int lun = _random.Next(1, 6);
            if (!luns.Remove(lun))
            {
                int unit = Enumerable.Range(1, Units).OrderBy(_ => _random.Next()).First(u => !luns.ContainsValue(u));
                luns[lun] = unit;
            }
            Write(luns);
            await ReloadAsync(server, "[5022]");
            Assert.Equal(luns.Keys.Order(), await LunsAsync(server));
            Assert.Null(load.Failure);
            if (step % 10 != 9) continue;
            // A file that is wrong, or asks for what cannot be, changes nothing.
            System.IO.File.WriteAllText(File, "units: [");
            await ReloadAsync(server, "[5023]");
            Write(luns, "discovery: {chap: 5}");
            await ReloadAsync(server, "[5023]");
            Assert.Equal(luns.Keys.Order(), await LunsAsync(server));
        }
        await load.ProgressAsync(200);
        await load.FinishAsync();
        Write(new Dictionary<int, int> { [0] = 0 });
        await ReloadAsync(server, "[5022]");
        // Images that are no longer served are closed.
        var open = Directory.GetFiles($"/proc/{server.Id}/fd").Select(f => new FileInfo(f).LinkTarget ?? "").Where(t => t.EndsWith(".img", StringComparison.Ordinal)).Distinct();
        Assert.Equal([$"{_folder}/load.img", $"{_folder}/u0.img"], open.Order());
        Assert.Equal(0, await server.StopAsync());
    }
}
