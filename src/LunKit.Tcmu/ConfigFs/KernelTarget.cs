namespace LunKit.Tcmu.ConfigFs;

/// <summary>The kernel's SCSI target (LIO) in configfs: its user backstores, and the fabrics that offer them. Any thread.</summary>
/// <param name="path">Its folder; another one in tests.</param>
public sealed class KernelTarget(string path = KernelTarget.DefaultPath) : ConfigFolder(path)
{
    /// <summary>Where the kernel has it.</summary>
    public const string DefaultPath = "/sys/kernel/config/target";

    /// <summary>A user backstore, which need not exist.</summary>
    public UserBackstore Backstore(int hba, string name) => new(Path.Combine(FolderPath, "core", $"user_{hba}", name));

    /// <summary>All user backstores.</summary>
    public IReadOnlyList<UserBackstore> Backstores()
    {
        var core = new ConfigFolder(Path.Combine(FolderPath, "core"));
        return [.. core.Folders("user_")
            .SelectMany(hba => new ConfigFolder(Path.Combine(core.FolderPath, hba)).Folders().Select(name => new UserBackstore(Path.Combine(core.FolderPath, hba, name))))];
    }

    /// <summary>A portal group of a fabric, which need not exist.</summary>
    /// <param name="fabric">E.g. <c>loopback</c> or <c>iscsi</c>.</param>
    /// <param name="name">Name of the target: <c>naa.</c> and 16 digits, or an iSCSI name.</param>
    /// <param name="tag">Tag of the group.</param>
    public PortalGroup PortalGroup(string fabric, string name, int tag = 1) => new(Path.Combine(FolderPath, fabric, name, $"tpgt_{tag}"));

    /// <summary>Where a backstore is exported: the LUNs of all fabrics that link to it.</summary>
    public IReadOnlyList<ExportedLun> ExportsOf(ConfigFolder backstore)
    {
        var found = new List<ExportedLun>();
        foreach (string fabric in Folders().Where(f => f != "core"))
            foreach (string name in new ConfigFolder(Path.Combine(FolderPath, fabric)).Folders().Where(n => n != "discovery_auth"))
                foreach (string tpg in new ConfigFolder(Path.Combine(FolderPath, fabric, name)).Folders("tpgt_"))
                {
                    var group = new PortalGroup(Path.Combine(FolderPath, fabric, name, tpg));
                    found.AddRange(group.Luns().Where(l => l.Folder.Links().Any(k => k.Target == backstore.FolderPath)).Select(l => new ExportedLun(fabric, name, group, l.Number)));
                }
        return found;
    }
}

/// <summary>A LUN of a fabric.</summary>
/// <param name="Fabric">E.g. <c>loopback</c>.</param>
/// <param name="Target">Name of the target.</param>
/// <param name="Group">Its portal group.</param>
/// <param name="Number">The LUN.</param>
public sealed record ExportedLun(string Fabric, string Target, PortalGroup Group, int Number);
