namespace LunKit.LogicalUnits;

/// <summary>Persistent reservation types (SPC-5 table 71).</summary>
internal enum ReservationType : byte
{
    None = 0, WriteExclusive = 1, ExclusiveAccess = 3, WriteExclusiveRegistrantsOnly = 5, ExclusiveAccessRegistrantsOnly = 6,
    WriteExclusiveAllRegistrants = 7, ExclusiveAccessAllRegistrants = 8,
}

/// <summary>
/// A registered I_T nexus and its key. The identity is the initiator port, in the normal form of <see cref="TransportIds"/>, with the target
/// port.
/// </summary>
internal sealed record Registration(string InitiatorPort, byte[] TransportId, int TargetPort, ulong Key)
{
    /// <summary>The registration of a nexus's initiator port at a target port.</summary>
    public static Registration Of(Nexus nexus, int targetPort, ulong key) =>
        new(nexus.RegisteredPort, TransportIds.Normalize(nexus.RegisteredPort, nexus.TransportId), targetPort, key);

    public bool IsOf(Nexus nexus) => TargetPort == nexus.TargetPort.RelativeId && InitiatorPort == nexus.RegisteredPort;

    public bool IsSameNexus(Registration other) => TargetPort == other.TargetPort && InitiatorPort == other.InitiatorPort;
}

/// <summary>What REGISTER and REGISTER AND IGNORE EXISTING KEY ask for (SPC-5 5.14.7).</summary>
/// <param name="Key">RESERVATION KEY.</param>
/// <param name="NewKey">SERVICE ACTION RESERVATION KEY; 0 unregisters.</param>
internal sealed record RegisterRequest(ulong Key, ulong NewKey)
{
    /// <summary>REGISTER AND IGNORE EXISTING KEY.</summary>
    public bool IgnoresKey { get; init; }

    /// <summary>The registrations outlive a loss of power.</summary>
    public bool Aptpl { get; init; }

    /// <summary>The target ports at which the initiator port registers: its own, or with ALL_TG_PT all.</summary>
    public required IReadOnlyList<int> Ports { get; init; }

    /// <summary>The nexuses that SPEC_I_PT names.</summary>
    public IReadOnlyList<Registration> Others { get; init; } = [];
}
