namespace LunKit.Iscsi.Pdus;

/// <summary>Ready To Transfer (RFC 7143 11.8).</summary>
internal readonly ref struct ReadyToTransferPdu(Span<byte> bhs)
{
    private readonly Bhs _bhs = new(bhs);

    public uint R2tSn => _bhs.Get(36);
    public uint BufferOffset => _bhs.Get(40);
    public uint DesiredLength => _bhs.Get(44);

    public static void Write(Span<byte> bhs, ulong lun, uint tag, uint transferTag, uint r2tSn, uint bufferOffset, uint length)
    {
        bhs.Clear();
        var h = new Bhs(bhs) { Opcode = PduOpcode.ReadyToTransfer, Flags = 0x80, Lun = lun, InitiatorTaskTag = tag, TargetTransferTag = transferTag };
        h.Set(36, r2tSn);
        h.Set(40, bufferOffset);
        h.Set(44, length);
    }
}
