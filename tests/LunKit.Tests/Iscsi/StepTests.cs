using System.Net;
using LunKit.Backstores;
using LunKit.Iscsi;
using LunKit.Iscsi.Login;
using LunKit.Iscsi.Pdus;
using LunKit.Iscsi.Sessions;
using LunKit.LogicalUnits;
using LunKit.Scsi;
using LunKit.Targets;

namespace LunKit.Tests.Iscsi;

/// <summary>A connection without socket, thread and clock of its own: what a simulation drives.</summary>
public class StepTests
{
    private sealed class ManualClock : TimeProvider
    {
        private long _now;

        public override long TimestampFrequency => 1000;

        public override long GetTimestamp() => _now;

        public void Advance(TimeSpan time) => _now += (long)time.TotalMilliseconds;
    }

    private static IscsiConnection Connect(MemoryStreams streams, TimeProvider clock, IscsiLimits? limits = null)
    {
        var unit = new BlockUnit(new MemoryBackstore(1 << 20), "step", new VolatileUnitState(UnitIdentity.IdOf("step")));
        var server = new IscsiServer(new IscsiServerOptions
        {
            Portals = [new Portal(new IPEndPoint(IPAddress.Loopback, 3260))],
            Targets = [new Target { Name = TestTarget.Iqn, Luns = new Dictionary<int, LogicalUnit> { [0] = unit } }],
            Limits = limits ?? new IscsiLimits(),
        }) { Clock = clock };
        var address = new IPEndPoint(IPAddress.Loopback, 1);
        return server.Connect(streams.Target, address, address, 1)!;
    }

    private static void StepAll(IscsiConnection connection)
    {
        for (int i = 0; connection.Step(); i++) Assert.True(i < 1000, "it never stops to find something to do");
    }

    private static void Send(MemoryStreams streams, byte[] header, byte[] data)
    {
        _ = new Bhs(header) { DataLength = data.Length };
        streams.Send(header);
        streams.Send(data);
        streams.Send(new byte[Bhs.Padded(data.Length) - data.Length]);
    }

    private static Pdu Receive(MemoryStreams streams)
    {
        Assert.True(streams.Waiting >= Bhs.Length, "no answer");
        var header = streams.Receive(Bhs.Length);
        int length = new Bhs(header).DataLength;
        return new Pdu(header, streams.Receive(Bhs.Padded(length))[..length]);
    }

    private static void LogIn(MemoryStreams streams, IscsiConnection connection)
    {
        var text = TextKeys.Format(new Dictionary<string, string>
        {
            ["InitiatorName"] = "iqn.2026-11.test:step", ["TargetName"] = TestTarget.Iqn, ["MaxRecvDataSegmentLength"] = "65536",
        });
        var pdu = new byte[Bhs.Length];
        LoginPdu.WriteRequest(pdu, true, false, LoginStage.Operational, LoginStage.FullFeature, 0x8000_0000_0001, 0, 1, 1, text.Length);
        new Bhs(pdu).CmdSn = 1;
        Send(streams, pdu, text);
        StepAll(connection);
        Assert.Equal(0, new LoginPdu(Receive(streams).Header).Status);
    }

    private static byte[] Command(uint tag, uint cmdSn, byte[] cdb, int read = 0, int write = 0)
    {
        var pdu = new byte[Bhs.Length];
        ScsiCommandPdu.Write(pdu, 0, tag, read > 0, write > 0, true, (int)TaskAttribute.Simple, (uint)(read + write), cdb);
        new Bhs(pdu).CmdSn = cmdSn;
        return pdu;
    }

    [Fact]
    public void LoginWriteAndReadGoByStepsAlone()
    {
        var streams = new MemoryStreams();
        var connection = Connect(streams, new ManualClock());
        LogIn(streams, connection);
        var data = Enumerable.Range(0, 4096).Select(i => (byte)i).ToArray();
        Send(streams, Command(1, 1, new byte[6]), []);
        Send(streams, Command(2, 2, Cdbs.Write16(8, 8), write: 4096), data);
        Send(streams, Command(3, 3, Cdbs.Read16(8, 8), read: 4096), []);
        StepAll(connection);
        Assert.Equal((byte)ScsiStatus.CheckCondition, Receive(streams).Status);
        Assert.Equal((byte)ScsiStatus.Good, Receive(streams).Status);
        var read = Receive(streams);
        Assert.True(read.HasStatus && read.Data.AsSpan().SequenceEqual(data));
        Assert.False(connection.Step());
        streams.Close();
        StepAll(connection);
        Assert.True(connection.HasEnded && streams.TargetHasClosed && connection.Ended.IsCompletedSuccessfully);
    }

    [Fact]
    public void TimeIsTheClocks()
    {
        var (streams, clock) = (new MemoryStreams(), new ManualClock());
        var connection = Connect(streams, clock, new IscsiLimits { NopInIntervalSeconds = 10, NopInTimeoutSeconds = 5 });
        LogIn(streams, connection);
        for (int seconds = 0; seconds < 12; seconds++)
        {
            clock.Advance(TimeSpan.FromSeconds(1));
            StepAll(connection);
        }
        Assert.Equal(PduOpcode.NopIn, Receive(streams).Opcode);
        for (int seconds = 0; seconds < 8 && !connection.HasEnded; seconds++)
        {
            clock.Advance(TimeSpan.FromSeconds(1));
            StepAll(connection);
        }
        Assert.True(connection.HasEnded);
        var silent = Connect(new MemoryStreams(), clock, new IscsiLimits { LoginTimeoutSeconds = 3 });
        Assert.False(silent.Step());
        clock.Advance(TimeSpan.FromSeconds(4));
        StepAll(silent);
        Assert.True(silent.HasEnded);
    }
}
