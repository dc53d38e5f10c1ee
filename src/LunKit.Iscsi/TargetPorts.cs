using LunKit.Targets;

namespace LunKit.Iscsi;

/// <summary>The SCSI target ports of iSCSI targets: one for each target and portal group (RFC 7143 4.4.1). Thread safe.</summary>
/// <param name="numbers">Gives them their relative identifiers.</param>
/// <param name="tags">Tags of the portal groups.</param>
internal sealed class TargetPorts(PortNumbers numbers, IEnumerable<int> tags)
{
    private readonly int[] _tags = [.. tags.Distinct().Order()];

    /// <summary>All ports of a target, by tag.</summary>
    public IReadOnlyList<TargetPort> Of(string targetName) => [.. _tags.Select(tag => Of(targetName, tag))];

    /// <summary>The port of a target in a portal group; the portal group is the target port group, too.</summary>
    public TargetPort Of(string targetName, int tag)
    {
        // Names of ports are compared as they are, so they are made of what is the same for each spelling of a name (RFC 7143 4.2.7.1).
        string device = targetName.ToLowerInvariant(), name = $"{device},t,0x{tag:x4}";
        return new TargetPort(name, numbers.Of(name, tag), tag, device);
    }

    /// <summary>That of a discovery session, which reaches no unit.</summary>
    public static TargetPort OfDiscovery(int tag) => new($",t,0x{tag:x4}", tag, tag, "");
}
