using System.Globalization;

namespace LunKit.App.Serve;

/// <summary>Sizes as people write them: 512M, 10G, 1.5T, 4096. K, M, G, T, P are powers of 1024.</summary>
internal static class ByteSize
{
    private const string Units = "KMGTP";

    public static bool TryParse(string text, out long bytes)
    {
        bytes = 0;
        string number = text.Trim();
        if (number.EndsWith("iB", StringComparison.OrdinalIgnoreCase)) number = number[..^2];
        else if (number.Length > 1 && number[^1] is 'B' or 'b' && !char.IsDigit(number[^2])) number = number[..^1];
        if (number.Length == 0) return false;
        int unit = Units.IndexOf(char.ToUpperInvariant(number[^1]), StringComparison.Ordinal);
        if (unit >= 0) number = number[..^1];
        if (!decimal.TryParse(number, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out decimal value)) return false;
        decimal scaled = value * (1L << 10 * (unit + 1));
        if (scaled != decimal.Truncate(scaled) || scaled is < 1 or > long.MaxValue) return false;
        bytes = (long)scaled;
        return true;
    }

    public static string Format(double bytes)
    {
        int unit = -1;
        while (bytes >= 1024 && unit < Units.Length - 1)
        {
            bytes /= 1024;
            unit++;
        }
        return unit < 0 ? $"{bytes:0} B" : string.Create(CultureInfo.InvariantCulture, $"{bytes:0.#} {Units[unit]}iB");
    }
}
