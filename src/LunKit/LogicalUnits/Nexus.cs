using LunKit.Targets;

namespace LunKit.LogicalUnits;

/// <summary>
/// An I_T nexus (SAM-6 4.8): one initiator port together with one target port. Lives from login to logout; knows the logical
/// units that this initiator may see. The fabric creates it and calls <see cref="Close"/>.
/// </summary>
public sealed class Nexus
{
    private static long s_count;

    private readonly Lock _gate = new();
    private LunMap _luns = LunMap.Empty;
    private readonly List<Task> _leaving = [];
    private bool _closed;

    /// <summary>Creates a nexus between two ports.</summary>
    public Nexus(string initiatorName, string initiatorPort, byte[] transportId, TargetPort targetPort)
    {
        InitiatorName = initiatorName;
        InitiatorPort = initiatorPort;
        TransportId = transportId;
        TargetPort = targetPort;
    }

    /// <summary>A number that no other nexus of this process has, or had.</summary>
    public ulong Number { get; } = (ulong)Interlocked.Increment(ref s_count);

    /// <summary>The initiator device's name, e.g. its iSCSI name.</summary>
    public string InitiatorName { get; }

    /// <summary>The initiator port's name; with the target port the identity for persistent reservations (SPC-5 5.14.1).</summary>
    public string InitiatorPort { get; }

    /// <summary><see cref="InitiatorPort"/> in the normal form in which registrations are compared.</summary>
    internal string RegisteredPort => field ??= TransportIds.Normalize(InitiatorPort);

    /// <summary>The TransportID of the initiator port (SPC-5 7.6.4), a multiple of 4 bytes, at least 24.</summary>
    public byte[] TransportId { get; }

    /// <summary>The buffers of READ BUFFER and WRITE BUFFER.</summary>
    internal NexusBuffers Buffers { get; } = new();

    /// <summary>The target port at this end.</summary>
    public TargetPort TargetPort { get; }

    /// <summary>What this nexus may see.</summary>
    public LunMap Luns => Volatile.Read(ref _luns);

    /// <summary>Joins the units of <paramref name="units"/> (LUN, unit): each starts with a power-on unit attention.</summary>
    public void Open(IEnumerable<KeyValuePair<int, LogicalUnit>> units)
    {
        lock (_gate)
        {
            var entries = units.Select(u => KeyValuePair.Create(u.Key, new UnitNexus(this, u.Value, u.Key))).ToList();
            Volatile.Write(ref _luns, new LunMap(entries));
            foreach (var entry in entries) entry.Value.Unit.Join(entry.Value);
        }
    }

    /// <summary>
    /// Changes what this nexus may see. Units that stay at their LUN keep their state; the others are left or joined, and every unit
    /// that stays gets REPORTED LUNS DATA HAS CHANGED (SPC-5 6.35.1). Nothing happens when the nexus is closed.
    /// </summary>
    public void Change(IEnumerable<KeyValuePair<int, LogicalUnit>> units)
    {
        lock (_gate)
        {
            if (_closed) return;
            var before = _luns;
            var after = new LunMap(units.Select(u => KeyValuePair.Create(
                u.Key, before.Find(u.Key) is { } old && old.Unit == u.Value ? old : new UnitNexus(this, u.Value, u.Key))));
            var (left, joined) = (Missing(before, after), Missing(after, before));
            if (left.Count == 0 && joined.Count == 0) return;
            Volatile.Write(ref _luns, after);
            _leaving.RemoveAll(t => t.IsCompleted);
            foreach (var entry in left) _leaving.Add(entry.Unit.Leave(entry, isLost: false));
            foreach (var entry in joined) entry.Unit.Join(entry);
            foreach (var entry in after.Entries.Values.Except(joined)) entry.EstablishUnitAttention(Scsi.Sense.ReportedLunsChanged);
        }

        static List<UnitNexus> Missing(LunMap of, LunMap than) => [.. of.Entries.Values.Where(e => than.Find(e.Lun) != e)];
    }

    /// <summary>Completes when the commands of units that were taken away from this nexus so far have ended.</summary>
    internal Task WhenLeft()
    {
        lock (_gate) return Task.WhenAll(_leaving);
    }

    /// <summary>Leaves all units (I_T nexus loss, SAM-6 6.3.4): commands are aborted, RESERVE and PREVENT end.</summary>
    public void Close()
    {
        lock (_gate)
        {
            _closed = true;
            var luns = Interlocked.Exchange(ref _luns, LunMap.Empty);
            foreach (var entry in luns.Entries) entry.Value.Unit.Leave(entry.Value, isLost: true);
        }
    }

    /// <summary>Answers to its initiator may be lost, with a connection: units that have told it something tell it again.</summary>
    internal void Unheard()
    {
        foreach (var entry in Luns.Entries.Values) entry.Unit.Unheard(this);
    }

    /// <inheritdoc/>
    public override string ToString() => $"{InitiatorPort} -> {TargetPort.Name}";
}
