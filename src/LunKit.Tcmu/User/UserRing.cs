using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using LunKit.Linux;
using LunKit.LogicalUnits;
using LunKit.Scsi;
using LunKit.Tcmu.Ring;
using Microsoft.Extensions.Logging;

namespace LunKit.Tcmu.User;

/// <summary>
/// The target's end of one device: shared memory, ring, and the commands that are out. Outlives handlers: what one has not completed the next one
/// finds in the ring. A command ends once: by its completion, by its time-out, or because it must not be carried out twice. Thread safe; one
/// lock, which is never held while waiting.
/// </summary>
internal sealed partial class UserRing : IDisposable
{
    private const int TickMilliseconds = 100, IdleMilliseconds = 1000, KeptBytes = 256 * 1024;

    private readonly string _name;
    private readonly UserRingOptions _options;
    private readonly DataAreaBudget _budget;
    private readonly ILogger _log;
    private readonly EventFd _toHandler = new(), _toTarget = new();
    private readonly Lock _gate = new();
    private readonly Thread _thread;
    private readonly ForwardedCommand?[] _out;
    private readonly Queue<ForwardedCommand> _waiting = new();
    private readonly ConcurrentBag<ForwardedCommand> _free = [];
    private readonly Dictionary<ushort, ForwardedCommand> _kept = [];
    private readonly List<DataRun> _runs = [];
    private RingRegion _region;
    private Lease? _lease;
    private long _sequence;
    private int _outCount;
    private bool _attached;
    private volatile bool _disposed;

