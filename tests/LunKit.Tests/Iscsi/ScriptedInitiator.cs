using System.Net.Sockets;
using LunKit.Iscsi.Login;
using LunKit.Iscsi.Pdus;
using LunKit.Scsi;

namespace LunKit.Tests.Iscsi;

/// <summary>One PDU, as it came.</summary>
internal sealed record Pdu(byte[] Header, byte[] Data)
{
    public PduOpcode Opcode => new Bhs(Header).Opcode;
    public uint Tag => new Bhs(Header).InitiatorTaskTag;
    public uint TransferTag => new Bhs(Header).TargetTransferTag;
    public uint StatSn => new Bhs(Header).StatSn;
    public uint DataSn => new DataInPdu(Header).DataSn;
    public uint BufferOffset => new DataInPdu(Header).BufferOffset;
    public uint R2tSn => new ReadyToTransferPdu(Header).R2tSn;
    public uint DesiredLength => new ReadyToTransferPdu(Header).DesiredLength;
    public bool HasStatus => (Header[1] & DataInPdu.HasStatus) != 0;
    public byte Response => Header[2];
    public byte Status => Header[3];
}

/// <summary>
/// An initiator that does PDU by PDU what a test says: nothing is answered or acknowledged by itself. ExpStatSN is what
/// <see cref="Acknowledged"/> says.
/// </summary>
internal sealed class ScriptedInitiator : IDisposable
{
    private readonly Socket _socket = new(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true, ReceiveTimeout = 10_000 };
    private readonly bool _dataDigest;

    public ScriptedInitiator(
        TestTarget target, ushort tsih = 0, ushort cid = 1, int level = 2, bool dataDigest = false, uint cmdSn = 1, string[]? extra = null,
        ulong isid = 0x8000_0000_00EE)
    {
        _socket.Connect(target.EndPoint);
        CmdSn = cmdSn;
        Dictionary<string, string> keys = new()
        {
            ["InitiatorName"] = "iqn.2026-11.test:scripted", ["TargetName"] = TestTarget.Iqn, ["SessionType"] = "Normal",
            ["MaxRecvDataSegmentLength"] = "1024", ["DataDigest"] = dataDigest ? "CRC32C" : "None",
        };
        if (tsih == 0)
        {
            keys["ErrorRecoveryLevel"] = $"{level}";
            keys["MaxConnections"] = "2";
            keys["InitialR2T"] = "Yes";
            keys["ImmediateData"] = "Yes";
            keys["MaxBurstLength"] = "4096";
            keys["DefaultTime2Wait"] = "0";
            keys["DefaultTime2Retain"] = "20";
        }
        foreach (string key in extra ?? []) keys[key.Split('=')[0]] = key.Split('=')[1];
        var text = TextKeys.Format(keys);
        var pdu = new byte[Bhs.Length];
        LoginPdu.WriteRequest(pdu, true, false, LoginStage.Operational, LoginStage.FullFeature, isid, tsih, 1, cid, text.Length);
        new Bhs(pdu).CmdSn = cmdSn;
        Send(pdu, text);
        var answer = Receive();
        Assert.Equal(0, new LoginPdu(answer.Header).Status);
        Tsih = new LoginPdu(answer.Header).Tsih;
        Keys = TextKeys.Parse(answer.Data).ToDictionary();
        Acknowledged = answer.StatSn + 1;
        _dataDigest = dataDigest;
    }

    public ushort Tsih { get; }
    public IReadOnlyDictionary<string, string> Keys { get; }
    public uint CmdSn { get; set; }
    public uint Acknowledged { get; set; }

    /// <summary>Damages the data digest of the next PDU that has data.</summary>
    public bool DamageNext { get; set; }

    public void Command(uint tag, byte[] cdb, int read = 0, int write = 0, byte[]? immediate = null, uint? cmdSn = null, int lun = 0,
        bool isImmediate = false)
    {
        var pdu = new byte[Bhs.Length];
        ScsiCommandPdu.Write(pdu, LunAddress.Encode(lun), tag, read > 0, write > 0, true, (int)TaskAttribute.Simple, (uint)(read + write), cdb);
        if (isImmediate) pdu[0] |= 0x40;
        new Bhs(pdu).CmdSn = cmdSn ?? (isImmediate ? CmdSn : CmdSn++);
        Send(pdu, immediate ?? []);
    }

