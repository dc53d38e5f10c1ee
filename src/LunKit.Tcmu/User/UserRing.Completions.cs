using System.Runtime.InteropServices;
using LunKit.Linux;
using LunKit.LogicalUnits;
using LunKit.Scsi;
using LunKit.Tcmu.Ring;

namespace LunKit.Tcmu.User;

/// <summary>Completions, time-outs, and handlers that are gone or lie: what the ring's thread does, or a fabric's that waits for commands anyway.</summary>
internal sealed partial class UserRing : IPolledUnit
{
    private readonly record struct Ended(ForwardedCommand Command, CommandResult Result);

    private readonly byte[] _sense = new byte[CommandResponseAbi.SenseLength];
    private List<Ended> _ended = [];
    private List<Ended>? _endedSpare = [];
    private int _pollers;
    private readonly Queue<ulong> _lost = new();
    private string? _broken;

    /// <summary>Called when a handler is gone, on the ring's thread.</summary>
    public Action? HandlerGone { get; set; }

    /// <summary>Called when the handler broke the ring; it keeps its lease until its connection ends. On the ring's thread.</summary>
    public Action? Broken { get; set; }

    private void Run()
    {
        while (!_disposed)
        {
            Lease? lease;
            int wait;
            lock (_gate)
            {
                lease = _lease;
                // A thread that polls sees completions before this one would.
                if (_pollers == 0) _region.Producer.Say(Watch.Sleeps);
                wait = _attached && _pollers == 0 && _region.Producer.HasCompletions ? 0 : _outCount + _waiting.Count > 0 ? TickMilliseconds : IdleMilliseconds;
            }
            bool gone = false;
            if (lease is null) _toTarget.Wait(wait);
            else gone = lease.Wait(_toTarget, wait);
            if (_disposed) return;
            try
            {
                Take();
                if (Interlocked.Exchange(ref _broken, null) is { } reason) Break(reason);
                Tick();
                if (gone) End(lease!);
            }
            catch (Exception e)
            {
                // A fault of ours concerns this device; its commands have their time-outs.
                LogMessages.DeviceCrashed(_log, e, _name);
            }
        }
    }

    /// <inheritdoc/>
    public bool Poll()
    {
        // Whoever has the lock is taking them, or posts and lets go at once.
        if (!_gate.TryEnter()) return false;
        bool any;
        try
        {
            any = _attached && _region.Producer.HasCompletions;
        }
        finally
        {
            _gate.Exit();
        }
        return any && Take();
    }

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

    /// <summary>Takes all completions, and posts what waited for their room. Whether there was any.</summary>
    private bool Take()
    {
        bool rings;
        List<Ended>? ended;
        lock (_gate)
        {
            if (!_attached || !_region.Producer.HasCompletions) return false;
            try
            {
                while (_region.Producer.TryTake(_sense, out var completion)) Take(completion);
            }
            catch (RingException e)
            {
                // What to do about it is the ring's thread's.
                _attached = false;
                _broken = e.Message;
                _toTarget.Signal();
            }
            Drain();
            rings = _region.Producer.Publish();
            ended = TakeEnded();
        }
        if (rings) _toHandler.Signal();
        Answer(ended);
        return true;
    }

    private void Take(RingCompletion completion)
    {
        var forwarded = _out[completion.Id]!;
        _out[completion.Id] = null;
        _outCount--;
        if (completion.KeepsBuffers) _kept[completion.Id] = forwarded;
        if (forwarded.Command is { } command) Finish(forwarded, Result(forwarded, command, completion), keep: completion.KeepsBuffers);
        else if (!completion.KeepsBuffers) forwarded.ReleaseData();
    }

    private CommandResult Result(ForwardedCommand forwarded, ScsiCommand command, RingCompletion completion)
    {
        var status = (ScsiStatus)completion.Status;
        if (completion.IsUnknown || !Enum.IsDefined(status)) return CommandResult.CheckCondition(Sense.LogicalUnitCommunicationFailure);
        if (status == ScsiStatus.CheckCondition && completion.ReadLength > 0 && forwarded.DataIn is { } beside)
        {
            int bytes = Math.Min(completion.ReadLength, beside.Length);
            beside.View(bytes).CopyTo(command.RentDataIn(bytes));
            return CommandResult.Relayed(status, bytes, _sense);
        }
        if (status != ScsiStatus.Good || forwarded.DataIn is not { } taken) return CommandResult.Relayed(status, 0, _sense);
        int length = completion.ReadLength < 0 ? forwarded.DataInLength : Math.Min(completion.ReadLength, taken.Length);
        if (length == 0) return CommandResult.Good;
        var data = taken.View(length);
        if (!completion.KeepsBuffers && command.TryLendDataIn(data, taken)) forwarded.DataIn = null;
        else data.CopyTo(command.RentDataIn(length));
        return CommandResult.Data(length);
    }

    /// <summary>Posts what waited for room.</summary>
    private void Drain()
    {
        if (_lost.Count > 0) TellLost();
        while (_attached && _waiting.TryPeek(out var first))
        {
            if (first.Command is not null && !TryPost(first)) return;
            _waiting.Dequeue();
        }
    }

    /// <summary>Ends a command; its initiator hears of it when the lock is free again.</summary>
    private void Finish(ForwardedCommand forwarded, CommandResult result, bool keep = false)
    {
        forwarded.End();
        _ended.Add(new(forwarded, result));
        if (!keep) forwarded.ReleaseData();
    }

