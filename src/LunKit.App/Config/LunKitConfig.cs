using System.Net;
using LunKit.App.Backstores;
using LunKit.App.Serve;
using LunKit.Iscsi;
using LunKit.Targets;
using Microsoft.Extensions.Logging;

namespace LunKit.App.Config;

/// <summary>A unit of the configuration.</summary>
/// <param name="Spec">What is opened.</param>
/// <param name="Identity">Text that its identity follows from where what is served keeps none and names none.</param>
internal sealed record UnitConfig(UnitSpec Spec, string Identity)
{
    /// <summary>Refuse writes, whatever its options say.</summary>
    public bool ReadOnly { get; init; }

    /// <summary>State of the write cache at the start, where its options do not say it.</summary>
    public bool WriteCache { get; init; } = true;
}

/// <summary>A target of the configuration.</summary>
/// <param name="Definition">Everything but its LUNs.</param>
/// <param name="Luns">Names of units by LUN.</param>
internal sealed record TargetConfig(Target Definition, IReadOnlyDictionary<int, string> Luns);

/// <summary>What <c>lunkit serve</c> is to serve, from a file or from its command line: checked as far as that needs no I/O. Immutable.</summary>
internal sealed record LunKitConfig
{
    /// <summary>Where to listen.</summary>
    public required IReadOnlyList<Portal> Portals { get; init; }

    /// <summary>Units by name.</summary>
    public required IReadOnlyDictionary<string, UnitConfig> Units { get; init; }

    /// <summary>Targets, in order.</summary>
    public required IReadOnlyList<TargetConfig> Targets { get; init; }

    /// <summary>Credentials of discovery sessions; none: discovery needs no authentication.</summary>
    public IReadOnlyList<ChapCredential> DiscoveryChap { get; init; } = [];

    /// <summary>What peers may use.</summary>
    public IscsiLimits Limits { get; init; } = new();

    /// <summary>What is logged: this and what is worse.</summary>
    public LogLevel LogLevel { get; init; } = LogLevel.Information;

    /// <summary>Where the state of units is kept that are no files.</summary>
    public string StatePath { get; init; } = StateFolder.DefaultPath;

    /// <summary>Where handler processes connect.</summary>
    public string HandlersPath { get; init; } = HandlerSocket.DefaultPath;

    /// <summary>Shared memory that the data of all user: units may take together.</summary>
    public long HandlerMemoryBytes { get; init; } = 1L << 30;

    /// <summary>Serve other machines without CHAP or an allow list.</summary>
    public bool AllowAnyone { get; init; }

    /// <summary>Let initiators end the sessions of all others by TARGET COLD RESET.</summary>
    public bool ColdReset { get; init; }

    /// <summary>Whether a portal can be reached from other machines.</summary>
    public bool IsExposed => Portals.Any(p => !IPAddress.IsLoopback(p.EndPoint.Address));
}
