using System.Buffers.Binary;

namespace LunKit.Iscsi.Pdus;

/// <summary>Login Request and Login Response (RFC 7143 11.12, 11.13).</summary>
internal readonly ref struct LoginPdu(Span<byte> bhs)
{
    private readonly Bhs _bhs = new(bhs);

    public bool Transit => (_bhs.Flags & 0x80) != 0;
    public bool Continue => (_bhs.Flags & 0x40) != 0;
    public LoginStage CurrentStage => (LoginStage)(_bhs.Flags >> 2 & 3);
    public LoginStage NextStage => (LoginStage)(_bhs.Flags & 3);
    public byte VersionMax => _bhs.Bytes[2];
    public byte VersionMin => _bhs.Bytes[3];

    /// <summary>ISID, six bytes in the low 48 bits.</summary>
    public ulong Isid => BinaryPrimitives.ReadUInt64BigEndian(_bhs.Bytes[8..]) >> 16;
    public ushort Tsih => BinaryPrimitives.ReadUInt16BigEndian(_bhs.Bytes[14..]);
    public ushort ConnectionId => BinaryPrimitives.ReadUInt16BigEndian(_bhs.Bytes[20..]);
    public ushort Status => BinaryPrimitives.ReadUInt16BigEndian(_bhs.Bytes[36..]);

    public static void WriteRequest(
        Span<byte> bhs, bool transit, bool more, LoginStage current, LoginStage next, ulong isid, ushort tsih, uint tag, ushort connectionId, int length)
    {
        bhs.Clear();
        var h = new Bhs(bhs) { Opcode = PduOpcode.LoginRequest, IsImmediate = true, InitiatorTaskTag = tag, DataLength = length };
        h.Flags = Flags(transit, more, current, next);
        BinaryPrimitives.WriteUInt64BigEndian(bhs[8..], isid << 16 | tsih);
        BinaryPrimitives.WriteUInt16BigEndian(bhs[20..], connectionId);
    }

    public static void WriteResponse(
        Span<byte> bhs, bool transit, bool more, LoginStage current, LoginStage next, ulong isid, ushort tsih, uint tag, LoginStatus status, int length)
    {
        bhs.Clear();
        _ = new Bhs(bhs) { Opcode = PduOpcode.LoginResponse, InitiatorTaskTag = tag, DataLength = length, Flags = Flags(transit, more, current, next) };
        BinaryPrimitives.WriteUInt64BigEndian(bhs[8..], isid << 16 | tsih);
        BinaryPrimitives.WriteUInt16BigEndian(bhs[36..], (ushort)status);
    }

    private static byte Flags(bool transit, bool more, LoginStage current, LoginStage next) =>
        (byte)((transit ? 0x80 : 0) | (more ? 0x40 : 0) | (int)current << 2 | (transit ? (int)next : 0));
}

/// <summary>Login stages of RFC 7143 11.12.3.</summary>
internal enum LoginStage : byte { Security = 0, Operational = 1, FullFeature = 3 }

/// <summary>Status class and detail of RFC 7143 11.13.5.</summary>
internal enum LoginStatus : ushort
{
    Success = 0x0000, MovedTemporarily = 0x0101, MovedPermanently = 0x0102, InitiatorError = 0x0200, AuthenticationFailure = 0x0201,
    AuthorizationFailure = 0x0202, NotFound = 0x0203, TargetRemoved = 0x0204, UnsupportedVersion = 0x0205, TooManyConnections = 0x0206,
    MissingParameter = 0x0207, CannotIncludeInSession = 0x0208, SessionTypeNotSupported = 0x0209, SessionDoesNotExist = 0x020A,
    InvalidDuringLogin = 0x020B, TargetError = 0x0300, ServiceUnavailable = 0x0301, OutOfResources = 0x0302,
}
