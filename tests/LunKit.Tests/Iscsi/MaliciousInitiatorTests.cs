using System.Net.Sockets;
using LunKit.Iscsi;
using LunKit.Iscsi.Initiator;
using LunKit.Iscsi.Pdus;
using LunKit.Scsi;

namespace LunKit.Tests.Iscsi;

/// <summary>Peers that lie, stall and flood: the server stays up, and a good session beside them notices nothing.</summary>
public class MaliciousInitiatorTests
{
    private static async Task StillServes(IscsiInitiator good)
    {
        var data = new byte[8192];
        Random.Shared.NextBytes(data);
        Assert.Equal(ScsiStatus.Good, (await good.ExecuteAsync(0, Cdbs.Write16(100, 16), data)).Status);
        Assert.Equal(data, (await good.ExecuteAsync(0, Cdbs.Read16(100, 16), dataInLength: 8192)).Data);
    }

    private static InitiatorOptions Bad(TestTarget target) => target.Options with { Isid = 0x8000_0000_0BAD, InitiatorName = "iqn.bad:guy", TimeoutSeconds = 5 };

    private static async Task Ends(IscsiInitiator bad) => await bad.LogoutRequested.WaitAsync(TimeSpan.FromSeconds(30));

    [Fact]
    public async Task BrokenDigestsEndTheConnection()
    {
        await using var target = new TestTarget();
        var good = await target.ConnectAsync();
        foreach (int at in (int[])[10, 48, 60, 600])
        {
            var bad = await target.ConnectAsync(Bad(target) with { HeaderDigest = true, DataDigest = true });
            bad.Mangle = pdu =>
            {
                if (pdu.Length > at) pdu[at] ^= 0x40;
                return pdu;
            };
            await Assert.ThrowsAsync<IOException>(() => bad.ExecuteAsync(0, Cdbs.Write16(0, 4), new byte[2048]));
            await Ends(bad);
        }
        await StillServes(good);
    }

    [Fact]
    public async Task LyingLengthsEndTheConnection()
    {
        await using var target = new TestTarget();
        var good = await target.ConnectAsync();
        Action<byte[]>[] lies =
        [
            p => new Bhs(p.AsSpan(0, 48)).DataLength = 0xFFFFFF,                                         // longer than declared
            p => { new Bhs(p.AsSpan(0, 48)).Set(20, 512); },                                            // more data than expected
            p => p[1] = (byte)(p[1] & ~0x20),                                                            // data without W
        ];
        foreach (var lie in lies)
        {
            var bad = await target.ConnectAsync(Bad(target));
            bad.Mangle = pdu =>
            {
                lie(pdu);
                return pdu;
            };
            await Assert.ThrowsAsync<IOException>(() => bad.ExecuteAsync(0, Cdbs.Write16(0, 4), new byte[2048]));
            await Ends(bad);
        }
        await StillServes(good);
    }

    [Fact]
    public async Task WrongCmdSnIsIgnored()
    {
        await using var target = new TestTarget();
        var bad = await target.ConnectAsync(Bad(target));
        uint number = bad.CommandNumber;
        foreach (uint wrong in (uint[])[number + 5000, number - 1, number + 1])
        {
            bad.SetCommandNumber(wrong);
            var (_, answer) = await bad.StartAsync(0, new byte[6], null, 0);
            await Task.Delay(30);
            Assert.False(answer.IsCompleted);
        }
        bad.SetCommandNumber(number);
        Assert.Equal(ScsiStatus.Good, (await bad.ExecuteAsync(0, new byte[6])).Status);
    }

    [Fact]
    public async Task WrongDataOutFailsTheTaskOrTheConnection()
    {
        await using var target = new TestTarget();
        var good = await target.ConnectAsync();
        // DataSN, then offset, wrong: the task fails, the connection lives.
        foreach (int at in (int[])[39, 42])
        {
            var bad = await target.ConnectAsync(Bad(target) with { ImmediateData = false, InitialR2T = true });
            bad.Mangle = pdu =>
            {
                if ((pdu[0] & 0x3F) == (int)PduOpcode.DataOut) pdu[at] ^= 0x10;
                return pdu;
            };
            Assert.Equal(Sense.DataPhaseError, (await bad.ExecuteAsync(0, Cdbs.Write16(0, 4), new byte[2048])).SenseCode);
            bad.Mangle = null;
            Assert.Equal(ScsiStatus.Good, (await bad.ExecuteAsync(0, new byte[6])).Status);
            await bad.DisposeAsync();
        }
        // An unknown target transfer tag ends the connection.
        var worse = await target.ConnectAsync(Bad(target) with { ImmediateData = false, InitialR2T = true });
        worse.Mangle = pdu =>
        {
            if ((pdu[0] & 0x3F) == (int)PduOpcode.DataOut) pdu[21] ^= 0x10;
            return pdu;
        };
        await Assert.ThrowsAsync<IOException>(() => worse.ExecuteAsync(0, Cdbs.Write16(0, 4), new byte[2048]));
        await StillServes(good);
    }

