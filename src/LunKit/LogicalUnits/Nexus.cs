using LunKit.Targets;

namespace LunKit.LogicalUnits;

/// <summary>
/// An I_T nexus (SAM-6 4.8): one initiator port together with one target port. Lives from login to logout; knows the logical
/// units that this initiator may see. The fabric creates it and calls <see cref="Close"/>.
/// </summary>
public sealed class Nexus
{
    private LunMap _luns = LunMap.Empty;

    /// <summary>Creates a nexus between two ports.</summary>
    public Nexus(string initiatorName, string initiatorPort, byte[] transportId, TargetPort targetPort)
    {
        InitiatorName = initiatorName;
        InitiatorPort = initiatorPort;
        TransportId = transportId;
        TargetPort = targetPort;
    }

    /// <summary>The initiator device's name, e.g. its iSCSI name.</summary>
    public string InitiatorName { get; }

    /// <summary>The initiator port's name; with the target port the identity for persistent reservations (SPC-5 5.14.1).</summary>
    public string InitiatorPort { get; }

    /// <summary>The TransportID of the initiator port (SPC-5 7.6.4), a multiple of 4 bytes, at least 24.</summary>
    public byte[] TransportId { get; }

    /// <summary>The target port at this end.</summary>
    public TargetPort TargetPort { get; }

    /// <summary>What this nexus may see.</summary>
    public LunMap Luns => Volatile.Read(ref _luns);

    /// <summary>Joins the units of <paramref name="units"/> (LUN, unit): each starts with a power-on unit attention.</summary>
    public void Open(IEnumerable<KeyValuePair<int, LogicalUnit>> units)
    {
        var entries = units.Select(u => KeyValuePair.Create(u.Key, new UnitNexus(this, u.Value, u.Key))).ToList();
        Volatile.Write(ref _luns, new LunMap(entries));
        foreach (var entry in entries) entry.Value.Unit.Join(entry.Value);
    }

    /// <summary>Leaves all units (I_T nexus loss, SAM-6 6.3.4): commands are aborted, RESERVE and PREVENT end.</summary>
    public void Close()
    {
        var luns = Interlocked.Exchange(ref _luns, LunMap.Empty);
        foreach (var entry in luns.Entries) entry.Value.Unit.Leave(entry.Value);
    }

    /// <inheritdoc/>
    public override string ToString() => $"{InitiatorPort} -> {TargetPort.Name}";
}
