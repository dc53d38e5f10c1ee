namespace LunKit.App.Serve;

/// <summary>What identifies a device whichever node it has today: what the kernel knows of the disk itself, as sysfs shows it.</summary>
internal static class DeviceName
{
    // In the order of how much they say: world wide names, the identities of mapped and of RAID devices, the image behind a loop device.
    private static readonly string[] s_attributes = ["wwid", "device/wwid", "dm/uuid", "md/uuid", "loop/backing_file"];

    /// <summary>The name of a device; its path where the kernel knows nothing.</summary>
    /// <param name="path">Its node, or a link to it.</param>
    /// <param name="sysfs">The folder of sysfs, which tests replace.</param>
    public static string Of(string path, string sysfs = "/sys")
    {
        path = Path.GetFullPath(path);
        string node = Path.GetFileName(RealPath(path));
        foreach (string folder in (string[])[$"{sysfs}/class/block/{node}", $"{sysfs}/class/scsi_generic/{node}"])
        {
            // A partition is of its disk.
            string partition = Read($"{folder}/partition");
            string disk = partition.Length > 0 && ParentOf(folder) is { } parent ? parent : folder;
            foreach (string attribute in s_attributes)
                if (Read($"{disk}/{attribute}") is { Length: > 0 } name) return partition.Length > 0 ? $"{name} part {partition}" : name;
        }
        return path;
    }

    private static string RealPath(string path)
    {
        try
        {
            return File.ResolveLinkTarget(path, returnFinalTarget: true)?.FullName ?? path;
        }
        catch (IOException)
        {
            return path;
        }
    }

    /// <summary>The folder that the real folder behind a link of sysfs lies in.</summary>
    private static string? ParentOf(string folder) => Path.GetDirectoryName(new DirectoryInfo(folder).ResolveLinkTarget(returnFinalTarget: true)?.FullName ?? folder);

    private static string Read(string attribute)
    {
        try
        {
            return File.ReadAllText(attribute).Trim();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return "";
        }
    }
}
