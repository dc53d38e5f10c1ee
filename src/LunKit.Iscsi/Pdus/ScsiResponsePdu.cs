namespace LunKit.Iscsi.Pdus;

/// <summary>SCSI Response (RFC 7143 11.4).</summary>
internal readonly ref struct ScsiResponsePdu(Span<byte> bhs)
{
    /// <summary>Bits 3 and 4 of byte 1: overflow (O) and underflow (U) of the residual.</summary>
    public const byte Overflow = 0x04, Underflow = 0x02;

    private readonly Bhs _bhs = new(bhs);

    public byte Response => _bhs.Bytes[2];
    public byte Status => _bhs.Bytes[3];
    public uint ResidualCount => _bhs.Get(44);

    public static void Write(Span<byte> bhs, uint tag, byte status, byte residualFlags, uint residual, uint expDataSn)
    {
        bhs.Clear();
        var h = new Bhs(bhs) { Opcode = PduOpcode.ScsiResponse, InitiatorTaskTag = tag, Flags = (byte)(0x80 | residualFlags) };
        bhs[3] = status;
        h.Set(36, expDataSn);
        h.Set(44, residual);
    }
}
