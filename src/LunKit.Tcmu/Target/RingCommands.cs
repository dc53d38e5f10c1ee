using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using LunKit.LogicalUnits;
using LunKit.Scsi;
using LunKit.Tcmu.Ring;
using Microsoft.Extensions.Logging;

namespace LunKit.Tcmu.Target;

/// <summary>A command that has an answer, which is brought when the ring's lock is free.</summary>
internal readonly record struct EndedCommand(ForwardedCommand Command, CommandResult Result);

/// <summary>
/// The commands of one device that are with its handler, or wait for it, and when each of them ends: by its completion, by its time-out,
/// because it must not be carried out twice, or because it was aborted. The lock of the device's <see cref="UserRing"/> guards it, except
/// where something else is said.
/// </summary>
internal sealed class RingCommands(string name, UserRingOptions options, RingRegion region, UnflushedWrites writes, Func<long> clock, ILogger log)
{
    private readonly ForwardedCommand?[] _out = new ForwardedCommand?[options.MaxCommands + 1];
    private readonly Queue<ForwardedCommand> _waiting = new();
    private readonly ConcurrentBag<ForwardedCommand> _free = [];
    private readonly Dictionary<ushort, ForwardedCommand> _kept = [];
    private readonly List<DataRun> _runs = [];
    private readonly byte[] _sense = new byte[CommandResponseAbi.SenseLength];
    private RingRegion _region = region;
    // Rooms for all that can end at once: none is lost where memory is short.
    private List<EndedCommand> _ended = new(options.MaxCommands);
    private List<EndedCommand>? _endedSpare = new(options.MaxCommands);
    private long _sequence;
    private int _outCount;
    private bool _hadRemnants;

    /// <summary>The unit of the device; set once, before the first command.</summary>
    public LogicalUnit? Unit { get; set; }

    /// <summary>Commands that are with the handler, or wait for it.</summary>
    public int Count => _outCount + _waiting.Count;

    /// <summary>Commands that were not completed in time, since the start.</summary>
    public long TimedOutCount { get; private set; }

    /// <summary>Takes up a command, and posts it when <paramref name="attached"/> and there is room.</summary>
    public ForwardedCommand Add(ScsiCommand command, in ForwardingPlan plan, bool attached)
    {
        var forwarded = _free.TryTake(out var free) ? free : new ForwardedCommand(this);
        forwarded.Begin(command, plan, ++_sequence, writes.Mark);
        forwarded.Deadline = After(options.CommandTimeout);
        // Behind those that wait, so that none is overtaken for ever.
        if (attached && _waiting.Count == 0 && TryPost(forwarded)) return forwarded;
        if (attached) forwarded.Deadline = After(options.QueueTimeout);
        _waiting.Enqueue(forwarded);
        return forwarded;
    }

    private long After(TimeSpan time) => time <= TimeSpan.Zero ? long.MaxValue : clock() + (long)time.TotalMilliseconds;

    /// <summary>Gives a command its memory, and puts it into the ring; false when there is no room for either now.</summary>
    private bool TryPost(ForwardedCommand forwarded)
    {
        if (!forwarded.TryPlace(_region)) return false;
        _runs.Clear();
        if (forwarded.DataOut is { } sends) _runs.AddRange(sends.Runs);
        int bidirectional = _runs.Count > 0 && forwarded.DataIn is not null ? forwarded.DataIn.Runs.Count : 0;
        if (forwarded.DataIn is { } takes) _runs.AddRange(takes.Runs);
        var origin = forwarded.Origin;
        if (_region.Producer.TryPost(forwarded.Command!.Cdb, CollectionsMarshal.AsSpan(_runs), bidirectional, in origin) is not { } id) return false;
        forwarded.Deadline = After(options.CommandTimeout);
        forwarded.WasPosted = true;
        _out[id] = forwarded;
        _outCount++;
        return true;
    }

