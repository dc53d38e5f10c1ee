using System.Globalization;
using LunKit.Linux;
using LunKit.Tcmu.Devices;

namespace LunKit.Tcmu.Kernel;

/// <summary>A UIO device of TCMU, as sysfs shows it.</summary>
/// <param name="Number">N of <c>/dev/uioN</c>.</param>
/// <param name="Name">What the device is.</param>
/// <param name="RegionBytes">Size of its shared region, which is mapped whole or not at all.</param>
public sealed record UioDevice(int Number, TcmuDeviceName Name, long RegionBytes)
{
    /// <summary>Its device file.</summary>
    public string Path => $"/dev/uio{Number}";

    /// <summary>All UIO devices that are TCMU's. One that vanishes meanwhile is left out. Throws <see cref="IOException"/> when this cannot be told.</summary>
    /// <param name="sysfs">Where sysfs is mounted; another folder in tests.</param>
    public static IReadOnlyList<UioDevice> Find(string sysfs = "/sys")
    {
        string folder = System.IO.Path.Combine(sysfs, "class/uio");
        if (!Directory.Exists(folder)) return [];
        return [.. Directory.GetFileSystemEntries(folder).Select(Read).OfType<UioDevice>().OrderBy(d => d.Number)];
    }

    private static UioDevice? Read(string entry)
    {
        try
        {
            string file = System.IO.Path.GetFileName(entry);
            if (!file.StartsWith("uio", StringComparison.Ordinal) || !int.TryParse(file.AsSpan(3), NumberStyles.None, CultureInfo.InvariantCulture, out int number)) return null;
            if (TcmuDeviceName.Parse(File.ReadAllText(System.IO.Path.Combine(entry, "name"))) is not { } name) return null;
            string size = File.ReadAllText(System.IO.Path.Combine(entry, "maps/map0/size")).Trim();
            return size.StartsWith("0x", StringComparison.Ordinal) && long.TryParse(size.AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out long bytes)
                ? new UioDevice(number, name, bytes) : null;
        }
        catch (IOException e) when (!LinuxException.IsShortage(e))
        {
            return null;
        }
    }
}
