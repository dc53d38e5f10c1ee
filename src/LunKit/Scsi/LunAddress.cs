using System.Buffers.Binary;

namespace LunKit.Scsi;

/// <summary>The eight-byte LUN field of SAM-6 4.7: peripheral and flat space addressing, and well known logical units.</summary>
internal static class LunAddress
{
    public const int MaxLun = 16383;

    /// <summary>The REPORT LUNS well known logical unit, as decoding returns it.</summary>
    public const int ReportLunsWellKnown = 0xC101;

    /// <summary>Peripheral device type of a well known logical unit (SPC-5 6.6.2).</summary>
    public const byte WellKnownDeviceType = 0x1E;

    /// <summary>The LUN number of an eight-byte field, <see cref="ReportLunsWellKnown"/>, or -1 for a form that no unit here has.</summary>
    public static int Decode(ulong field)
    {
        if ((field & 0x0000_FFFF_FFFF_FFFF) != 0) return -1;
        int first = (int)(field >> 48);
        return (first >> 14) switch
        {
            0 when first <= 0xFF => first,
            1 => first & 0x3FFF,
            3 when first == 0xC101 => ReportLunsWellKnown,
            _ => -1,
        };
    }

    /// <summary>Peripheral addressing up to 255, flat space addressing above, as Linux and Windows expect.</summary>
    public static ulong Encode(int lun) => lun == ReportLunsWellKnown ? 0xC101UL << 48
        : lun < 256 ? (ulong)lun << 48 : (ulong)(0x4000 | lun) << 48;

    public static int Decode(ReadOnlySpan<byte> field) => Decode(BinaryPrimitives.ReadUInt64BigEndian(field));
}
