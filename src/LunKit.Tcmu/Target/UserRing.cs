using LunKit.Linux;
using LunKit.LogicalUnits;
using LunKit.Scsi;
using LunKit.Tcmu.Devices;
using LunKit.Tcmu.Ring;
using Microsoft.Extensions.Logging;

namespace LunKit.Tcmu.Target;

/// <summary>
/// The target's end of one device: shared memory, ring, handlers that come and go. Outlives them: what one has not completed the next one
/// finds in the ring (<see cref="RingCommands"/>). Completions are taken, and time-outs noticed, by its own thread or by a fabric's that
/// waits for commands anyway. Thread safe; one lock, which is never held while waiting.
/// </summary>
internal sealed partial class UserRing : IPolledUnit, IDisposable
{
    private const int TickMilliseconds = 100, IdleMilliseconds = 1000, KeptBytes = 256 * 1024;

    private readonly string _name;
    private readonly UserRingOptions _options;
    private readonly DataAreaBudget _budget;
    private readonly ILogger _log;
    private readonly EventFd _toHandler = new(), _toTarget = new();
    private readonly Lock _gate = new();
    private readonly Thread? _thread;
    private readonly RingCommands _commands;
    private readonly UnflushedWrites _writes;
    private readonly RingNotices _notices = new();
    private readonly RingRuntime _runtime;
    private RingRegion _region;
    private Lease? _lease;
    private int _pollers;
    private string? _broken;
    private bool _attached;

    // Whether all acknowledged writes were durable when the last handler was gone, and who waits for that.
    private bool _isDurable = true;
    private TaskCompletionSource? _free;
    private volatile bool _disposed;

    public UserRing(string name, UserRingOptions options, DataAreaBudget budget, ILogger log, RingRuntime? runtime = null)
    {
        _runtime = runtime ?? RingRuntime.System;
        (_name, _options, _budget, _log) = (name, options, budget, log);
        _region = new RingRegion(this, name, options, budget);
        _writes = new UnflushedWrites(options.LossReportTime, _runtime.Clock);
        _commands = new RingCommands(name, options, _region, _writes, _runtime.Clock, log);
        if (!_runtime.HasThread) return;
        _thread = new Thread(Run, maxStackSize: 256 * 1024) { IsBackground = true, Name = "lunkit-ring" };
        _thread.Start();
    }

    /// <summary>The unit whose initiators hear of what is lost with a handler.</summary>
    public LogicalUnit? Unit { get => _commands.Unit; set => _commands.Unit = value; }

    /// <summary>Called when a handler is gone, on the ring's thread.</summary>
    public Action? HandlerGone { get; set; }

    /// <summary>Called when the handler broke the ring; it keeps its lease until its connection ends. On the ring's thread.</summary>
    public Action? Broken { get; set; }

    /// <summary>Bytes of shared memory.</summary>
    public int RegionBytes => _options.RingBytes + _options.DataAreaBytes;

    /// <summary>Bytes of the data area that have memory behind them, at most.</summary>
    public long DataBytesInUse
    {
        get { lock (_gate) return (long)_region.Area.HighestBlock * DataArea.BlockBytes; }
    }

    /// <summary>Commands that are with the handler, or wait for one.</summary>
    public int CommandCount
    {
        get { lock (_gate) return _commands.Count; }
    }

    /// <summary>Commands that were not completed in time, since the start.</summary>
    public long TimedOutCount => _commands.TimedOutCount;

    /// <summary>Rings that a handler broke, since the start.</summary>
    public long BrokenCount { get; private set; }

    /// <summary>Handlers with which acknowledged writes were lost, since the start.</summary>
    public long LossCount { get; private set; }

    private ReadOnlySpan<UnitNexus> Nexuses => Unit is null ? [] : Unit.Nexuses;

    /// <summary>Whether a handler has kept the state of its unit over its end.</summary>
    public bool StateWasKept { get { lock (_gate) return _writes.StateWasKept; } }

    /// <summary>Whether a handler has completed anything, since the start.</summary>
    public bool HasServed { get; private set; }

