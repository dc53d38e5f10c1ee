using System.Globalization;
using System.Net;
using System.Net.Sockets;

namespace LunKit.Tcmu.ConfigFs;

/// <summary>
/// A target portal group of a fabric: <c>FABRIC/NAME/tpgt_N</c> with its LUNs, and for iSCSI its portals and node ACLs. Any thread.
/// </summary>
public sealed class PortalGroup(string path) : ConfigFolder(path)
{
    /// <summary>Links a backstore as a LUN. With the loopback fabric this looks for disks, and waits for the handler's answers.</summary>
    public void AddLun(int number, ConfigFolder backstore)
    {
        var lun = Lun(number);
        lun.Create();
        lun.Link("port", backstore);
    }

    /// <summary>Takes a LUN away; local disks of it are closed first, which flushes them.</summary>
    public void RemoveLun(int number)
    {
        foreach (string acl in Acls()) RemoveMappedLuns(acl, number);
        var lun = Lun(number);
        lun.Unlink();
        lun.Remove();
    }

    /// <summary>The LUNs.</summary>
    public IReadOnlyList<(int Number, ConfigFolder Folder)> Luns() =>
        [.. new ConfigFolder(Path.Combine(FolderPath, "lun")).Folders("lun_")
            .Select(name => int.Parse(name.AsSpan(4), NumberStyles.None, CultureInfo.InvariantCulture)).Order().Select(n => (n, Lun(n)))];

    /// <summary>Lets the local machine in (loopback): the name of the initiator port that its disks have.</summary>
    public void SetNexus(string initiatorPort) => Write("nexus", initiatorPort);

    /// <summary>SCSI host of the loopback fabric's disks, in whose place <c>HOST:0:TAG:LUN</c> they are; null when the kernel does not tell.</summary>
    public string? Address => Has("address") ? Read("address").Trim() : null;

    /// <summary>Lets initiators in (iSCSI).</summary>
    public void Enable() => Write("enable", "1");

    /// <summary>Listens on an address (iSCSI).</summary>
    public void AddPortal(IPEndPoint portal) => PortalFolder(portal).Create();

    /// <summary>Who does not need a name in the list of initiators, or a secret, gets in (iSCSI).</summary>
    public void AllowAnyone()
    {
        Write("attrib/authentication", "0");
        Write("attrib/generate_node_acls", "1");
        Write("attrib/cache_dynamic_acls", "1");
        Write("attrib/demo_mode_write_protect", "0");
    }

    /// <summary>Lets one initiator in, without a secret, and shows it all LUNs of now.</summary>
    public void AllowInitiator(string name)
    {
        Write("attrib/authentication", "0");
        var acl = Acl(name);
        acl.Create();
        foreach (var (number, folder) in Luns())
        {
            var mapped = new ConfigFolder(Path.Combine(acl.FolderPath, $"lun_{number}"));
            mapped.Create();
            if (mapped.Links().Count == 0) mapped.Link("mapped", folder);
        }
    }

    /// <summary>Removes the group and its target with all that is in them, in the order that the kernel wants.</summary>
    public void RemoveAll()
    {
        if (Has("enable")) Write("enable", "0");
        foreach (string acl in Acls())
        {
            RemoveMappedLuns(acl, null);
            Acl(acl).Remove();
        }
        foreach (var (number, _) in Luns()) RemoveLun(number);
        string portals = Path.Combine(FolderPath, "np");
        foreach (string portal in new ConfigFolder(portals).Folders()) new ConfigFolder(Path.Combine(portals, portal)).Remove();
        Remove();
        var target = new ConfigFolder(Path.GetDirectoryName(FolderPath)!);
        if (target.Folders("tpgt_").Count == 0) target.Remove();
    }

    private ConfigFolder Lun(int number) => new(Path.Combine(FolderPath, "lun", $"lun_{number}"));

    private ConfigFolder Acl(string name) => new(Path.Combine(FolderPath, "acls", name));

    private IReadOnlyList<string> Acls() => new ConfigFolder(Path.Combine(FolderPath, "acls")).Folders();

    private void RemoveMappedLuns(string acl, int? only)
    {
        foreach (string name in Acl(acl).Folders("lun_"))
        {
            var mapped = new ConfigFolder(Path.Combine(Acl(acl).FolderPath, name));
            if (only is { } number && !mapped.Links().Any(l => l.Target == Lun(number).FolderPath)) continue;
            mapped.Unlink();
            mapped.Remove();
        }
    }

    private ConfigFolder PortalFolder(IPEndPoint portal)
    {
        string address = portal.AddressFamily == AddressFamily.InterNetworkV6 ? $"[{portal.Address}]" : portal.Address.ToString();
        return new(Path.Combine(FolderPath, "np", $"{address}:{portal.Port}"));
    }
}
