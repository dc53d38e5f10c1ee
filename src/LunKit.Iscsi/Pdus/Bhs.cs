using System.Buffers.Binary;

namespace LunKit.Iscsi.Pdus;

/// <summary>Opcodes of RFC 7143 11.2.1.2.</summary>
internal enum PduOpcode : byte
{
    NopOut = 0x00, ScsiCommand = 0x01, TaskManagementRequest = 0x02, LoginRequest = 0x03, TextRequest = 0x04, DataOut = 0x05,
    LogoutRequest = 0x06, SnackRequest = 0x10,
    NopIn = 0x20, ScsiResponse = 0x21, TaskManagementResponse = 0x22, LoginResponse = 0x23, TextResponse = 0x24, DataIn = 0x25,
    LogoutResponse = 0x26, ReadyToTransfer = 0x31, AsyncMessage = 0x32, Reject = 0x3F,
}

/// <summary>
/// Basic header segment (RFC 7143 11.2.1): the 48 bytes that every PDU begins with, and the fields that all share. The other views
/// of this folder lie over the same bytes.
/// </summary>
internal readonly ref struct Bhs(Span<byte> bytes)
{
    public const int Length = 48;
    public const uint ReservedTag = 0xFFFF_FFFF;

    private readonly Span<byte> _bytes = bytes;

    public Span<byte> Bytes => _bytes;

    public PduOpcode Opcode { get => (PduOpcode)(_bytes[0] & 0x3F); set => _bytes[0] = (byte)(_bytes[0] & 0xC0 | (byte)value); }
    public bool IsImmediate { get => (_bytes[0] & 0x40) != 0; set => _bytes[0] = (byte)(value ? _bytes[0] | 0x40 : _bytes[0] & ~0x40); }
    public bool IsFinal { get => (_bytes[1] & 0x80) != 0; set => _bytes[1] = (byte)(value ? _bytes[1] | 0x80 : _bytes[1] & ~0x80); }
    public byte Flags { get => _bytes[1]; set => _bytes[1] = value; }

    /// <summary>Bytes of additional header segments.</summary>
    public int AhsLength => _bytes[4] * 4;

    /// <summary>Bytes of the data segment, without padding.</summary>
    public int DataLength
    {
        get => _bytes[5] << 16 | _bytes[6] << 8 | _bytes[7];
        set
        {
            _bytes[5] = (byte)(value >> 16);
            BinaryPrimitives.WriteUInt16BigEndian(_bytes[6..], (ushort)value);
        }
    }

    public ulong Lun { get => BinaryPrimitives.ReadUInt64BigEndian(_bytes[8..]); set => BinaryPrimitives.WriteUInt64BigEndian(_bytes[8..], value); }
    public uint InitiatorTaskTag { get => Get(16); set => Set(16, value); }

    /// <summary>Target transfer tag in Data-Out, Data-In, R2T, NOP and text PDUs; reserved or something else in others.</summary>
    public uint TargetTransferTag { get => Get(20); set => Set(20, value); }

    /// <summary>CmdSN of a request; StatSN of a response.</summary>
    public uint SequenceNumber { get => Get(24); set => Set(24, value); }
    public uint CmdSn { get => Get(24); set => Set(24, value); }
    public uint ExpStatSn { get => Get(28); set => Set(28, value); }
    public uint StatSn { get => Get(24); set => Set(24, value); }
    public uint ExpCmdSn { get => Get(28); set => Set(28, value); }
    public uint MaxCmdSn { get => Get(32); set => Set(32, value); }

    public uint Get(int at) => BinaryPrimitives.ReadUInt32BigEndian(_bytes[at..]);
    public void Set(int at, uint value) => BinaryPrimitives.WriteUInt32BigEndian(_bytes[at..], value);

    public static int Padded(int length) => length + 3 & ~3;
}
