using System.Buffers.Binary;

namespace LunKit.Scsi;

/// <summary>
/// Sense data in both formats: fixed (SPC-5 4.5.3, 18 bytes) and descriptor (4.5.2, 8 bytes and descriptors).
/// </summary>
internal static class SenseData
{
    public const int MaxLength = 96, MinLength = 8, MaxDescriptorLength = 40;

    /// <summary>Writes the sense data of a result and returns its length, at most <see cref="MaxLength"/>.</summary>
    public static int Write(Span<byte> destination, in SenseDetail detail, bool descriptor) =>
        detail.Raw is { } raw ? Relay(destination, raw) : descriptor ? WriteDescriptor(destination, detail) : WriteFixed(destination, detail);

    /// <summary>Sense data that another device server has made, in whichever format it chose.</summary>
    private static int Relay(Span<byte> destination, byte[] raw)
    {
        raw.CopyTo(destination);
        return raw.Length;
    }

    /// <summary>How long sense data of either format is (both have the additional length in byte 7); at most <see cref="MaxLength"/>.</summary>
    public static int LengthOf(ReadOnlySpan<byte> sense) => Math.Min(Math.Min(sense.Length, MaxLength), 8 + sense[7]);

    /// <summary>Key and codes of sense data of either format.</summary>
    public static Sense Parse(ReadOnlySpan<byte> sense) => (sense[0] & 0x7F) is 0x72 or 0x73
        ? new Sense((SenseKey)(sense[1] & 0x0F), sense[2], sense[3])
        : new Sense((SenseKey)(sense[2] & 0x0F), sense[12], sense[13]);

    /// <summary>Whether it reports an error of an earlier command, so that the one that it came with was not carried out (SPC-5 4.5.7).</summary>
    public static bool IsDeferred(ReadOnlySpan<byte> sense) => (sense[0] & 0x7F) is 0x71 or 0x73;

    /// <summary>The INFORMATION field of sense data of either format; null when it has none.</summary>
    public static ulong? Information(ReadOnlySpan<byte> sense)
    {
        bool isDescriptor = (sense[0] & 0x7F) is 0x72 or 0x73;
        if (!isDescriptor) return (sense[0] & 0x80) != 0 && sense.Length >= 7 ? BinaryPrimitives.ReadUInt32BigEndian(sense[3..]) : null;
        var descriptors = sense[8..LengthOf(sense)];
        while (descriptors.Length >= 12)
        {
            if (descriptors[0] == 0) return (descriptors[2] & 0x80) != 0 ? BinaryPrimitives.ReadUInt64BigEndian(descriptors[4..]) : null;
            descriptors = descriptors[Math.Min(descriptors.Length, 2 + descriptors[1])..];
        }
        return null;
    }

    private static int WriteFixed(Span<byte> d, in SenseDetail detail)
    {
        d = d[..18];
        d.Clear();
        d[0] = 0x70;
        d[2] = (byte)detail.Sense.Key;
        // The INFORMATION field of the fixed format has four bytes; a value that does not fit is left out with VALID = 0.
        if (detail.HasInformation && detail.Information <= uint.MaxValue)
        {
            d[0] |= 0x80;
            BinaryPrimitives.WriteUInt32BigEndian(d[3..], (uint)detail.Information);
        }
        d[7] = 10;
        BinaryPrimitives.WriteUInt32BigEndian(d[8..], detail.CommandSpecific);
        d[12] = detail.Sense.Asc;
        d[13] = detail.Sense.Ascq;
        WriteKeySpecific(d[15..18], detail);
        return 18;
    }

    private static int WriteDescriptor(Span<byte> d, in SenseDetail detail)
    {
        d = d[..MaxDescriptorLength];
        d.Clear();
        d[0] = 0x72;
        d[1] = (byte)detail.Sense.Key;
        d[2] = detail.Sense.Asc;
        d[3] = detail.Sense.Ascq;
        int length = 8;
        if (detail.HasInformation)
        {
            d[length + 1] = 0x0A;
            d[length + 2] = 0x80;
            BinaryPrimitives.WriteUInt64BigEndian(d[(length + 4)..], detail.Information);
            length += 12;
        }
        if (detail.CommandSpecific != 0)
        {
            d[length] = 1;
            d[length + 1] = 0x0A;
            BinaryPrimitives.WriteUInt64BigEndian(d[(length + 4)..], detail.CommandSpecific);
            length += 12;
        }
        if (detail.KeySpecific != 0)
        {
            d[length] = 2;
            d[length + 1] = 6;
            WriteKeySpecific(d[(length + 4)..(length + 7)], detail);
            length += 8;
        }
        d[7] = (byte)(length - 8);
        return length;
    }

    private static void WriteKeySpecific(Span<byte> d, in SenseDetail detail)
    {
        d[0] = (byte)(detail.KeySpecific >> 16);
        BinaryPrimitives.WriteUInt16BigEndian(d[1..], (ushort)detail.KeySpecific);
    }
}

/// <summary>A sense with what the initiator may want to know beside it.</summary>
internal readonly record struct SenseDetail(Sense Sense)
{
    /// <summary>Sense data as another device server made it, to be handed on as it is; null for one of ours.</summary>
    public byte[]? Raw { get; init; }

    /// <summary>The INFORMATION field: an LBA or a byte offset, by command.</summary>
    public ulong Information { get; init; }

    public bool HasInformation { get; init; }

    /// <summary>COMMAND-SPECIFIC INFORMATION; 0 when the command has none.</summary>
    public uint CommandSpecific { get; init; }

    /// <summary>Three sense-key specific bytes, SKSV included; 0 when there are none.</summary>
    public uint KeySpecific { get; init; }

    /// <summary>Field pointer (SPC-5 4.5.2.4.2): which byte and bit of the CDB or the parameter list was wrong.</summary>
    public static uint FieldPointer(bool inCdb, int byteIndex, int bit = -1) =>
        (uint)((0x80 | (inCdb ? 0x40 : 0) | (bit >= 0 ? 0x08 | bit : 0)) << 16 | byteIndex & 0xFFFF);

    /// <summary>Progress indication (SPC-5 4.5.2.4.4) as a fraction of 65536.</summary>
    public static uint Progress(double fraction) => 0x800000u | (uint)Math.Clamp(fraction * 65536, 0, 65535);
}