    public UserRing(string name, UserRingOptions options, DataAreaBudget budget, ILogger log)
    {
        (_name, _options, _budget, _log) = (name, options, budget, log);
        _out = new ForwardedCommand?[options.MaxCommands + 1];
        _region = new RingRegion(this, name, options, budget);
        _thread = new Thread(Run, maxStackSize: 256 * 1024) { IsBackground = true, Name = "lunkit-ring" };
        _thread.Start();
    }

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
        get { lock (_gate) return _outCount + _waiting.Count; }
    }

    /// <summary>Commands that were not completed in time, since the start.</summary>
    public long TimedOutCount { get; private set; }

    /// <summary>Rings that a handler broke, since the start.</summary>
    public long BrokenCount { get; private set; }

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
    /// <param name="command">The command.</param>
    /// <param name="dataInLength">Bytes that it takes.</param>
    /// <param name="dataInRoom">Bytes that the handler may fill, to say itself how many there are; not fewer than it takes.</param>
    public ValueTask<CommandResult>? Submit(ScsiCommand command, int dataInLength, int dataInRoom)
    {
        if ((long)command.DataOut.Length + dataInRoom > _options.DataAreaBytes) return new ValueTask<CommandResult>(CommandResult.CheckCondition(Sense.InvalidFieldInCdb));
        ForwardedCommand forwarded;
        bool rings;
        lock (_gate)
        {
            if (_disposed) return new ValueTask<CommandResult>(CommandResult.CheckCondition(Sense.LogicalUnitCommunicationFailure));
            forwarded = _free.TryTake(out var free) ? free : new ForwardedCommand(this);
            forwarded.Begin(command, dataInLength, dataInRoom, ++_sequence);
            forwarded.Deadline = After(_options.CommandTimeout);
            // Behind those that wait, so that none is overtaken for ever.
            if (!_attached || _waiting.Count > 0 || !TryPost(forwarded))
            {
                if (_attached) forwarded.Deadline = After(_options.QueueTimeout);
                _waiting.Enqueue(forwarded);
            }
            rings = _region.Producer.Publish();
        }
        if (rings) _toHandler.Signal();
        return new ValueTask<CommandResult>(forwarded, forwarded.Version);
    }

    private static long After(TimeSpan time) => time <= TimeSpan.Zero ? long.MaxValue : Environment.TickCount64 + (long)time.TotalMilliseconds;

    /// <summary>Gives a command its memory, and puts it into the ring; false when there is no room for either now.</summary>
    private bool TryPost(ForwardedCommand forwarded)
    {
        var command = forwarded.Command!;
        if (command.DataOut.Length > 0 && forwarded.DataOut is null && !TryPlaceDataOut(forwarded, command)) return false;
        if (forwarded.DataInRoom > 0 && (forwarded.DataIn ??= _region.TryRent(forwarded.DataInRoom, inOnePiece: false)) is null) return false;
        _runs.Clear();
        if (forwarded.DataOut is { } sends) _runs.AddRange(sends.Runs);
        int bidirectional = _runs.Count > 0 && forwarded.DataIn is not null ? forwarded.DataIn.Runs.Count : 0;
        if (forwarded.DataIn is { } takes) _runs.AddRange(takes.Runs);
        var origin = OriginOf(command);
        if (_region.Producer.TryPost(command.Cdb, CollectionsMarshal.AsSpan(_runs), bidirectional, in origin) is not { } id) return false;
        forwarded.Deadline = After(_options.CommandTimeout);
        forwarded.WasPosted = true;
        _out[id] = forwarded;
        _outCount++;
        return true;
    }

    private bool TryPlaceDataOut(ForwardedCommand forwarded, ScsiCommand command)
    {
        // Where the fabric received it: no copy.
        if (command.DataOutOwner is RingMemory memory && memory.Region == _region && memory.Length == command.DataOut.Length)
        {
            memory.AddUser();
            (forwarded.DataOut, forwarded.DataOutIsCopy) = (memory, false);
            return true;
        }
        if (_region.TryRent(command.DataOut.Length, inOnePiece: false) is not { } copy) return false;
        (forwarded.DataOut, forwarded.DataOutIsCopy) = (copy, true);
        command.DataOut.CopyTo(copy.View(copy.Length));
        return true;
    }

    private static CommandOriginAbi OriginOf(ScsiCommand command) => new()
    {
        Initiator = command.Nexus.Number, Tag = command.Tag, TargetPort = (ushort)command.Nexus.TargetPort.RelativeId, Lun = (ushort)(command.UnitNexus?.Lun ?? 0), Attribute = (byte)command.Attribute,
        DataOutBufferSize = (uint)Math.Min(command.DataOutBufferSize, uint.MaxValue),
    };

    /// <summary>
    /// Prepares the ring for a handler: empty but for the commands that are out, in their order. What must not be carried out twice, and that a
    /// handler before may have begun, ends here. The handler before is gone.
    /// </summary>
    /// <returns>What the handler gets; the caller closes the lease's copy.</returns>
    public HandlerGrant Attach()
    {
        HandlerGrant grant;
        List<Ended>? ended;
        lock (_gate)
        {
            var pending = _out.OfType<ForwardedCommand>().OrderBy(f => f.Sequence).ToList();
            Array.Clear(_out);
            _outCount = 0;
            _region.Producer.Reset();
            if (_pollers > 0) _region.Producer.Say(Watch.Looks);
            // Nobody reads these any more: their initiators have their answers.
            foreach (var kept in _kept.Values) kept.ReleaseData();
            _kept.Clear();
            // A handler that has just come knows no initiator.
            _lost.Clear();
            _lease = new Lease();
            _attached = true;
            var queued = _waiting.ToList();
            _waiting.Clear();
            foreach (var forwarded in pending) RepostOrEnd(forwarded);
            foreach (var forwarded in queued) Repost(forwarded);
            _region.Producer.Publish();
            grant = new HandlerGrant(_region.File.Handle, _toHandler.Handle, _toTarget.Handle, _lease.Held);
            ended = TakeEnded();
        }
        // The thread watches the new lease from here on; the handler looks at the ring when it attaches.
        _toTarget.Signal();
        Answer(ended);
        return grant;
    }

    private void RepostOrEnd(ForwardedCommand forwarded)
    {
        if (forwarded.Command is not { } command)
        {
            forwarded.ReleaseData();
            return;
        }
        if (command.IsAborted)
        {
            Finish(forwarded, CommandResult.TaskAborted);
            return;
        }
        if (!forwarded.WasPosted || RepeatableCommands.Contains(command.Cdb))
        {
            Repost(forwarded);
            return;
        }
        LogMessages.NotRepeated(_log, _name, command.Cdb[0]);
        Finish(forwarded, CommandResult.CheckCondition(RepeatableCommands.OutcomeUnknown));
    }

    private void Repost(ForwardedCommand forwarded)
    {
        // Its time has run since its initiator sent it.
        long deadline = forwarded.Deadline;
        // The handler before may have written over what it was sent.
        if (forwarded.DataOut is { } sent && forwarded.DataOutIsCopy) forwarded.Command!.DataOut.CopyTo(sent.View(sent.Length));
        if (_waiting.Count > 0 || !TryPost(forwarded)) _waiting.Enqueue(forwarded);
        forwarded.Deadline = deadline;
    }

    /// <summary>The handler gives back a command that it kept.</summary>
    public void FreeKept(ushort id)
    {
        lock (_gate)
        {
            if (!_region.Producer.FreeKept(id) || !_kept.Remove(id, out var forwarded)) return;
            forwarded.ReleaseData();
            Drain();
            if (!_region.Producer.Publish()) return;
        }
        _toHandler.Signal();
    }

    /// <summary>Back into the pool. Any thread.</summary>
    public void Recycle(ForwardedCommand forwarded) => _free.Add(forwarded);

    public void Dispose()
    {
        if (_disposed) return;
        _disposed = true;
        _toTarget.Signal();
        _thread.Join();
        List<Ended>? ended;
        lock (_gate)
        {
            _attached = false;
            EndAll(CommandResult.CheckCondition(Sense.LogicalUnitCommunicationFailure), queued: true);
            _lease?.Dispose();
            _region.Release();
            ended = TakeEnded();
        }
        Answer(ended);
        _toHandler.Dispose();
        _toTarget.Dispose();
    }
}
