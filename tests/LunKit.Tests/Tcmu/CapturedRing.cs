using System.Globalization;
using System.Text.RegularExpressions;

namespace LunKit.Tests.Tcmu;

/// <summary>A shared region as the real kernel left it (Vectors/README.md).</summary>
internal static partial class CapturedRing
{
    public static byte[] Load(string name, int length = 10 << 20)
    {
        var region = new byte[length];
        var files = Directory.GetFiles(Path.Combine(AppContext.BaseDirectory, "Tcmu/Vectors"), $"{name}.at*.bin");
        Assert.NotEmpty(files);
        foreach (string file in files) File.ReadAllBytes(file).CopyTo(region, int.Parse(Place().Match(file).Groups[1].Value, CultureInfo.InvariantCulture));
        return region;
    }

    [GeneratedRegex(@"\.at(\d+)\.bin$")]
    private static partial Regex Place();
}
