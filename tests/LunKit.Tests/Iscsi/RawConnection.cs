using System.Net.Sockets;
using LunKit.Iscsi.Login;
using LunKit.Iscsi.Pdus;

namespace LunKit.Tests.Iscsi;

/// <summary>The answer to a login request.</summary>
internal sealed record LoginReply(int Status, ushort Tsih, byte[] Header, IReadOnlyDictionary<string, string> Keys);

/// <summary>A connection on which a test logs in as it likes, with any name, ISID, TSIH and CID, and speaks PDU by PDU.</summary>
internal sealed class RawConnection : IDisposable
{
    private readonly Socket _socket = new(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };

    private RawConnection()
    {
    }

    public ulong Isid { get; init; } = 0x8000_0000_0042;
    public ushort Tsih { get; init; }
    public ushort ConnectionId { get; init; } = 1;
    public string Name { get; init; } = "iqn.2026-11.test:raw";
    public uint CmdSn { get; set; } = 1;

    public static async Task<RawConnection> OpenAsync(
        TestTarget target, ulong isid = 0x8000_0000_0042, ushort tsih = 0, ushort cid = 1, string name = "iqn.2026-11.test:raw",
        uint cmdSn = 1)
    {
        var connection = new RawConnection { Isid = isid, Tsih = tsih, ConnectionId = cid, Name = name, CmdSn = cmdSn };
        await connection._socket.ConnectAsync(target.EndPoint);
        return connection;
    }

    /// <summary>The whole login in one request, to full feature phase.</summary>
    public async Task<LoginReply> LoginAsync(params string[] extra)
    {
        await SendLoginAsync(0x87, [$"InitiatorName={Name}", $"TargetName={TestTarget.Iqn}", "SessionType=Normal", .. extra]);
        return await ReceiveLoginAsync();
    }

    public Task SendLoginAsync(byte flags, params string[] pairs) =>
        SendLoginAsync(flags, System.Text.Encoding.UTF8.GetBytes(string.Concat(pairs.Select(p => p + "\0"))), Tsih);

    public async Task SendLoginAsync(byte flags, byte[] text, ushort tsih)
    {
        var pdu = new byte[Bhs.Length];
        LoginPdu.WriteRequest(pdu, false, false, LoginStage.Security, LoginStage.Security, Isid, tsih, 0x11, ConnectionId, text.Length);
        pdu[1] = flags;
        new Bhs(pdu).CmdSn = CmdSn;
        await SendAsync(pdu, text);
    }

    public async Task<LoginReply> ReceiveLoginAsync()
    {
        var pdu = await ReceiveAsync();
        Assert.Equal(PduOpcode.LoginResponse, pdu.Opcode);
        return new(new LoginPdu(pdu.Header).Status, new LoginPdu(pdu.Header).Tsih, pdu.Header, TextKeys.Parse(pdu.Data).ToDictionary());
    }

    /// <summary>Sends a SCSI command.</summary>
    public async Task CommandAsync(uint tag, byte[] cdb, int read = 0, int write = 0, byte[]? data = null)
    {
        var pdu = new byte[Bhs.Length];
        ScsiCommandPdu.Write(pdu, 0, tag, read > 0, write > 0, true, 1, (uint)(read + write), cdb);
        new Bhs(pdu).CmdSn = CmdSn++;
        await SendAsync(pdu, data ?? []);
    }

    /// <summary>A SCSI command that answers with a status only: its status, and additional sense code and qualifier.</summary>
    public async Task<(int Status, int Sense)> TestAsync(byte[]? cdb = null, int write = 0, byte[]? data = null)
    {
        await CommandAsync(CmdSn + 0x100, cdb ?? new byte[6], write: write, data: data);
        var pdu = await ReceiveAsync();
        Assert.Equal(PduOpcode.ScsiResponse, pdu.Opcode);
        return (pdu.Status, pdu.Data.Length < 16 ? 0 : pdu.Data[14] << 8 | pdu.Data[15]);
    }

    public async Task<Pdu> TextAsync(byte flags, uint transferTag, string text)
    {
        var pdu = new byte[Bhs.Length];
        TextPdu.Write(pdu, PduOpcode.TextRequest, flags, 0x22, transferTag, text.Length);
        new Bhs(pdu).CmdSn = CmdSn++;
        await SendAsync(pdu, System.Text.Encoding.UTF8.GetBytes(text));
        return await ReceiveAsync();
    }

    public async Task SendAsync(byte[] header, byte[] data)
    {
        new Bhs(header).DataLength = data.Length;
        var bytes = new byte[Bhs.Length + Bhs.Padded(data.Length)];
        header.CopyTo(bytes, 0);
        data.CopyTo(bytes, Bhs.Length);
        await _socket.SendAsync(bytes);
    }

    public async Task<Pdu> ReceiveAsync()
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        var header = await ReceiveExactlyAsync(Bhs.Length, limit.Token);
        int length = new Bhs(header).DataLength;
        return new Pdu(header, (await ReceiveExactlyAsync(Bhs.Padded(length), limit.Token))[..length]);
    }

    /// <summary>Whether the target closes the connection, with or without bytes before.</summary>
    public async Task<bool> IsClosedAsync()
    {
        try
        {
            while (true) await ReceiveAsync();
        }
        catch (Exception e) when (e is IOException or SocketException)
        {
            return true;
        }
        catch (OperationCanceledException)
        {
            return false;
        }
    }

    public void Dispose() => _socket.Dispose();

    private async Task<byte[]> ReceiveExactlyAsync(int length, CancellationToken cancellationToken)
    {
        var bytes = new byte[length];
        for (int at = 0; at < length;)
        {
            int n = await _socket.ReceiveAsync(bytes.AsMemory(at), cancellationToken);
            if (n == 0) throw new IOException("the target closed the connection");
            at += n;
        }
        return bytes;
    }
}
