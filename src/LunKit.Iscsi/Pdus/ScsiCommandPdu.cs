using System.Buffers.Binary;

namespace LunKit.Iscsi.Pdus;

/// <summary>SCSI Command (RFC 7143 11.3).</summary>
internal readonly ref struct ScsiCommandPdu(Span<byte> bhs)
{
    private readonly Span<byte> _bhs = bhs;

    public bool IsFinal => (_bhs[1] & 0x80) != 0;
    public bool Reads => (_bhs[1] & 0x40) != 0;
    public bool Writes => (_bhs[1] & 0x20) != 0;
    public int Attribute => _bhs[1] & 0x07;
    public uint ExpectedDataTransferLength => BinaryPrimitives.ReadUInt32BigEndian(_bhs[20..]);

    /// <summary>The 16 CDB bytes of the header; more are in an AHS.</summary>
    public Span<byte> Cdb => _bhs[32..48];

    public static void Write(Span<byte> bhs, ulong lun, uint tag, bool reads, bool writes, bool final, int attribute, uint expectedLength, ReadOnlySpan<byte> cdb)
    {
        bhs.Clear();
        var h = new Bhs(bhs) { Opcode = PduOpcode.ScsiCommand, Lun = lun, InitiatorTaskTag = tag };
        h.Flags = (byte)((final ? 0x80 : 0) | (reads ? 0x40 : 0) | (writes ? 0x20 : 0) | attribute);
        h.Set(20, expectedLength);
        cdb[..Math.Min(16, cdb.Length)].CopyTo(bhs[32..]);
    }
}
