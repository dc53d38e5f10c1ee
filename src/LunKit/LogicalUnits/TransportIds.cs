using System.Buffers.Binary;
using System.Globalization;
using System.Text;

namespace LunKit.LogicalUnits;

/// <summary>
/// TransportIDs of iSCSI initiators (SPC-5 7.6.4.6), and the normal form in which initiator ports are compared and saved: the name in lower
/// case (RFC 7143 4.2.7.1), the ISID as twelve lower-case hexadecimal digits.
/// </summary>
internal static class TransportIds
{
    private const string Separator = ",i,0x";
    private const byte PortFormat = 0x45, DeviceFormat = 0x05;
    private const int HeaderBytes = 4, MinBytes = 24, MaxBytes = 512;

    /// <summary>The normal form of an initiator port's name; another fabric's name stays as it is.</summary>
    public static string Normalize(string port) => TrySplit(port, out string name, out ulong isid) ? Port(name, isid) : port;

    /// <summary>The TransportID of an initiator port whose name is in normal form.</summary>
    public static byte[] Of(string port)
    {
        int text = Encoding.UTF8.GetByteCount(port);
        // Null-terminated, in whole words, at least 20 bytes behind the header.
        var id = new byte[HeaderBytes + Math.Max(MinBytes - HeaderBytes, (text + 4) / 4 * 4)];
        id[0] = PortFormat;
        BinaryPrimitives.WriteUInt16BigEndian(id.AsSpan(2), (ushort)(id.Length - HeaderBytes));
        Encoding.UTF8.GetBytes(port, id.AsSpan(HeaderBytes));
        return id;
    }

    /// <summary>The TransportID to keep for a port: made anew for iSCSI, so that it names the port as it is compared.</summary>
    public static byte[] Normalize(string port, byte[] transportId) => transportId is [PortFormat, ..] ? Of(port) : transportId;

    /// <summary>
    /// Reads the TransportID at the beginning of <paramref name="data"/>. <paramref name="name"/> is a port in normal form, or with format 00b
    /// an initiator's name in lower case, which stands for all of its ports.
    /// </summary>
    public static bool TryRead(ReadOnlySpan<byte> data, out int length, out string name, out bool isPort)
    {
        length = 0;
        name = "";
        isPort = false;
        if (data.Length < MinBytes || data[0] is not (PortFormat or DeviceFormat)) return false;
        length = HeaderBytes + BinaryPrimitives.ReadUInt16BigEndian(data[2..]);
        if (length < MinBytes || length % 4 != 0 || length > data.Length || length > MaxBytes) return false;
        string text = Encoding.UTF8.GetString(data[HeaderBytes..length]).TrimEnd('\0');
        isPort = data[0] == PortFormat;
        if (!isPort)
        {
            name = Fold(text);
            return text.Length > 0 && !text.Contains(',', StringComparison.Ordinal);
        }
        if (!TrySplit(text, out string device, out ulong isid)) return false;
        name = Port(device, isid);
        return true;
    }

    private static string Port(string name, ulong isid) => string.Create(CultureInfo.InvariantCulture, $"{name}{Separator}{isid:x12}");

    private static bool TrySplit(string port, out string name, out ulong isid)
    {
        int at = port.IndexOf(Separator, StringComparison.OrdinalIgnoreCase);
        name = at < 0 ? "" : Fold(port[..at]);
        isid = 0;
        // An ISID has 48 bits.
        return at > 0 && ulong.TryParse(port.AsSpan(at + Separator.Length), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out isid) &&
            isid >> 48 == 0;
    }

#pragma warning disable CA1308 // iSCSI names are folded to lower case, not to upper.
    private static string Fold(string name) => name.ToLowerInvariant();
#pragma warning restore CA1308
}