    /// <summary>Posts what waited for room.</summary>
    public void PostWaiting()
    {
        while (_waiting.TryPeek(out var first))
        {
            if (!TryPost(first)) return;
            _waiting.Dequeue();
        }
    }

    /// <summary>Takes all completions that are there.</summary>
    /// <exception cref="RingException">The handler broke the ring.</exception>
    public void TakeCompletions()
    {
        while (_region.Producer.TryTake(_sense, out var completion))
        {
            var forwarded = _out[completion.Id]!;
            Remove(completion.Id);
            if (completion.KeepsBuffers) _kept[completion.Id] = forwarded;
            if (forwarded.Command is not null)
            {
                var result = ResultOf(forwarded, completion);
                // Its initiator takes a recovered error for success.
                if (result.Status == ScsiStatus.Good || result is { Status: ScsiStatus.CheckCondition, Sense.Key: SenseKey.RecoveredError }) 
                    writes.Completed(forwarded.Plan.Effect, forwarded.Mark, forwarded.Command.Nexus, forwarded.Command.IsAborted);
                Finish(forwarded, result, keep: completion.KeepsBuffers);
            }
            else
            {
                forwarded.EndRemnant();
                if (!completion.KeepsBuffers) forwarded.ReleaseData();
            }
        }
    }

    // The completion is out of the ring: what fails here ends the command, too.
    private CommandResult ResultOf(ForwardedCommand forwarded, in RingCompletion completion)
    {
        try
        {
            return forwarded.ResultOf(completion, _sense);
        }
        catch (OutOfMemoryException)
        {
            LogMessages.NoMemoryForResult(log, name, forwarded.Command!.Cdb[0]);
            return CommandResult.CheckCondition(Sense.OutcomeUnknown);
        }
    }

    private void Remove(int id)
    {
        _out[id] = null;
        _outCount--;
    }

    /// <summary>
    /// The ring is empty, and a handler is about to look at it: it gets the commands that are out, in their order. What must not be
    /// carried out twice, and that a handler before may have begun, ends here.
    /// </summary>
    public void Repost()
    {
        var pending = _out.OfType<ForwardedCommand>().OrderBy(f => f.Sequence).ToList();
        Array.Clear(_out);
        _outCount = 0;
        // Nobody reads these any more: their initiators have their answers.
        foreach (var kept in _kept.Values) kept.ReleaseData();
        _kept.Clear();
        var queued = _waiting.ToList();
        _waiting.Clear();
        foreach (var forwarded in pending) RepostOrEnd(forwarded);
        foreach (var forwarded in queued) Repost(forwarded);
    }

    private void RepostOrEnd(ForwardedCommand forwarded)
    {
        if (forwarded.Command is not { } command)
        {
            forwarded.ReleaseData();
        }
        else if (command.IsAborted)
        {
            Finish(forwarded, CommandResult.TaskAborted);
        }
        else if (!forwarded.WasPosted || forwarded.Plan.Repeatable)
        {
            Repost(forwarded);
        }
        else
        {
            LogMessages.NotRepeated(log, name, command.Cdb[0]);
            Finish(forwarded, CommandResult.CheckCondition(Sense.OutcomeUnknown));
        }
    }

    private void Repost(ForwardedCommand forwarded)
    {
        // Its time has run since its initiator sent it.
        long deadline = forwarded.Deadline;
        forwarded.CopyDataOut();
        if (_waiting.Count > 0 || !TryPost(forwarded)) _waiting.Enqueue(forwarded);
        forwarded.Deadline = deadline;
    }

    /// <summary>The handler is gone: what it had begun has ended.</summary>
    public void HandlerIsGone()
    {
        foreach (var forwarded in _out) forwarded?.EndRemnant();
    }

    /// <summary>The handler has left in order, and had completed all that it had begun: the rest may safely be begun.</summary>
    public void NothingIsBegun()
    {
        foreach (var forwarded in _out)
            if (forwarded is not null) forwarded.WasPosted = false;
    }