    [Fact]
    public async Task WriteThatIsNeverFinishedHoldsNobody()
    {
        await using var target = new TestTarget();
        var good = await target.ConnectAsync();
        var bad = await target.ConnectAsync(Bad(target) with { ImmediateData = false, InitialR2T = true });
        bad.Mangle = pdu => (pdu[0] & 0x3F) == (int)PduOpcode.DataOut ? null : pdu;
        for (int i = 0; i < 100; i++) await bad.StartAsync(0, Cdbs.Write16(100, 2048), new byte[1 << 20], 0);
        await StillServes(good);
        Assert.Equal(0, await bad.ManageAsync(TaskManagementFunction.AbortTaskSet, 0));
        Assert.Equal(ScsiStatus.Good, (await bad.ExecuteAsync(0, new byte[6])).Status);
        await bad.DisposeAsync();
        await StillServes(good);
    }

    [Fact]
    public async Task CreditOfAbortedWritesComesBack()
    {
        await using var target = new TestTarget(new IscsiLimits { MaxSolicitedBytesPerConnection = 1 << 20, LogoutTimeoutSeconds = 1 });
        var initiator = await target.ConnectAsync(Bad(target) with { ImmediateData = false, InitialR2T = true });
        // Two writes of two bursts take all credit, one waits for it; none of their data comes.
        initiator.Mangle = pdu => (pdu[0] & 0x3F) == (int)PduOpcode.DataOut ? null : pdu;
        for (int i = 0; i < 3; i++) await initiator.StartAsync(0, Cdbs.Write16(0, 4096), new byte[2 << 20], 0);
        Assert.Equal(0, await initiator.ManageAsync(TaskManagementFunction.AbortTaskSet, 0));
        initiator.Mangle = null;
        var answers = await Task.WhenAll(Enumerable.Range(0, 8).Select(i => initiator.ExecuteAsync(0, Cdbs.Write16(i * 4096, 4096), new byte[2 << 20])));
        Assert.All(answers, a => Assert.Equal(ScsiStatus.Good, a.Status));
    }

    [Fact]
    public async Task RandomBytesAreRefused()
    {
        await using var target = new TestTarget();
        var good = await target.ConnectAsync();
        var random = new Random(1);
        for (int i = 0; i < 200; i++)
        {
            using var socket = new Socket(SocketType.Stream, ProtocolType.Tcp);
            await socket.ConnectAsync(target.EndPoint);
            var bytes = new byte[random.Next(1, 4000)];
            random.NextBytes(bytes);
            if (i % 2 == 0) bytes[0] = 0x43; // a login request with the rest random
            await socket.SendAsync(bytes);
        }
        await StillServes(good);
        for (int i = 0; i < 100 && target.Server.ConnectionCount > 1; i++) await Task.Delay(50);
        Assert.Equal(1, target.Server.ConnectionCount);
    }

    [Fact]
    public async Task RandomPdusInAGoodSessionHurtNobodyElse()
    {
        await using var target = new TestTarget();
        var good = await target.ConnectAsync();
        var random = new Random(2);
        for (int i = 0; i < 100; i++)
        {
            var bad = await target.ConnectAsync(Bad(target));
            for (int n = 0; n < 5; n++)
            {
                var pdu = new byte[48];
                random.NextBytes(pdu);
                pdu[0] = (byte)(random.Next(2) * 0x40 | random.Next(0x12));
                pdu[4] = pdu[5] = 0;
                pdu[6] &= 0x0F;
                try
                {
                    await bad.SendRawAsync(pdu);
                }
                catch (IOException)
                {
                    break;
                }
            }
            await bad.DisposeAsync();
        }
        await StillServes(good);
    }

