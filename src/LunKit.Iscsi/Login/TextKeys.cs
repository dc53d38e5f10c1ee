using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Text;
using System.Text.Unicode;

namespace LunKit.Iscsi.Login;

/// <summary>
/// Text of login and text PDUs (RFC 7143 6.1): key=value pairs, each ended by a null byte. Bounded before anything is stored.
/// </summary>
internal static class TextKeys
{
    public const int MaxKeyLength = 63, MaxValueLength = 8192, MaxPairs = 128;

    /// <summary>
    /// Reads a whole text. False when it is malformed, with the reason: a pair without '=', a name that is not 1 to 63 of the characters
    /// of a key, a value that is not UTF-8, has control characters or more than 8192 bytes, more than 128 pairs.
    /// </summary>
    public static bool TryParse(
        ReadOnlySpan<byte> text, out List<KeyValuePair<string, string>> pairs, [NotNullWhen(false)] out string? fault)
    {
        pairs = [];
        fault = null;
        while (!text.IsEmpty && fault is null)
        {
            int end = text.IndexOf((byte)0);
            var pair = end < 0 ? text : text[..end];
            text = end < 0 ? default : text[(end + 1)..];
            if (pair.IsEmpty) continue;
            int equals = pair.IndexOf((byte)'=');
            if (equals is < 1 or > MaxKeyLength) fault = "a text key without '=' or with a name that is not 1 to 63 bytes";
            else if (!IsKey(pair[..equals])) fault = "a text key whose name has characters that no key has";
            else if (pair.Length - equals - 1 > MaxValueLength) fault = "a text value of more than 8192 bytes";
            else if (!IsValue(pair[(equals + 1)..])) fault = "a text value that is not UTF-8 or has control characters";
            else if (pairs.Count == MaxPairs) fault = "more than 128 text keys at once";
            else pairs.Add(new(Encoding.UTF8.GetString(pair[..equals]), Encoding.UTF8.GetString(pair[(equals + 1)..])));
        }
        return fault is null;
    }

    /// <summary>The same for an initiator, to which a malformed text is a broken target.</summary>
    public static List<KeyValuePair<string, string>> Parse(ReadOnlySpan<byte> text) =>
        TryParse(text, out var pairs, out string? fault) ? pairs : throw new IscsiProtocolException(fault);

    /// <summary>Letters, digits, dot, minus, plus, commercial at, underscore (standard-label, RFC 7143 6.1).</summary>
    private static bool IsKey(ReadOnlySpan<byte> key)
    {
        foreach (byte b in key)
            if (!char.IsAsciiLetterOrDigit((char)b) && !".-+@_"u8.Contains(b)) return false;
        return true;
    }

    /// <summary>Wider than RFC 7143 6.1 (names of CHAP users may have anything), but nothing that could forge a line of a log.</summary>
    private static bool IsValue(ReadOnlySpan<byte> value)
    {
        foreach (byte b in value)
            if (b is < 0x20 or 0x7F) return false;
        return Utf8.IsValid(value);
    }

    public static byte[] Format(IEnumerable<KeyValuePair<string, string>> pairs)
    {
        var text = new StringBuilder();
        foreach (var (key, value) in pairs) text.Append(key).Append('=').Append(value).Append('\0');
        return Encoding.UTF8.GetBytes(text.ToString());
    }

    /// <summary>
    /// A numerical value (RFC 7143 6.1): a decimal constant, without a leading zero, or a hexadecimal constant after 0x or 0X, below 2**64.
    /// </summary>
    public static bool TryNumber(ReadOnlySpan<char> text, out ulong value)
    {
        value = 0;
        if (text.StartsWith("0x", StringComparison.OrdinalIgnoreCase))
            return ulong.TryParse(text[2..], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out value);
        return (text is "0" || !text.StartsWith('0')) && ulong.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out value);
    }

    /// <summary>A numerical value within bounds.</summary>
    public static bool TryNumber(ReadOnlySpan<char> text, int low, int high, out int value)
    {
        bool fits = TryNumber(text, out ulong number) && number >= (ulong)low && number <= (ulong)high;
        value = fits ? (int)number : 0;
        return fits;
    }

    /// <summary>
    /// A binary value of 1 byte or more (RFC 7143 6.1): hexadecimal after 0x, base64 after 0b, of either case. Null when it is neither
    /// or longer than allowed.
    /// </summary>
    public static byte[]? ParseBinary(string value, int maxBytes)
    {
        var digits = value.AsSpan(Math.Min(2, value.Length));
        if (digits.IsEmpty || digits.Length > 2 * maxBytes + 8) return null;
        if (value.StartsWith("0x", StringComparison.OrdinalIgnoreCase)) return FromHex(digits, maxBytes);
        return value.StartsWith("0b", StringComparison.OrdinalIgnoreCase) ? FromBase64(digits, maxBytes) : null;
    }

    private static byte[]? FromHex(ReadOnlySpan<char> digits, int maxBytes)
    {
        // An odd number of digits lacks a leading zero.
        var bytes = new byte[(digits.Length + 1) / 2];
        if (bytes.Length > maxBytes) return null;
        for (int i = digits.Length - 1, at = bytes.Length - 1; i >= 0; i -= 2, at--)
        {
            if (!char.IsAsciiHexDigit(digits[i]) || i > 0 && !char.IsAsciiHexDigit(digits[i - 1])) return null;
            bytes[at] = byte.Parse(digits[Math.Max(0, i - 1)..(i + 1)], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);
        }
        return bytes;
    }

    private static byte[]? FromBase64(ReadOnlySpan<char> digits, int maxBytes)
    {
        // The library would skip spaces.
        if (digits.Contains(' ')) return null;
        var bytes = new byte[digits.Length / 4 * 3 + 3];
        return Convert.TryFromBase64Chars(digits, bytes, out int length) && length > 0 && length <= maxBytes ? bytes[..length] : null;
    }

    public static string FormatBinary(ReadOnlySpan<byte> value) => "0x" + Convert.ToHexStringLower(value);
}
