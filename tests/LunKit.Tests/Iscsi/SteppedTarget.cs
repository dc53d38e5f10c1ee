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

internal sealed class ManualClock : TimeProvider
{
    private long _now;

    public override long TimestampFrequency => 1000;

    public override long GetTimestamp() => _now;

    public void Advance(TimeSpan time) => _now += (long)time.TotalMilliseconds;
}

/// <summary>A server without sockets, threads and clock of its own: the test says which connection goes on, and when.</summary>
internal sealed class SteppedTarget
{
    public SteppedTarget(IscsiLimits? limits = null, IBackstore? store = null, LogicalUnit? second = null)
    {
        Unit = new BlockUnit(store ?? new MemoryBackstore(1 << 20), "step", new VolatileUnitState(UnitIdentity.IdOf("step")));
        var luns = new Dictionary<int, LogicalUnit> { [0] = Unit };
        if (second is not null) luns[1] = second;
        Server = new IscsiServer(new IscsiServerOptions
        {
            Portals = [new Portal(new IPEndPoint(IPAddress.Loopback, 3260))],
            Targets = [new Target { Name = TestTarget.Iqn, Luns = luns }],
            Limits = limits ?? new IscsiLimits(),
        }) { Clock = Clock };
    }

    public ManualClock Clock { get; } = new();
    public BlockUnit Unit { get; }
    public IscsiServer Server { get; }

    /// <summary>A connection past its login; of a new session without <paramref name="tsih"/>.</summary>
    public SteppedInitiator LogIn(
        ushort tsih = 0, ushort cid = 1, ulong isid = 0x8000_0000_0001, int capacity = int.MaxValue, uint cmdSn = 1,
        Dictionary<string, string>? keys = null, int outstandingR2T = 1)
    {
        var initiator = new SteppedInitiator(this, capacity);
        initiator.LogIn(tsih, cid, isid, cmdSn, outstandingR2T, keys);
        return initiator;
    }

    /// <summary>Takes the unit away from LUN 0, or puts it back.</summary>
    public void SetLun(bool isThere) => Server.SetTarget(new Target
    {
        Name = TestTarget.Iqn, Luns = isThere ? new Dictionary<int, LogicalUnit> { [0] = Unit } : new Dictionary<int, LogicalUnit>(),
    });

    public SteppedInitiator Connect() => new(this, int.MaxValue);
}

/// <summary>The initiator's side of a connection that goes by steps.</summary>
internal sealed class SteppedInitiator
{
    public SteppedInitiator(SteppedTarget target, int capacity)
    {
        Streams = new MemoryStreams(capacity);
        var address = new IPEndPoint(IPAddress.Loopback, 1);
        Connection = target.Server.Connect(Streams.Target, address, address, 1)!;
    }

    public MemoryStreams Streams { get; }
    public IscsiConnection Connection { get; }
    public ushort Tsih { get; private set; }

    /// <summary>Steps until there is nothing to do.</summary>
    public void Step()
    {
        for (int i = 0; Connection.Step(); i++) Assert.True(i < 10_000, "it never stops to find something to do");
    }

    /// <summary>Steps until PDUs are there: work of the units may go on elsewhere.</summary>
    public async Task<Pdu> AwaitAsync()
    {
        for (int i = 0; i < 2000; i++)
        {
            Step();
            if (Streams.Waiting > 0) return Receive();
            await Task.Delay(5);
        }
        throw new TimeoutException("no answer");
    }

    public void LogIn(ushort tsih, ushort cid, ulong isid, uint cmdSn, int outstandingR2T, Dictionary<string, string>? more = null)
    {
        AskToLogIn(tsih, cid, isid, cmdSn, outstandingR2T, more);
        Step();
        TakeLogIn();
    }

    /// <summary>Sends the login alone: it may have to wait.</summary>
    public void AskToLogIn(ushort tsih, ushort cid, ulong isid, uint cmdSn, int outstandingR2T = 1, Dictionary<string, string>? more = null)
    {
        var keys = new Dictionary<string, string>(more ?? [])
        {
            ["InitiatorName"] = "iqn.2026-11.test:step", ["TargetName"] = TestTarget.Iqn, ["MaxRecvDataSegmentLength"] = "65536",
        };
        if (tsih == 0)
        {
            keys.TryAdd("MaxConnections", "2");
            keys.TryAdd("MaxOutstandingR2T", $"{outstandingR2T}");
        }
        // Several for one command of a few blocks.
        if (outstandingR2T > 1) keys["MaxBurstLength"] = keys["FirstBurstLength"] = "512";
        var text = TextKeys.Format(keys);
        var pdu = new byte[Bhs.Length];
        LoginPdu.WriteRequest(pdu, true, false, LoginStage.Operational, LoginStage.FullFeature, isid, tsih, 1, cid, text.Length);
        new Bhs(pdu).CmdSn = cmdSn;
        Send(pdu, text);
    }

    /// <summary>The answer to a login, which succeeds.</summary>
    public void TakeLogIn()
    {
        var answer = Receive();
        Assert.Equal(0, new LoginPdu(answer.Header).Status);
        Tsih = new LoginPdu(answer.Header).Tsih;
    }

    public void Command(uint tag, uint cmdSn, byte[] cdb, int read = 0, int write = 0, byte[]? immediate = null, int? cut = null, int lun = 0, bool isFinal = true)
    {
        var pdu = new byte[Bhs.Length];
        ScsiCommandPdu.Write(pdu, LunAddress.Encode(lun), tag, read > 0, write > 0, isFinal, (int)TaskAttribute.Simple, (uint)(read + write), cdb);
        new Bhs(pdu).CmdSn = cmdSn;
        Send(pdu, immediate ?? [], cut);
    }

    public void Manage(TaskManagementFunction function, uint tag, uint cmdSn, uint referencedTag = Bhs.ReservedTag, uint refCmdSn = 0)
    {
        var pdu = new byte[Bhs.Length];
        TaskManagementPdu.WriteRequest(pdu, (int)function, 0, tag, referencedTag, refCmdSn);
        pdu[0] |= 0x40;
        new Bhs(pdu).CmdSn = cmdSn;
        Send(pdu, []);
    }

    /// <summary>Sends a PDU, or only the first <paramref name="cut"/> bytes of its data.</summary>
    public void Send(byte[] header, byte[] data, int? cut = null)
    {
        _ = new Bhs(header) { DataLength = data.Length };
        Streams.Send(header);
        Streams.Send(data.AsSpan(0, cut ?? data.Length));
        if (cut is null) Streams.Send(new byte[Bhs.Padded(data.Length) - data.Length]);
    }

    public Pdu Receive()
    {
        Assert.True(Streams.Waiting >= Bhs.Length, "no answer");
        var header = Streams.Receive(Bhs.Length);
        int length = new Bhs(header).DataLength;
        return new Pdu(header, Streams.Receive(Bhs.Padded(length))[..length]);
    }
}
