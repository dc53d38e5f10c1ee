namespace LunKit.Iscsi.Pdus;

/// <summary>SCSI Data-In (RFC 7143 11.7), with the status in the last one when that is good.</summary>
internal readonly ref struct DataInPdu(Span<byte> bhs)
{
    public const byte Final = 0x80, HasStatus = 0x01;

    private readonly Bhs _bhs = new(bhs);

    public byte Status => _bhs.Bytes[3];
    public uint DataSn => _bhs.Get(36);
    public uint BufferOffset => _bhs.Get(40);
    public uint ResidualCount => _bhs.Get(44);

    public static void Write(Span<byte> bhs, uint tag, int length, uint dataSn, uint bufferOffset, byte flags)
    {
        bhs.Clear();
        var h = new Bhs(bhs) { Opcode = PduOpcode.DataIn, InitiatorTaskTag = tag, TargetTransferTag = Bhs.ReservedTag, Flags = flags, DataLength = length };
        h.Set(36, dataSn);
        h.Set(40, bufferOffset);
    }
}