    public void DataOut(Pdu r2t, byte[] data, int offset, int length, uint dataSn, bool final)
    {
        var pdu = new byte[Bhs.Length];
        DataOutPdu.Write(pdu, 0, r2t.Tag, r2t.TransferTag, length, dataSn, (uint)offset, final);
        Send(pdu, data[offset..(offset + length)]);
    }

    public void Snack(SnackType type, uint tag, uint begRun, uint runLength, uint snackTag = Bhs.ReservedTag)
    {
        var pdu = new byte[Bhs.Length];
        SnackPdu.Write(pdu, type, tag, snackTag, begRun, runLength);
        Send(pdu, []);
    }

    public Pdu Reassign(uint tag, uint expDataSn)
    {
        var pdu = new byte[Bhs.Length];
        TaskManagementPdu.WriteRequest(pdu, (int)TaskManagementFunction.TaskReassign, 0, 0x7000 + tag, tag, 0);
        new Bhs(pdu).Set(36, expDataSn);
        pdu[0] |= 0x40;
        new Bhs(pdu).CmdSn = CmdSn;
        Send(pdu, []);
        return Receive(PduOpcode.TaskManagementResponse);
    }

    /// <summary>An immediate task management function.</summary>
    public void Manage(TaskManagementFunction function, uint tag, uint referencedTag = Bhs.ReservedTag, uint refCmdSn = 0)
    {
        var pdu = new byte[Bhs.Length];
        TaskManagementPdu.WriteRequest(pdu, (int)function, 0, tag, referencedTag, refCmdSn);
        pdu[0] |= 0x40;
        new Bhs(pdu).CmdSn = CmdSn;
        Send(pdu, []);
    }

    public Pdu Logout(int reason, ushort cid)
    {
        var pdu = new byte[Bhs.Length];
        LogoutPdu.WriteRequest(pdu, reason, 0x6000, cid);
        pdu[0] |= 0x40;
        new Bhs(pdu).CmdSn = CmdSn;
        Send(pdu, []);
        return Receive(PduOpcode.LogoutResponse);
    }

    public void Send(byte[] header, byte[] data)
    {
        _ = new Bhs(header) { DataLength = data.Length, ExpStatSn = Acknowledged };
        int padded = Bhs.Padded(data.Length), digest = _dataDigest && data.Length > 0 ? 4 : 0;
        var bytes = new byte[Bhs.Length + padded + digest];
        header.CopyTo(bytes, 0);
        data.CopyTo(bytes, Bhs.Length);
        if (digest > 0) Crc32C.Write(bytes.AsSpan(Bhs.Length, padded), bytes.AsSpan(Bhs.Length + padded));
        if (digest > 0 && DamageNext)
        {
            bytes[^1] ^= 0xFF;
            DamageNext = false;
        }
        _socket.Send(bytes);
    }

    public Pdu Receive(PduOpcode expected)
    {
        var pdu = Receive();
        Assert.Equal(expected, pdu.Opcode);
        return pdu;
    }

    public Pdu Receive()
    {
        var header = ReceiveExactly(Bhs.Length);
        int length = new Bhs(header).DataLength;
        var data = ReceiveExactly(Bhs.Padded(length))[..length];
        if (_dataDigest && length > 0) ReceiveExactly(4);
        return new Pdu(header, data);
    }

    /// <summary>All PDUs of a read until its status.</summary>
    public List<Pdu> ReceiveRead()
    {
        var pdus = new List<Pdu> { Receive(PduOpcode.DataIn) };
        while (!pdus[^1].HasStatus) pdus.Add(Receive(PduOpcode.DataIn));
        return pdus;
    }

    /// <summary>Whether nothing comes for a moment.</summary>
    public bool IsQuiet(int milliseconds = 200) => !_socket.Poll(milliseconds * 1000, SelectMode.SelectRead);

    public void Dispose() => _socket.Dispose();

    private byte[] ReceiveExactly(int length)
    {
        var bytes = new byte[length];
        for (int at = 0; at < length;)
        {
            int n = _socket.Receive(bytes.AsSpan(at));
            if (n == 0) throw new IOException("the target closed the connection");
            at += n;
        }
        return bytes;
    }
}
