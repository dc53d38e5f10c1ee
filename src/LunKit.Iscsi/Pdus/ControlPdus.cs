using System.Buffers.Binary;

namespace LunKit.Iscsi.Pdus;

/// <summary>Logout Request and Response (RFC 7143 11.14, 11.15).</summary>
internal readonly ref struct LogoutPdu(Span<byte> bhs)
{
    private readonly Bhs _bhs = new(bhs);

    /// <summary>0 close the session, 1 close the connection, 2 remove the connection for recovery.</summary>
    public int Reason => _bhs.Flags & 0x7F;
    public ushort ConnectionId => BinaryPrimitives.ReadUInt16BigEndian(_bhs.Bytes[20..]);
    public byte Response => _bhs.Bytes[2];

    public static void WriteRequest(Span<byte> bhs, int reason, uint tag, ushort connectionId)
    {
        bhs.Clear();
        _ = new Bhs(bhs) { Opcode = PduOpcode.LogoutRequest, Flags = (byte)(0x80 | reason), InitiatorTaskTag = tag };
        BinaryPrimitives.WriteUInt16BigEndian(bhs[20..], connectionId);
    }

    /// <param name="response">0 done, 1 no such connection, 2 no connection recovery, 3 clean-up failed.</param>
    public static void WriteResponse(Span<byte> bhs, uint tag, byte response, int time2Wait, int time2Retain)
    {
        bhs.Clear();
        _ = new Bhs(bhs) { Opcode = PduOpcode.LogoutResponse, Flags = 0x80, InitiatorTaskTag = tag };
        bhs[2] = response;
        BinaryPrimitives.WriteUInt16BigEndian(bhs[40..], (ushort)time2Wait);
        BinaryPrimitives.WriteUInt16BigEndian(bhs[42..], (ushort)time2Retain);
    }
}

/// <summary>NOP-Out and NOP-In (RFC 7143 11.18, 11.19).</summary>
internal static class NopPdu
{
    public static void Write(Span<byte> bhs, PduOpcode opcode, ulong lun, uint tag, uint transferTag, int length)
    {
        bhs.Clear();
        _ = new Bhs(bhs) { Opcode = opcode, Flags = 0x80, Lun = lun, InitiatorTaskTag = tag, TargetTransferTag = transferTag, DataLength = length };
    }
}

/// <summary>Text Request and Response (RFC 7143 11.10, 11.11).</summary>
internal static class TextPdu
{
    public const byte Final = 0x80, Continue = 0x40;

    public static void Write(Span<byte> bhs, PduOpcode opcode, byte flags, uint tag, uint transferTag, int length)
    {
        bhs.Clear();
        _ = new Bhs(bhs) { Opcode = opcode, Flags = flags, InitiatorTaskTag = tag, TargetTransferTag = transferTag, DataLength = length };
    }
}

/// <summary>Reject (RFC 7143 11.17): carries the header that was rejected.</summary>
internal static class RejectPdu
{
    public static void Write(Span<byte> bhs, RejectReason reason, int length)
    {
        bhs.Clear();
        _ = new Bhs(bhs) { Opcode = PduOpcode.Reject, Flags = 0x80, InitiatorTaskTag = Bhs.ReservedTag, DataLength = length };
        bhs[2] = (byte)reason;
    }
}

/// <summary>Reasons of RFC 7143 11.17.1.</summary>
internal enum RejectReason : byte
{
    DataDigestError = 0x02, SnackReject = 0x03, ProtocolError = 0x04, CommandNotSupported = 0x05, TooManyImmediateCommands = 0x06,
    TaskInProgress = 0x07, InvalidDataAck = 0x08, InvalidPduField = 0x09, LongOperationReject = 0x0A, WaitingForLogout = 0x0C,
}

/// <summary>Asynchronous Message (RFC 7143 11.9).</summary>
internal static class AsyncMessagePdu
{
    /// <summary>The target asks for a logout within <paramref name="parameter3"/> seconds (event 1), or drops the connection (2) or session (3).</summary>
    public static void Write(Span<byte> bhs, byte asyncEvent, int parameter1, int parameter2, int parameter3)
    {
        bhs.Clear();
        _ = new Bhs(bhs) { Opcode = PduOpcode.AsyncMessage, Flags = 0x80, InitiatorTaskTag = Bhs.ReservedTag };
        bhs[36] = asyncEvent;
        BinaryPrimitives.WriteUInt16BigEndian(bhs[38..], (ushort)parameter1);
        BinaryPrimitives.WriteUInt16BigEndian(bhs[40..], (ushort)parameter2);
        BinaryPrimitives.WriteUInt16BigEndian(bhs[42..], (ushort)parameter3);
    }
}
