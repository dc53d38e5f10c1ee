using LunKit.LogicalUnits;
using LunKit.Scsi;
using LunKit.Tcmu.Ring;

namespace LunKit.Tcmu.Target;

/// <summary>What a command that ended well means for what its handler may still have in memory.</summary>
internal enum CommandEffect
{
    /// <summary>It changes nothing.</summary>
    None,
    /// <summary>It may have changed the medium, and need not have reached it.</summary>
    Writes,
    /// <summary>It flushes a part, or says GOOD before it has.</summary>
    Flushes,
    /// <summary>Everything that was acknowledged before it began is durable when it has ended.</summary>
    FlushesAll,
    /// <summary>It changes mode parameters, which need not outlive the handler.</summary>
    ChangesModes,
}

/// <summary>
/// Whether a device's handler has acknowledged writes that are in its own memory only, and which initiators must hear that they are lost
/// when it dies (docs/decisions/0011). A handler that does not say that its writes survive it (<see cref="Says"/>) is taken to have a
/// cache that dies with it. Likewise for mode parameters, which initiators believe in: a write cache that is on again is not flushed. The lock of the device's <see cref="UserRing"/> guards it.
/// </summary>
/// <param name="reportTime">How long the flushes of an initiator go on failing after the first that failed.</param>
/// <param name="clock">The ring's time, in milliseconds.</param>
internal sealed class UnflushedWrites(TimeSpan reportTime, Func<long> clock)
{
    private readonly HashSet<NexusPorts> _gone = [];
    private readonly OwedFailures _owed = new(reportTime, clock);
    // How much is acknowledged, is durable, and has outlived the handlers that acknowledged it.
    private long _acknowledged, _flushed, _outlived;
    private Survival _said;

    // Whether the handler has completed anything, or failed to flush: else nothing of what was before it goes with it.
    private bool _counts;
    private bool _modesChanged, _modesKept;

    // Whether this handler has changed them, and for whom; null: for several.
    private bool _changedHere;
    private Nexus? _changer;

    /// <summary>DEVICE INTERNAL RESET (SPC-5 annex F): what was not on the medium may be gone.</summary>
    public static Sense HandlerRestarted { get; } = new(SenseKey.UnitAttention, 0x29, 0x04);

    /// <summary>How much is acknowledged now: to be remembered with a flush that begins.</summary>
    public long Mark => _acknowledged;

    /// <summary>Whether anything is not durable: what no flush has covered, or, in a handler's own memory, all of the disk.</summary>
    private bool Any => _acknowledged > _flushed || _said.Durability == Durability.Nothing;

    /// <summary>Whether a flush has covered all that was acknowledged.</summary>
    public bool AreDurable => _acknowledged <= _flushed;

    /// <summary>A command ended well.</summary>
    /// <param name="effect">What it does.</param>
    /// <param name="mark"><see cref="Mark"/> when it began.</param>
    /// <param name="nexus">Whose it is.</param>
    /// <param name="isAborted">Whether task management has ended it before.</param>
    public void Completed(CommandEffect effect, long mark, Nexus? nexus = null, bool isAborted = false)
    {
        _counts = true;
        if (effect == CommandEffect.ChangesModes) NoteChange(nexus, isAborted);
        else if (effect == CommandEffect.Writes) _acknowledged++;
        else if (effect == CommandEffect.FlushesAll) Cover(mark);
    }

    private void NoteChange(Nexus? nexus, bool isAborted)
    {
        _changer = _changedHere && nexus != _changer ? null : nexus;
        (_modesChanged, _changedHere, ResetIsOwed) = (true, true, ResetIsOwed && isAborted);
    }

    private void Cover(long mark)
    {
        _flushed = Math.Max(_flushed, mark);
        if (!Any) _gone.Clear();
    }

    /// <summary>The device is with a handler that has not completed anything yet.</summary>
    public void Attached() => (_said, _counts) = (default, false);

    /// <summary>
    /// Whether the next handler is to hear of a reset, too: the one before may have died before it read of it, or kept what followed from it. Not when it has changed
    /// mode parameters since, which has kept all of them.
    /// </summary>
    public bool ResetIsOwed { get; private set; }

    /// <summary>A LUN reset has ended what the handler has of mode parameters that are not saved.</summary>
    public void Reset() => ResetIsOwed = _modesChanged;

    /// <summary>Whether a handler has kept the state of its unit over its end.</summary>
    public bool StateWasKept { get; private set; }

    /// <summary>
    /// What the handler says, before what it has completed is counted. When it has not found the mode parameters with which the one before has ended, each nexus has
    /// a unit attention.
    /// </summary>
    public void Says(Survival survival, ReadOnlySpan<UnitNexus> nexuses)
    {
        _said = survival;
        StateWasKept |= survival.KeepsModes;
        if (_modesKept && !survival.ContinuesModes) ModesAreLost(nexuses);
        _modesKept = false;
    }

    private void ModesAreLost(ReadOnlySpan<UnitNexus> nexuses)
    {
        foreach (var nexus in nexuses) nexus.EstablishUnitAttention(Sense.ModeParametersChanged);
        // They know then.
        _modesChanged = false;
    }

    /// <summary>
    /// The handler has let go. Flushed: only a disk in its memory is lost with it; else nothing holds that it, or another before it, has said of its writes.
    /// </summary>
    public void Left(bool isFlushed)
    {
        if (isFlushed)
        {
            Cover(_acknowledged);
            return;
        }
        if (_said.Durability == Durability.Acknowledged) _said = _said with { Durability = Durability.Flushed };
        (_counts, _outlived) = (true, 0);
    }

    /// <summary>A nexus is gone: its initiator may come back, and believe that what it wrote is still there.</summary>
    public void NexusLeft(Nexus nexus)
    {
        Unheard(nexus);
        // Those beyond get the unit attention alone.
        if (Any && _gone.Count < OwedFailures.MaxPorts) _gone.Add(NexusPorts.Of(nexus));
    }

    /// <summary>The answer to a flush of a nexus may not have reached its initiator.</summary>
    public void Unheard(Nexus nexus) => _owed.Unheard(nexus);

    /// <summary>
    /// The handler is gone. True when acknowledged writes are lost: then each nexus has a unit attention, and the
    /// next flush of each of their initiators fails (<see cref="Fails"/>), also if it logs in again before.
    /// </summary>
    public bool HandlerDied(ReadOnlySpan<UnitNexus> nexuses)
    {
        if (!_counts) return false;
        if (_modesChanged && !_said.KeepsModes) ModesAreLost(nexuses);
        // The others' unit attentions of the change may have ended with the handler that had them.
        else if (_changedHere)
            foreach (var nexus in nexuses) if (nexus.Nexus != _changer) nexus.EstablishUnitAttention(Sense.ModeParametersChanged);
        // Whether the next one finds them, and those that were saved before this target was started, it says itself.
        (_modesKept, _changedHere) = (_said.KeepsModes, false);
        if (_said.Durability == Durability.Acknowledged) _outlived = _acknowledged;
        if (_said.Durability != Durability.Nothing && _acknowledged <= Math.Max(_flushed, _outlived)) return false;
        foreach (var nexus in nexuses)
        {
            nexus.EstablishUnitAttention(HandlerRestarted);
            _owed.Owe(NexusPorts.Of(nexus.Nexus));
        }
        foreach (var ports in _gone) _owed.Owe(ports);
        Attached();
        Cover(_acknowledged);
        return true;
    }

    /// <summary>Whether a flush of a nexus has to fail.</summary>
    public bool Fails(Nexus nexus) => _owed.Fails(nexus);
}