    /// <summary>
    /// Acknowledged writes are lost with the handler. Flushes that are out would find nothing of them, and fail; each nexus learns of its
    /// unit attention from the first of its commands, before any of them is carried out on old data.
    /// </summary>
    public void WritesAreLost()
    {
        for (int id = 1; id < _out.Length; id++)
        {
            // What must not be carried out twice keeps its own end: a unit attention says that a command was not begun.
            if (_out[id] is not { Command: { IsAborted: false } command } forwarded || !forwarded.Plan.Repeatable) continue;
            if (RefusalOf(command, forwarded.Plan) is not { } refusal) continue;
            Remove(id);
            Finish(forwarded, refusal);
        }
        for (int count = _waiting.Count; count > 0; count--)
        {
            var forwarded = _waiting.Dequeue();
            if (!forwarded.Command!.IsAborted && RefusalOf(forwarded.Command, forwarded.Plan) is { } refusal) Finish(forwarded, refusal);
            else _waiting.Enqueue(forwarded);
        }
    }

    /// <summary>How a command ends because of what was lost with a handler, or is pending since then; null when it is carried out.</summary>
    public CommandResult? RefusalOf(ScsiCommand command, in ForwardingPlan plan)
    {
        if (plan.Effect is CommandEffect.Flushes or CommandEffect.FlushesAll && writes.Fails(command.Nexus))
            return CommandResult.CheckCondition(OwedFailures.FlushFailed);
        return !plan.IgnoresUnitAttention && command.UnitNexus is { HasUnitAttention: true } nexus && nexus.TryTakeUnitAttention(out var attention)
            ? CommandResult.CheckCondition(attention) : null;
    }

    /// <summary>The handler gives back a command that it kept; false when it had not kept it.</summary>
    public bool FreeKept(ushort id)
    {
        if (!_region.Producer.FreeKept(id) || !_kept.Remove(id, out var forwarded)) return false;
        forwarded.ReleaseData();
        return true;
    }

    /// <summary>
    /// The handler broke the ring, and keeps the memory. Commands that were out end: BUSY, which initiators repeat, where that may be; those that
    /// wait are placed anew.
    /// </summary>
    public void Replace(RingRegion fresh)
    {
        EndAll(static f => f.Plan.Repeatable ? CommandResult.Busy : CommandResult.CheckCondition(Sense.OutcomeUnknown), queued: false);
        foreach (var forwarded in _waiting) forwarded.ForgetData();
        _region = fresh;
    }

    /// <summary>Ends all commands that are with the handler, or, with <paramref name="queued"/>, also those that wait for it.</summary>
    public void EndAll(CommandResult result, bool queued) => EndAll(_ => result, queued);

    private void EndAll(Func<ForwardedCommand, CommandResult> resultOf, bool queued)
    {
        foreach (var forwarded in _out.Concat(_kept.Values).OfType<ForwardedCommand>())
        {
            if (forwarded.Command is not null) Finish(forwarded, resultOf(forwarded));
            else forwarded.ReleaseData();
        }
        Array.Clear(_out);
        _outCount = 0;
        _kept.Clear();
        while (queued && _waiting.TryDequeue(out var waiting)) Finish(waiting, resultOf(waiting));
    }