    /// <summary>Whether there is a handler that says that what it acknowledges outlives it.</summary>
    public bool Survives { get { lock (_gate) return _attached && _region.Producer.ConsumerSurvival.Durability == Durability.Acknowledged; } }

    /// <summary>Memory for data that a fabric is about to receive; null when its own will do.</summary>
    public RingMemory? RentDataOut(int length)
    {
        lock (_gate) return !_disposed && _region.HasPlenty ? _region.TryRent(length, inOnePiece: true) : null;
    }

    /// <summary>Nobody uses it any more. Any thread, also with the lock.</summary>
    public void Return(RingMemory memory)
    {
        lock (_gate) memory.Region.Return(memory);
    }

    /// <summary>Executes a command in the handler, now or when there is one.</summary>
    public ValueTask<CommandResult>? Submit(ScsiCommand command, in ForwardingPlan plan)
    {
        if ((long)command.DataOut.Length + plan.DataInRoom > _options.DataAreaBytes)
            return new ValueTask<CommandResult>(CommandResult.CheckCondition(Sense.InvalidFieldInCdb));
        ForwardedCommand forwarded;
        bool rings;
        lock (_gate)
        {
            if (_disposed) return new ValueTask<CommandResult>(CommandResult.CheckCondition(Sense.LogicalUnitCommunicationFailure));
            // The unit looked before; a handler may have died since.
            if (_commands.RefusalOf(command, plan) is { } refusal) return new ValueTask<CommandResult>(refusal);
            // A notice needs less room than a command: none overtakes it.
            if (_attached) _notices.Tell(_region.Producer);
            forwarded = _commands.Add(command, plan, _attached);
            rings = _region.Producer.Publish();
        }
        if (rings) RingHandler();
        return new ValueTask<CommandResult>(forwarded, forwarded.Version);
    }

    /// <summary>The handler gives back a command that it kept.</summary>
    public void FreeKept(ushort id)
    {
        lock (_gate)
        {
            if (!_commands.FreeKept(id)) return;
            PostWaiting();
            if (!_region.Producer.Publish()) return;
        }
        RingHandler();
    }

    private void Run()
    {
        while (!_disposed)
            if (!Turn(waits: true)) _toTarget.Wait(TickMilliseconds);
    }

    /// <summary>
    /// Waits for something to do, for a tick at most, or looks whether there is anything, and does it. False: something has run out, which may be
    /// there again in a moment.
    /// </summary>
    public bool Turn(bool waits)
    {
        Lease? lease;
        int wait;
        lock (_gate)
        {
            if (_disposed) return true;
            lease = _lease;
            // A thread that polls sees completions before this one would.
            if (_pollers == 0) _region.Producer.Say(Watch.Sleeps);
            bool looks = !waits || _attached && _pollers == 0 && _region.Producer.HasCompletions;
            wait = looks ? 0 : _commands.Count > 0 ? TickMilliseconds : IdleMilliseconds;
        }
        bool gone = lease is not null && lease.Wait(_toTarget, wait);
        if (lease is null) _toTarget.Wait(wait);
        if (_disposed) return true;
        try
        {
            Take();
            if (Volatile.Read(ref _broken) is { } reason) Break(reason);
            Tick();
            if (gone) End(lease!);
            return true;
        }
        catch (Exception e)
        {
            // A fault of ours concerns this device; its commands have their time-outs.
            LogMessages.DeviceCrashed(_log, e, _name);
            return false;
        }
    }

    private void RingHandler()
    {
        _toHandler.Signal();
        _runtime.HandlerRung?.Invoke();
    }

    // Whoever has the lock is taking them, or posts and lets go at once.
    /// <inheritdoc/>
    public bool Poll() => _gate.TryEnter() && TakeAndExit();

    /// <inheritdoc/>
    public void BeginPolling()
    {
        lock (_gate)
        {
            if (_pollers++ == 0 && !_disposed) _region.Producer.Say(Watch.Looks);
        }
    }

