using System.Buffers.Binary;

namespace LunKit.Scsi;

/// <summary>
/// LBA, transfer length and control bits of the block commands (SBC-4 5) in all their CDB shapes: 6, 10, 12, 16 and 32 bytes.
/// The length was checked against the command table before.
/// </summary>
internal readonly ref struct BlockCdb(ReadOnlySpan<byte> cdb)
{
    private readonly ReadOnlySpan<byte> _cdb = cdb;

    private bool IsVariable => _cdb[0] == (byte)Opcode.VariableLength;

    public ulong Lba => _cdb.Length switch
    {
        6 => (uint)((_cdb[1] & 0x1F) << 16 | _cdb[2] << 8 | _cdb[3]),
        10 or 12 => BinaryPrimitives.ReadUInt32BigEndian(_cdb[2..]),
        16 => BinaryPrimitives.ReadUInt64BigEndian(_cdb[2..]),
        _ => BinaryPrimitives.ReadUInt64BigEndian(_cdb[12..]),
    };

    /// <summary>Transfer length in blocks. In a 6-byte CDB 0 means 256 (SBC-4 5.13).</summary>
    public uint BlockCount => _cdb.Length switch
    {
        6 => _cdb[4] == 0 ? 256u : _cdb[4],
        10 => BinaryPrimitives.ReadUInt16BigEndian(_cdb[7..]),
        12 => BinaryPrimitives.ReadUInt32BigEndian(_cdb[6..]),
        16 => (Opcode)_cdb[0] switch
        {
            Opcode.CompareAndWrite => _cdb[13],
            Opcode.WriteAtomic16 => BinaryPrimitives.ReadUInt16BigEndian(_cdb[12..]),
            _ => BinaryPrimitives.ReadUInt32BigEndian(_cdb[10..]),
        },
        _ => BinaryPrimitives.ReadUInt32BigEndian(_cdb[28..]),
    };

    /// <summary>The byte with RDPROTECT/WRPROTECT/VRPROTECT, DPO and FUA (or BYTCHK, UNMAP, ANCHOR).</summary>
    public byte Flags => IsVariable ? _cdb[10] : _cdb.Length == 6 ? (byte)0 : _cdb[1];

    public int FlagsIndex => IsVariable ? 10 : 1;

    public int Protect => Flags >> 5;

    public bool ForceUnitAccess => (Flags & 0x08) != 0;
}