    /// <summary>Ends all commands that are with the handler, or, with <paramref name="queued"/>, also those that wait for it.</summary>
    private void EndAll(CommandResult result, bool queued)
    {
        foreach (var forwarded in _out.Concat(_kept.Values).OfType<ForwardedCommand>())
        {
            if (forwarded.Command is not null) Finish(forwarded, result);
            else forwarded.ReleaseData();
        }
        Array.Clear(_out);
        _outCount = 0;
        _kept.Clear();
        while (queued && _waiting.TryDequeue(out var waiting)) if (waiting.Command is not null) Finish(waiting, result);
    }

    private List<Ended>? TakeEnded()
    {
        if (_ended.Count == 0) return null;
        var ended = _ended;
        _ended = Interlocked.Exchange(ref _endedSpare, null) ?? [];
        return ended;
    }

    private void Answer(List<Ended>? ended)
    {
        if (ended is null) return;
        foreach (var (command, result) in ended) command.Complete(result);
        ended.Clear();
        Volatile.Write(ref _endedSpare, ended);
    }

    /// <summary>Time-outs, and the aborts that the handler is to hear of.</summary>
    private void Tick()
    {
        bool rings;
        List<Ended>? ended;
        lock (_gate)
        {
            if (_outCount + _waiting.Count == 0)
            {
                _region.GiveMemoryBack(KeptBytes);
                return;
            }
            if (_budget.IsTight) _region.GiveMemoryBack(KeptBytes);
            long now = Environment.TickCount64;
            List<ushort>? aborted = null;
            for (int id = 1; id < _out.Length; id++)
            {
                if (_out[id] is not { Command: { } command } forwarded) continue;
                if (command.IsAborted && _lease is null)
                {
                    // No handler has it any more, and the next one does not get it: whoever waits for its end need not wait for a handler.
                    _out[id] = null;
                    _outCount--;
                    Finish(forwarded, CommandResult.TaskAborted);
                    continue;
                }
                if (command.IsAborted && !forwarded.AbortIsTold && _attached)
                {
                    forwarded.AbortIsTold = true;
                    (aborted ??= []).Add((ushort)id);
                }
                if (now < forwarded.Deadline) continue;
                TimedOutCount++;
                LogMessages.TimedOut(_log, _name, command.Cdb[0], _options.CommandTimeout.TotalSeconds);
                // Id and data stay the handler's until it completes the command.
                Finish(forwarded, CommandResult.CheckCondition(Sense.LogicalUnitCommunicationFailure), keep: true);
            }
            for (int count = _waiting.Count; count > 0; count--)
            {
                var forwarded = _waiting.Dequeue();
                if (forwarded.Command is not { } command) continue;
                if (command.IsAborted) Finish(forwarded, CommandResult.TaskAborted);
                else if (now < forwarded.Deadline) _waiting.Enqueue(forwarded);
                else Finish(forwarded, _attached ? CommandResult.TaskSetFull : CommandResult.CheckCondition(Sense.LogicalUnitCommunicationFailure));
            }
            if (aborted is not null) _region.Producer.TryPostManagement(TaskManagementAbi.AbortTask, aborted.ToArray());
            Drain();
            rings = _region.Producer.Publish();
            ended = TakeEnded();
        }
        if (rings) _toHandler.Signal();
        Answer(ended);
    }

    /// <summary>Tells the handler of a task management function that concerns more than single commands. Any thread.</summary>
    public void Tell(byte type)
    {
        lock (_gate)
        {
            if (!_attached || !_region.Producer.TryPostManagement(type, []) || !_region.Producer.Publish()) return;
        }
        _toHandler.Signal();
    }

    /// <summary>Tells the handler, before the next command, that an initiator is gone; one that does not know the message is not told. Any thread.</summary>
    public void TellNexusLost(ulong initiator)
    {
        lock (_gate)
        {
            if (!_attached || !_region.Producer.ConsumerIsKnown) return;
            _lost.Enqueue(initiator);
            TellLost();
            if (!_region.Producer.Publish()) return;
        }
        _toHandler.Signal();
    }

    private void TellLost()
    {
        while (_lost.TryPeek(out ulong initiator))
        {
            var number = MemoryMarshal.Cast<ulong, ushort>(new ReadOnlySpan<ulong>(in initiator));
            // The ring is full: again when there is room.
            if (!_region.Producer.TryPostManagement(TaskManagementAbi.NexusLost, number)) return;
            _lost.Dequeue();
        }
    }

    /// <summary>The handler lied. Its commands end as BUSY, which initiators repeat, and it keeps the old memory for itself.</summary>
    private void Break(string reason)
    {
        LogMessages.RingBroken(_log, _name, reason);
        List<Ended>? ended;
        // First: if there is none to be had, the old one stays.
        var fresh = new RingRegion(this, _name, _options, _budget);
        lock (_gate)
        {
            EndAll(CommandResult.Busy, queued: false);
            // Those that wait are placed anew: what they have lies in the old memory.
            foreach (var forwarded in _waiting) forwarded.ForgetData();
            ended = TakeEnded();
            _region.Release();
            _region = fresh;
            BrokenCount++;
        }
        Answer(ended);
        Broken?.Invoke();
    }

    private void End(Lease lease)
    {
        lock (_gate)
        {
            if (_lease != lease) return;
            _lease = null;
            lease.Dispose();
            // Who left in order had completed all that it had begun: the rest may safely be begun.
            if (_attached && _region.Producer.ConsumerHasLeft)
                foreach (var forwarded in _out) if (forwarded is not null) forwarded.WasPosted = false;
            _attached = false;
        }
        HandlerGone?.Invoke();
    }
}
