using System.Net;
using LunKit.LogicalUnits;

namespace LunKit.Targets;

/// <summary>An address on which a portal group listens.</summary>
/// <param name="EndPoint">IPv4 or IPv6 address and port.</param>
/// <param name="GroupTag">Target portal group tag, 1 to 65535.</param>
public sealed record Portal(IPEndPoint EndPoint, int GroupTag = 1)
{
    /// <summary>
    /// HOST:PORT that initiators are told instead of the address (SendTargets), where they reach it by another: behind NAT, a proxy or a container's port. Null:
    /// the address itself.
    /// </summary>
    public string? Advertise { get; init; }
}

/// <summary>CHAP name and secret.</summary>
/// <param name="Name">CHAP_N.</param>
/// <param name="Secret">At least 12 bytes, or it is no better than a password (RFC 7143 12.1.3). Never logged.</param>
public sealed record ChapCredential(string Name, string Secret)
{
    /// <summary>The name; never the secret.</summary>
    public override string ToString() => Name;
}

/// <summary>What one initiator may do at a target.</summary>
/// <param name="InitiatorName">The iSCSI name that it logs in with.</param>
public sealed record NodeAcl(string InitiatorName)
{
    /// <summary>Credential that this initiator must use; null: any of the target's.</summary>
    public ChapCredential? Chap { get; init; }

    /// <summary>Mapped LUN by the LUN of the target; null: all as they are.</summary>
    public IReadOnlyDictionary<int, int>? MappedLuns { get; init; }

    internal bool IsSameAs(NodeAcl other) => InitiatorName == other.InitiatorName && Chap == other.Chap &&
        (MappedLuns is null ? other.MappedLuns is null : other.MappedLuns is not null && Target.IsSame(MappedLuns, other.MappedLuns));
}

/// <summary>A SCSI target device: a name, logical units, and who may reach them. Immutable.</summary>
public sealed record Target
{
    /// <summary>iSCSI name (iqn., eui. or naa.).</summary>
    public required string Name { get; init; }

    /// <summary>Text for people (TargetAlias).</summary>
    public string Alias { get; init; } = "LunKit";

    /// <summary>Logical units by LUN, 0 to 16383. The owner of the target disposes them.</summary>
    public required IReadOnlyDictionary<int, LogicalUnit> Luns { get; init; }

    /// <summary>Credentials of which an initiator must have one; none: no authentication.</summary>
    public IReadOnlyList<ChapCredential> Chap { get; init; } = [];

    /// <summary>The credential with which the target answers an initiator's challenge (mutual CHAP).</summary>
    public ChapCredential? MutualChap { get; init; }

    /// <summary>Initiators that may log in; none: all.</summary>
    public IReadOnlyList<NodeAcl> Acls { get; init; } = [];

    /// <summary>
    /// Initiators may set the access states of the target's port groups (SET TARGET PORT GROUPS). That takes ports away from all others that
    /// use the target, so the operator allows it or not.
    /// </summary>
    public bool ExplicitAlua { get; init; }

    /// <summary>Where initiators are sent instead (login redirection, RFC 7143 11.13.5): "host:port" or "host:port,tag".</summary>
    public string? RedirectTo { get; init; }

    /// <summary>Whether the redirection is for good.</summary>
    public bool RedirectPermanently { get; init; }

    /// <summary>The access control entry of an initiator, or null when it may not log in.</summary>
    public NodeAcl? Admit(string initiatorName)
    {
        if (Acls.Count == 0) return new NodeAcl(initiatorName);
        return Acls.FirstOrDefault(a => string.Equals(a.InitiatorName, initiatorName, StringComparison.OrdinalIgnoreCase));
    }

    /// <summary>Throws <see cref="ArgumentException"/> for LUNs that no initiator could have: out of range, or two at one number.</summary>
    public void Check()
    {
        foreach (int lun in Luns.Keys) CheckLun(lun, Name);
        foreach (var acl in Acls.Where(a => a.MappedLuns is not null))
        {
            foreach (int lun in acl.MappedLuns!.Values) CheckLun(lun, $"{Name}, {acl.InitiatorName}");
            if (acl.MappedLuns.Values.GroupBy(l => l).FirstOrDefault(g => g.Count() > 1) is { } twice)
                throw new ArgumentException($"{Name}, {acl.InitiatorName}: two LUNs are mapped to LUN {twice.Key}");
        }
    }

    private static void CheckLun(int lun, string whose)
    {
        if (lun is < 0 or > Scsi.LunAddress.MaxLun) throw new ArgumentException($"{whose}: LUN {lun} is not 0 to {Scsi.LunAddress.MaxLun}");
    }

    /// <summary>Whether it is the same definition: equal in all, with the same units.</summary>
    public bool IsSameAs(Target other) => ReferenceEquals(this, other) || string.Equals(Name, other.Name, StringComparison.Ordinal) && Alias == other.Alias &&
        IsSame(Luns, other.Luns) && Chap.SequenceEqual(other.Chap) && MutualChap == other.MutualChap && ExplicitAlua == other.ExplicitAlua &&
        RedirectTo == other.RedirectTo && RedirectPermanently == other.RedirectPermanently && Acls.Count == other.Acls.Count && Acls.Zip(other.Acls).All(a => a.First.IsSameAs(a.Second));

    internal static bool IsSame<T>(IReadOnlyDictionary<int, T> one, IReadOnlyDictionary<int, T> two) =>
        one.Count == two.Count && one.All(o => two.TryGetValue(o.Key, out var value) && EqualityComparer<T>.Default.Equals(o.Value, value));

    /// <summary>The LUNs that an initiator sees.</summary>
    public IEnumerable<KeyValuePair<int, LogicalUnit>> LunsOf(NodeAcl acl) => acl.MappedLuns is null
        ? Luns
        : acl.MappedLuns.Where(m => Luns.ContainsKey(m.Key)).Select(m => KeyValuePair.Create(m.Value, Luns[m.Key]));
}
