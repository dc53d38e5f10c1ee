using LunKit.Targets;

namespace LunKit.Iscsi;

/// <summary>What an <see cref="IscsiServer"/> serves and where. Immutable.</summary>
public sealed record IscsiServerOptions
{
    /// <summary>Where to listen; port 0 takes a free one.</summary>
    public required IReadOnlyList<Portal> Portals { get; init; }

    /// <summary>What is served from the start; <see cref="IscsiServer.SetTarget"/> changes it.</summary>
    public IReadOnlyList<Target> Targets { get; init; } = [];

    /// <summary>Relative identifiers of the target ports: those that share units with other servers share this, too, and a restart keeps it.</summary>
    public PortNumbers PortNumbers { get; init; } = new();

    /// <summary>Credentials for discovery sessions; none: discovery needs no authentication.</summary>
    public IReadOnlyList<ChapCredential> DiscoveryChap { get; init; } = [];

    /// <summary>
    /// Whether an initiator may end the sessions of all initiators of its target by TARGET COLD RESET (RFC 7143 11.5.1). Otherwise it is answered
    /// "not supported".
    /// </summary>
    public bool AllowsTargetColdReset { get; init; }

    /// <summary>Bounds on what peers may use.</summary>
    public IscsiLimits Limits { get; init; } = new();
}
