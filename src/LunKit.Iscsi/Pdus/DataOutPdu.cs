namespace LunKit.Iscsi.Pdus;

/// <summary>SCSI Data-Out (RFC 7143 11.7).</summary>
internal readonly ref struct DataOutPdu(Span<byte> bhs)
{
    private readonly Bhs _bhs = new(bhs);

    public uint DataSn => _bhs.Get(36);
    public uint BufferOffset => _bhs.Get(40);

    public static void Write(Span<byte> bhs, ulong lun, uint tag, uint transferTag, int length, uint dataSn, uint bufferOffset, bool final)
    {
        bhs.Clear();
        var h = new Bhs(bhs)
        {
            Opcode = PduOpcode.DataOut, Lun = lun, InitiatorTaskTag = tag, TargetTransferTag = transferTag, DataLength = length, IsFinal = final,
        };
        h.Set(36, dataSn);
        h.Set(40, bufferOffset);
    }
}
