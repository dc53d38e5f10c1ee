namespace LunKit.Tcmu.Devices;

/// <summary>
/// The name of a TCMU device's UIO device: <c>tcm-user/HBA/NAME/SUBTYPE/PATH</c>. The path is the handler's and may hold slashes; the
/// configuration that it is part of may be missing.
/// </summary>
/// <param name="Hba">HBA, the N of the configfs folder <c>user_N</c>.</param>
/// <param name="Name">Name of the backstore.</param>
/// <param name="Subtype">Whose handler it is; empty when the backstore has no configuration.</param>
/// <param name="Path">The rest of the configuration.</param>
public sealed record TcmuDeviceName(int Hba, string Name, string Subtype, string Path)
{
    /// <summary>The device's folder in configfs, below the target's core folder.</summary>
    public string ConfigFsPath => $"user_{Hba}/{Name}";

    /// <summary>Parses the name; null when the UIO device is not TCMU's.</summary>
    public static TcmuDeviceName? Parse(string name)
    {
        string[] parts = name.TrimEnd('\n').Split('/', 5);
        if (parts.Length < 3 || parts[0] != "tcm-user" || !int.TryParse(parts[1], System.Globalization.NumberStyles.None, null, out int hba) || parts[2].Length == 0) return null;
        return new(hba, parts[2], parts.Length > 3 ? parts[3] : "", parts.Length > 4 ? parts[4] : "");
    }
}
