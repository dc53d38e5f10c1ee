using LunKit.Targets;

namespace LunKit.Iscsi;

/// <summary>What an <see cref="IscsiServer"/> serves and where. Immutable.</summary>
public sealed record IscsiServerOptions
{
    /// <summary>Where to listen; port 0 takes a free one.</summary>
    public required IReadOnlyList<Portal> Portals { get; init; }

    /// <summary>What is served.</summary>
    public required IReadOnlyList<Target> Targets { get; init; }

    /// <summary>Credentials for discovery sessions; none: discovery needs no authentication.</summary>
    public IReadOnlyList<ChapCredential> DiscoveryChap { get; init; } = [];

    /// <summary>Bounds on what peers may use.</summary>
    public IscsiLimits Limits { get; init; } = new();
}
