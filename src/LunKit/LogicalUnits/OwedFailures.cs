using LunKit.Scsi;

namespace LunKit.LogicalUnits;

/// <summary>
/// Initiator ports whose next flush has to fail, because acknowledged writes were lost, or a flush failed, where nobody could be told. An
/// initiator serves several users, and each of them flushes: so its flushes go on failing for a while; and an answer that it may not have heard
/// is given again. Not thread safe.
/// </summary>
/// <param name="reportTime">How long the flushes of an initiator go on failing after the first that failed.</param>
/// <param name="clock">The time, in milliseconds.</param>
internal sealed class OwedFailures(TimeSpan reportTime, Func<long> clock)
{
    /// <summary>Initiator ports that are remembered at most: far more than a target has sessions.</summary>
    public const int MaxPorts = 4096;

    // An initiator that has not been told yet.
    private const long Untold = long.MaxValue;

    // How long it may take until a connection that is lost, with what was sent on it, is known to be. Initiators wait two minutes for a new one.
    private const long DoubtMilliseconds = 180_000;

    private readonly Dictionary<NexusPorts, long> _owed = [];

    /// <summary>
    /// How such a flush ends. HARDWARE ERROR: initiators repeat a flush that ends in MEDIUM ERROR, take the second answer for the true one, and
    /// never tell.
    /// </summary>
    public static Sense FlushFailed { get; } = new(SenseKey.HardwareError, 0x0C, 0x00);

    /// <summary>The next flush of an initiator port has to fail.</summary>
    public void Owe(NexusPorts ports)
    {
        if (_owed.Count >= MaxPorts && !_owed.ContainsKey(ports)) Forget();
        if (_owed.Count < MaxPorts || _owed.ContainsKey(ports)) _owed[ports] = Untold;
    }

    private void Forget()
    {
        long now = clock();
        foreach (var (ports, until) in _owed)
            if (until != Untold && now >= until + DoubtMilliseconds) _owed.Remove(ports);
    }

    /// <summary>Whether a flush of a nexus has to fail.</summary>
    public bool Fails(Nexus nexus)
    {
        if (_owed.Count == 0) return false;
        var ports = NexusPorts.Of(nexus);
        if (!_owed.TryGetValue(ports, out long until)) return false;
        long now = clock();
        if (until == Untold) _owed[ports] = now + (long)reportTime.TotalMilliseconds;
        else if (now >= until) return false;
        return true;
    }

    /// <summary>
    /// What a nexus was answered may not have reached its initiator: its command was aborted, or its connection is gone. If it has been told
    /// lately it is told again.
    /// </summary>
    public void Unheard(Nexus nexus)
    {
        if (_owed.Count == 0) return;
        var ports = NexusPorts.Of(nexus);
        if (_owed.TryGetValue(ports, out long until) && until != Untold && clock() < until + DoubtMilliseconds) _owed[ports] = Untold;
    }
}

/// <summary>The ports of a nexus: the same when its initiator logs in again.</summary>
internal readonly record struct NexusPorts(string Initiator, string Target)
{
    public static NexusPorts Of(Nexus nexus) => new(nexus.InitiatorPort, nexus.TargetPort.Name);
}