    [Fact]
    public async Task SlowLoginIsCut()
    {
        await using var target = new TestTarget(new IscsiLimits { LoginTimeoutSeconds = 1, LogoutTimeoutSeconds = 1 });
        using var silent = new Socket(SocketType.Stream, ProtocolType.Tcp);
        await silent.ConnectAsync(target.EndPoint);
        using var dripping = new Socket(SocketType.Stream, ProtocolType.Tcp);
        await dripping.ConnectAsync(target.EndPoint);
        for (int i = 0; i < 40 && target.Server.ConnectionCount > 0; i++)
        {
            await Task.Delay(100);
            try
            {
                await dripping.SendAsync(new byte[] { 0x43 });
            }
            catch (SocketException)
            {
                break;
            }
        }
        for (int i = 0; i < 40 && target.Server.ConnectionCount > 0; i++) await Task.Delay(50);
        Assert.Equal(0, target.Server.ConnectionCount);
    }

    [Fact]
    public async Task FloodIsBounded()
    {
        await using var target = new TestTarget(new IscsiLimits { MaxConnectionsPerAddress = 50, LogoutTimeoutSeconds = 1 });
        var good = await target.ConnectAsync();
        var flood = new List<Socket>();
        for (int i = 0; i < 2000; i++)
        {
            var socket = new Socket(SocketType.Stream, ProtocolType.Tcp);
            await socket.ConnectAsync(target.EndPoint);
            flood.Add(socket);
        }
        await StillServes(good);
        Assert.InRange(target.Server.ConnectionCount, 1, 50);
        foreach (var socket in flood) socket.Dispose();
    }

    [Fact]
    public async Task PeerThatDoesNotReadStallsOnlyItself()
    {
        await using var target = new TestTarget();
        var good = await target.ConnectAsync();
        using var raw = new Socket(SocketType.Stream, ProtocolType.Tcp) { ReceiveBufferSize = 4096 };
        var bad = await target.ConnectAsync(Bad(target));
        var pdus = new List<byte>();
        for (uint i = 0; i < 200; i++)
        {
            var pdu = new byte[48];
            ScsiCommandPdu.Write(pdu, 0, 0x1000 + i, true, false, true, 1, 8 << 20, Cdbs.Read16(0, 16384));
            pdu[0] |= 0x40;
            pdus.AddRange(pdu);
        }
        bad.StopReading();
        await bad.SendRawAsync(pdus.ToArray());
        await Task.Delay(300);
        await StillServes(good);
        // 200 answers of 8 MiB were asked for; the process's memory is that of the tests beside this one, too.
        Assert.InRange(target.Server.Memory.Bytes, 0, 64L << 20);
    }

    [Fact]
    public async Task HoardersOfMemoryAreBoundedOneByOneAndTogether()
    {
        const int Each = 2 << 20, All = 3 << 20, Segment = 64 * 1024;
        await using var target = new TestTarget(new IscsiLimits
        {
            MaxOutstandingBytesPerConnection = Each, MaxOutstandingBytes = All, MaxSolicitedBytesPerConnection = 1 << 20, LogoutTimeoutSeconds = 1,
        });
        var good = await target.ConnectAsync();
        var hoarders = new List<ScriptedInitiator>();
        for (int h = 0; h < 3; h++)
        {
            // Writes of 1 MiB of which only the immediate data ever comes.
            var hoarder = new ScriptedInitiator(target, isid: (ulong)(0x8000_0000_1000 + h), level: 0, extra: ["MaxBurstLength=1048576", $"FirstBurstLength={Segment}"]);
            hoarders.Add(hoarder);
            for (uint i = 0; i < 100; i++) hoarder.Command(i + 2, Cdbs.Write16(0, 2048), write: 1 << 20, immediate: new byte[Segment]);
            int refused = 0;
            for (int got = 0; got < 20; got++)
                if (hoarder.Receive() is { Opcode: PduOpcode.ScsiResponse, Status: (byte)ScsiStatus.TaskSetFull }) refused++;
            Assert.InRange(refused, 1, 100);
        }
        await StillServes(good);
        // Each may go over by the command that it is at.
        Assert.InRange(target.Server.Memory.Bytes, 1 << 20, All + 3 * (2 << 20));
        foreach (var hoarder in hoarders) hoarder.Dispose();
        for (int i = 0; i < 100 && target.Server.Memory.Bytes > 0; i++) await Task.Delay(50);
        Assert.Equal(0, target.Server.Memory.Bytes);
    }
}