    /// <inheritdoc/>
    public void EndPolling()
    {
        bool last;
        lock (_gate)
        {
            if (last = --_pollers == 0 && !_disposed) _region.Producer.Say(Watch.Sleeps);
        }
        // What was completed before the handler could see that it must ring.
        if (last) Take();
    }

    private bool Take()
    {
        _gate.Enter();
        return TakeAndExit();
    }

    /// <summary>With the lock, which it lets go: takes all completions, and posts what waited for their room. Whether there was any.</summary>
    private bool TakeAndExit()
    {
        bool rings;
        List<EndedCommand>? ended;
        try
        {
            if (!_attached || !_region.Producer.HasCompletions) return false;
            try
            {
                _writes.Says(_region.Producer.ConsumerSurvival, Nexuses);
                HasServed = true;
                _commands.TakeCompletions();
            }
            catch (RingException e)
            {
                // What to do about it is the ring's thread's.
                _attached = false;
                _broken = e.Message;
                _toTarget.Signal();
            }
            PostWaiting();
            rings = _region.Producer.Publish();
            ended = _commands.TakeEnded();
        }
        finally
        {
            _gate.Exit();
        }
        if (rings) RingHandler();
        _commands.Answer(ended);
        return true;
    }

    private void PostWaiting()
    {
        if (!_attached) return;
        _notices.Tell(_region.Producer);
        _commands.PostWaiting();
    }

    /// <summary>Time-outs, and the aborts that the handler is to hear of.</summary>
    private void Tick()
    {
        bool rings;
        List<EndedCommand>? ended;
        lock (_gate)
        {
            if (_commands.Count == 0 || _budget.IsTight) _region.GiveMemoryBack(KeptBytes);
            if (_commands.Count == 0) return;
            if (_commands.Check(_lease is not null, _attached) is { } aborted)
                _region.Producer.TryPostManagement(TaskManagementAbi.AbortTask, aborted);
            PostWaiting();
            rings = _region.Producer.Publish();
            ended = _commands.TakeEnded();
        }
        if (rings) RingHandler();
        _commands.Answer(ended);
    }

    /// <summary>Tells the handler of a LUN reset, before the next command; and the one that comes after it, which would go on with what the reset has ended. Any thread.</summary>
    public void Reset()
    {
        lock (_gate)
        {
            _writes.Reset();
            _notices.OweReset();
            if (!TellsNotices()) return;
        }
        RingHandler();
    }

    /// <summary>With the lock; whether the handler must be rung.</summary>
    private bool TellsNotices()
    {
        if (!_attached) return false;
        _notices.Tell(_region.Producer);
        return _region.Producer.Publish();
    }

    /// <summary>
    /// An initiator is going: when the handler dies from here on it hears of it when it comes back. Before it is none of the unit's any more. Any thread.
    /// </summary>
    public void NexusLeaves(Nexus nexus) { lock (_gate) _writes.NexusLeft(nexus); }

    /// <summary>
    /// An initiator is gone. The handler is told before the next command; one that does not know the message is not told. Any thread.
    /// </summary>
    public void NexusLeft(Nexus nexus)
    {
        lock (_gate)
        {
            if (!_attached || !_region.Producer.ConsumerIsKnown) return;
            _notices.OweLoss(nexus.Number);
            if (!TellsNotices()) return;
        }
        RingHandler();
    }

    /// <summary>The answer to a flush of a nexus may not have reached its initiator. Any thread.</summary>
    public void Unheard(Nexus nexus) { lock (_gate) _writes.Unheard(nexus); }

    public void Dispose()
    {
        if (_disposed) return;
        _disposed = true;
        _toTarget.Signal();
        _thread?.Join();
        List<EndedCommand>? ended;
        lock (_gate)
        {
            _attached = false;
            _commands.EndAll(CommandResult.CheckCondition(Sense.LogicalUnitCommunicationFailure), queued: true);
            _lease?.Dispose();
            _region.Release();
            ended = _commands.TakeEnded();
        }
        _commands.Answer(ended);
        _toHandler.Dispose();
        _toTarget.Dispose();
    }
}