    /// <summary>Ends what is out of time or was aborted; returns the ids of those whose handler is to hear of their abort.</summary>
    /// <param name="hasHandler">Whether the handler that was attached last is still there.</param>
    /// <param name="attached">Whether it may be told anything.</param>
    public ushort[]? Check(bool hasHandler, bool attached)
    {
        long now = clock();
        List<ushort>? aborted = null;
        for (int id = 1; id < _out.Length; id++)
        {
            if (_out[id] is not { Command: { } command } forwarded) continue;
            if (command.IsAborted && !hasHandler)
            {
                // The next handler does not get it: whoever waits for its end need not wait for a handler.
                Remove(id);
                Finish(forwarded, CommandResult.TaskAborted);
                continue;
            }
            if (command.IsAborted && forwarded.AbortToldAt == 0 && attached)
            {
                forwarded.AbortToldAt = now;
                (aborted ??= []).Add((ushort)id);
            }
            // Nobody can write or read its blocks any more: a handler that hangs does not hold up the end of the unit.
            if (Unit is { IsClosing: true } && forwarded.AbortToldAt != 0 && now - forwarded.AbortToldAt >= options.ClosingTime.TotalMilliseconds)
                Finish(forwarded, CommandResult.TaskAborted, keep: true);
            else if (now >= forwarded.Deadline) TimeOut(forwarded, command, hasHandler);
        }
        for (int count = _waiting.Count; count > 0; count--)
        {
            var forwarded = _waiting.Dequeue();
            if (forwarded.Command!.IsAborted) Finish(forwarded, CommandResult.TaskAborted);
            else if (now < forwarded.Deadline) _waiting.Enqueue(forwarded);
            else Finish(forwarded, attached ? CommandResult.TaskSetFull : CommandResult.CheckCondition(Sense.LogicalUnitCommunicationFailure));
        }
        GiveUpWaiting(now);
        return aborted?.ToArray();
    }

    /// <summary>What is left of a command whose time was over has no end of its own: what waits for its blocks has the same time as what is with the handler.</summary>
    private void GiveUpWaiting(long now)
    {
        if (Unit is null || options.CommandTimeout <= TimeSpan.Zero) return;
        bool hasRemnants = _outCount > 0 && Array.Exists(_out, f => f?.Remnant is not null);
        if (!hasRemnants && !_hadRemnants) return;
        _hadRemnants = hasRemnants;
        foreach (byte opcode in Unit.Tasks.GiveUp(static c => c is AbandonedCommand, now, (long)options.CommandTimeout.TotalMilliseconds))
        {
            TimedOutCount++;
            LogMessages.TimedOut(log, name, opcode, options.CommandTimeout.TotalSeconds);
        }
    }

    private void TimeOut(ForwardedCommand forwarded, ScsiCommand command, bool hasHandler)
    {
        // Before it is answered: in between nobody gets its blocks.
        if (hasHandler && Unit is not null) forwarded.Remnant = AbandonedCommand.TryTakeOver(Unit.Tasks, command);
        TimedOutCount++;
        LogMessages.TimedOut(log, name, command.Cdb[0], options.CommandTimeout.TotalSeconds);
        // Id and data stay the handler's until it completes the command.
        Finish(forwarded, CommandResult.CheckCondition(Sense.LogicalUnitCommunicationFailure), keep: true);
    }

    /// <summary>Ends a command; its initiator hears of it when the lock is free again.</summary>
    private void Finish(ForwardedCommand forwarded, CommandResult result, bool keep = false)
    {
        forwarded.End();
        _ended.Add(new(forwarded, result));
        if (!keep) forwarded.ReleaseData();
    }

    /// <summary>What is to be answered when the lock is free; null when that is nothing.</summary>
    public List<EndedCommand>? TakeEnded()
    {
        if (_ended.Count == 0) return null;
        var ended = _ended;
        _ended = Interlocked.Exchange(ref _endedSpare, null) ?? [];
        return ended;
    }

    /// <summary>Answers what <see cref="TakeEnded"/> returned. Any thread, without the lock.</summary>
    public void Answer(List<EndedCommand>? ended)
    {
        if (ended is null) return;
        foreach (var (command, result) in ended) command.Complete(result);
        ended.Clear();
        Volatile.Write(ref _endedSpare, ended);
    }

    /// <summary>Back into the pool. Any thread.</summary>
    public void Recycle(ForwardedCommand forwarded) => _free.Add(forwarded);
}
