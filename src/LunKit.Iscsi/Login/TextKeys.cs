using System.Text;

namespace LunKit.Iscsi.Login;

/// <summary>
/// Text of login and text PDUs (RFC 7143 6.1): key=value pairs, each ended by a null byte. Bounded before anything is stored.
/// </summary>
internal static class TextKeys
{
    public const int MaxKeyLength = 63, MaxValueLength = 8192, MaxPairs = 128;

    public static List<KeyValuePair<string, string>> Parse(ReadOnlySpan<byte> text)
    {
        var pairs = new List<KeyValuePair<string, string>>();
        while (!text.IsEmpty)
        {
            int end = text.IndexOf((byte)0);
            var pair = end < 0 ? text : text[..end];
            text = end < 0 ? default : text[(end + 1)..];
            if (pair.IsEmpty) continue;
            int equals = pair.IndexOf((byte)'=');
            if (equals is < 1 or > MaxKeyLength) throw new IscsiProtocolException("a text key without '=' or with a name that is not 1 to 63 bytes");
            if (pair.Length - equals - 1 > MaxValueLength) throw new IscsiProtocolException("a text value of more than 8192 bytes");
            if (pairs.Count == MaxPairs) throw new IscsiProtocolException("more than 128 text keys at once");
            pairs.Add(new(Encoding.UTF8.GetString(pair[..equals]), Encoding.UTF8.GetString(pair[(equals + 1)..])));
        }
        return pairs;
    }

    public static byte[] Format(IEnumerable<KeyValuePair<string, string>> pairs)
    {
        var text = new StringBuilder();
        foreach (var (key, value) in pairs) text.Append(key).Append('=').Append(value).Append('\0');
        return Encoding.UTF8.GetBytes(text.ToString());
    }

    /// <summary>A binary value (RFC 7143 6.1): hexadecimal after 0x, base64 after 0b. Null when it is neither or longer than allowed.</summary>
    public static byte[]? ParseBinary(string value, int maxBytes)
    {
        try
        {
            byte[] bytes;
            if (value.StartsWith("0x", StringComparison.OrdinalIgnoreCase))
            {
                string hex = value[2..];
                if (hex.Length > 2 * maxBytes) return null;
                bytes = Convert.FromHexString(hex.Length % 2 == 0 ? hex : "0" + hex);
            }
            else if (value.StartsWith("0b", StringComparison.OrdinalIgnoreCase))
            {
                if (value.Length > 2 * maxBytes + 8) return null;
                bytes = Convert.FromBase64String(value[2..]);
            }
            else
            {
                return null;
            }
            return bytes.Length <= maxBytes ? bytes : null;
        }
        catch (FormatException)
        {
            return null;
        }
    }

    public static string FormatBinary(ReadOnlySpan<byte> value) => "0x" + Convert.ToHexStringLower(value);
}
