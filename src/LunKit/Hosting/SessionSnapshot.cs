namespace LunKit.Hosting;

/// <summary>A session of an initiator, as it was at one moment.</summary>
/// <param name="Id">Fabric and number, e.g. <c>iscsi-17</c>; not used again while the host lives.</param>
/// <param name="Target">Name of the target; null for a session that only discovers targets.</param>
/// <param name="Initiator">Name of the initiator.</param>
/// <param name="InitiatorPort">SCSI name of the initiator port, e.g. the initiator's name and its ISID.</param>
/// <param name="TargetPort">SCSI name of the target port.</param>
public sealed record SessionSnapshot(string Id, string? Target, string Initiator, string InitiatorPort, string TargetPort)
{
    /// <summary>When it began, UTC.</summary>
    public required DateTimeOffset Since { get; init; }

    /// <summary>The user as which the initiator has authenticated itself; null: without.</summary>
    public string? User { get; init; }

    /// <summary>The LUNs that it sees, in ascending order.</summary>
    public IReadOnlyList<int> Luns { get; init; } = [];

    /// <summary>Its connections, at least one unless it is ending.</summary>
    public IReadOnlyList<ConnectionSnapshot> Connections { get; init; } = [];
}

/// <summary>A connection of a session, as it was at one moment.</summary>
/// <param name="Remote">Address of the initiator, e.g. <c>192.0.2.7:51234</c>.</param>
/// <param name="Local">Address of the portal at which it has arrived.</param>
/// <param name="Since">When it was accepted, UTC.</param>
public sealed record ConnectionSnapshot(string Remote, string Local, DateTimeOffset Since);
