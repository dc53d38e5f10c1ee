using System.Buffers.Binary;
using System.Net;
using LunKit.Iscsi.Initiator;
using LunKit.Scsi;
using Xunit;

namespace LunKit.Conformance;

/// <summary>SIGKILL in the middle of writes: what was acknowledged with FUA or before a successful SYNCHRONIZE CACHE is there.</summary>
public sealed class DurabilityTests
{
    private const int Blocks = 8192;

    [Theory]
    [InlineData(1, "on")]
    [InlineData(2, "on")]
    [InlineData(3, "off")]
    public async Task AcknowledgedWritesSurviveKill(int seed, string writeCache)
    {
        string folder = Directory.CreateTempSubdirectory("lunkit-kill-").FullName;
        await SurvivesKillsAsync($"file:{folder}/disk.img,size=4M", seed, writeCache);
        Directory.Delete(folder, recursive: true);
    }

    /// <summary>Serves a zeroed disk of 4 MiB, writes to it, kills the target, serves it again, and so on.</summary>
    /// <param name="spec">What is served.</param>
    /// <param name="seed">The same seed does the same.</param>
    /// <param name="writeCache">on or off.</param>
    /// <param name="cacheDies">The cache is the process's: what was not flushed is lost with it, and no later flush brings it back.</param>
    internal static async Task SurvivesKillsAsync(string spec, int seed, string writeCache, bool cacheDies = false)
    {
        var promised = new uint[Blocks];    // the generation that must be there
        var acknowledged = new uint[Blocks];
        var latest = new uint[Blocks];      // the newest that may be there
        var random = new Random(seed);
        uint generation = 0;
        string? serial = null;
        for (int round = 0; round < 4; round++)
        {
            await using var server = await LunKitProcess.StartAsync(spec, "--write-cache", writeCache);
            await using var initiator = await ConnectAsync(server.Port);
            string now = Convert.ToHexString((await Run(initiator, [0x12, 1, 0x80, 0, 0xFF, 0], null, 255)).Data);
            Assert.Equal(serial ??= now, now);
            await CheckAsync(initiator, promised, latest);
            if (cacheDies) promised.CopyTo(acknowledged, 0);
            // At a random moment, but not before there is something to lose: a medium that flushes slowly gets the time it needs.
            uint enough = generation + 30;
            var kill = KillAsync(server, random.Next(100, 500), () => Volatile.Read(ref generation) > enough);
            try
            {
                while (true)
                {
                    int lba = random.Next(Blocks);
                    bool fua = random.Next(3) == 0;
                    latest[lba] = ++generation;
                    byte[] write = [0x2A, (byte)(fua ? 0x08 : 0), 0, 0, (byte)(lba >> 8), (byte)lba, 0, 0, 1, 0];
                    Assert.Equal(ScsiStatus.Good, (await Run(initiator, write, Block(lba, generation), 0)).Status);
                    acknowledged[lba] = generation;
                    if (fua || writeCache == "off") promised[lba] = generation;
                    if (random.Next(40) != 0) continue;
                    var written = (uint[])acknowledged.Clone();
                    Assert.Equal(ScsiStatus.Good, (await Run(initiator, [0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0], null, 0)).Status);
                    written.CopyTo(promised, 0);
                }
            }
            catch (IOException)
            {
                await kill;
            }
        }
        await using var last = await LunKitProcess.StartAsync(spec);
        await using var reader = await ConnectAsync(last.Port);
        await CheckAsync(reader, promised, latest);
        Assert.True(generation > 100);
    }

    private static async Task KillAsync(LunKitProcess server, int milliseconds, Func<bool> ready)
    {
        await Task.Delay(milliseconds);
        for (int i = 0; i < 3000 && !ready(); i++) await Task.Delay(10);
        await server.KillAsync();
    }

    internal static async Task<IscsiInitiator> ConnectAsync(int port)
    {
        var initiator = await IscsiInitiator.ConnectAsync(new InitiatorOptions { Portal = new IPEndPoint(IPAddress.Loopback, port), TargetName = LunKitProcess.Iqn });
        await Run(initiator, new byte[6], null, 0);
        return initiator;
    }

    private static Task<ScsiAnswer> Run(IscsiInitiator initiator, byte[] cdb, byte[]? dataOut, int dataIn) => initiator.ExecuteAsync(0, cdb, dataOut, dataIn);

    private static byte[] Block(int lba, uint generation)
    {
        var block = new byte[512];
        for (int at = 0; at < 512; at += 8)
        {
            BinaryPrimitives.WriteInt32LittleEndian(block.AsSpan(at), lba);
            BinaryPrimitives.WriteUInt32LittleEndian(block.AsSpan(at + 4), generation);
        }
        return block;
    }

    private static async Task CheckAsync(IscsiInitiator initiator, uint[] promised, uint[] latest)
    {
        for (int lba = 0; lba < Blocks; lba += 1024)
        {
            byte[] read = [0x28, 0, 0, 0, (byte)(lba >> 8), (byte)lba, 0, 4, 0, 0];
            var data = (await Run(initiator, read, null, 1024 * 512)).Data;
            for (int i = 0; i < 1024; i++)
            {
                var block = data.AsSpan(i * 512, 512);
                uint found = BinaryPrimitives.ReadUInt32LittleEndian(block[4..]);
                Assert.True(found >= promised[lba + i] && found <= latest[lba + i], $"block {lba + i} has generation {found}, {promised[lba + i]} was promised; it begins with {Convert.ToHexString(block[..16])}");
                Assert.True(block.SequenceEqual(found == 0 ? new byte[512] : Block(lba + i, found)), $"block {lba + i} is torn");
            }
        }
    }
}
