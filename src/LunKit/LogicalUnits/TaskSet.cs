using LunKit.Scsi;

namespace LunKit.LogicalUnits;

/// <summary>
/// The commands of one logical unit, in order of arrival: keeps task attributes (SAM-6 8.9) and the exclusive block ranges of
/// commands that are atomic toward all others, and is where task management finds what to abort. Thread safe; the lock is held
/// for a few instructions when nothing is ordered or exclusive.
/// </summary>
internal sealed class TaskSet
{
    private readonly Lock _gate = new();
    private ScsiCommand? _oldest;
    private ScsiCommand? _newest;
    private int _blocked;
    private int _ordered;
    private int _exclusive;

    /// <summary>Enters a command whose data is still to come, so that its place in the order is that of its arrival.</summary>
    public void Arrive(ScsiCommand command)
    {
        lock (_gate)
        {
            Append(command);
            command.TaskState = TaskState.Collecting;
        }
    }

    /// <summary>
    /// Starts a command on blocks [<paramref name="start"/>, <paramref name="end"/>), exclusively or beside others. False: older
    /// commands come first, and <see cref="ScsiCommand.WaitGrantAsync"/> tells when (or, with false, that it was aborted).
    /// </summary>
    public bool Begin(ScsiCommand command, long start, long end, bool exclusive)
    {
        lock (_gate)
        {
            if (command.TaskState == TaskState.Outside) Append(command);
            command.RangeStart = start;
            command.RangeEnd = end;
            command.Exclusive = exclusive;
            if (exclusive) _exclusive++;
            if ((_ordered | _exclusive) == 0 || MayRun(command))
            {
                command.TaskState = TaskState.Running;
                return true;
            }
            command.TaskState = TaskState.Blocked;
            command.PrepareGrant();
            _blocked++;
            return false;
        }
    }

    /// <summary>Takes a command out, and lets start what waited for it.</summary>
    public void End(ScsiCommand command)
    {
        List<ScsiCommand>? granted = null;
        lock (_gate)
        {
            if (command.TaskState == TaskState.Outside) return;
            Remove(command);
            if (_blocked > 0) granted = StartBlocked();
        }
        if (granted is null) return;
        foreach (var c in granted) c.Grant(true);
    }

    private List<ScsiCommand>? StartBlocked()
    {
        List<ScsiCommand>? granted = null;
        for (var c = _oldest; c is not null; c = c.Newer)
        {
            if (c.TaskState != TaskState.Blocked || !MayRun(c)) continue;
            c.TaskState = TaskState.Running;
            _blocked--;
            (granted ??= []).Add(c);
        }
        return granted;
    }

    /// <summary>
    /// Aborts the commands that <paramref name="selects"/>. Those that had not started complete at once, the others when they
    /// notice. Returns how many there were.
    /// </summary>
    public int Abort(Func<ScsiCommand, bool> selects, Func<ScsiCommand, bool> reports)
    {
        List<CancellationTokenSource> sources = [];
        List<ScsiCommand> blocked = [];
        lock (_gate)
        {
            for (var c = _oldest; c is not null; c = c.Newer)
            {
                if (!selects(c)) continue;
                // Marked while it is surely in the set: once it has ended, its object may already be another command.
                sources.Add(c.MarkAborted(reports(c)));
                if (c.TaskState != TaskState.Blocked) continue;
                blocked.Add(c);
                c.TaskState = TaskState.Running;
                _blocked--;
            }
        }
        foreach (var source in sources) source.Cancel();
        foreach (var c in blocked) c.Grant(false);
        return sources.Count;
    }

    /// <summary>Whether any command that <paramref name="selects"/> is still in the set.</summary>
    public bool Any(Func<ScsiCommand, bool> selects)
    {
        lock (_gate)
        {
            for (var c = _oldest; c is not null; c = c.Newer)
                if (selects(c)) return true;
            return false;
        }
    }

    /// <summary>Commands in the set.</summary>
    public int Count
    {
        get
        {
            lock (_gate)
            {
                int count = 0;
                for (var c = _oldest; c is not null; c = c.Newer) count++;
                return count;
            }
        }
    }

    private bool MayRun(ScsiCommand command)
    {
        // HEAD OF QUEUE overtakes the order, but never breaks another command's exclusive range.
        bool first = command.Attribute == TaskAttribute.HeadOfQueue;
        for (var c = _oldest; c is not null && c != command; c = c.Newer)
        {
            if (!first && (command.Attribute == TaskAttribute.Ordered || c.Attribute == TaskAttribute.Ordered)) return false;
            bool overlaps = c.RangeStart < command.RangeEnd && command.RangeStart < c.RangeEnd;
            if (overlaps && (command.Exclusive || c.Exclusive) && (c.TaskState == TaskState.Running || !first)) return false;
        }
        for (var c = command.Newer; c is not null; c = c.Newer)
        {
            // Something newer (a head-of-queue command, or one that did not overlap an older waiting one) may already run.
            bool overlaps = c.RangeStart < command.RangeEnd && command.RangeStart < c.RangeEnd;
            if (overlaps && (command.Exclusive || c.Exclusive) && c.TaskState == TaskState.Running) return false;
        }
        return true;
    }

    private void Append(ScsiCommand command)
    {
        command.RangeStart = command.RangeEnd = 0;
        command.Exclusive = false;
        command.Older = _newest;
        command.Newer = null;
        if (_newest is null) _oldest = command;
        else _newest.Newer = command;
        _newest = command;
        if (command.Attribute == TaskAttribute.Ordered) _ordered++;
    }

    private void Remove(ScsiCommand command)
    {
        if (command.Older is null) _oldest = command.Newer;
        else command.Older.Newer = command.Newer;
        if (command.Newer is null) _newest = command.Older;
        else command.Newer.Older = command.Older;
        command.Older = command.Newer = null;
        if (command.Attribute == TaskAttribute.Ordered) _ordered--;
        if (command.Exclusive) _exclusive--;
        command.Exclusive = false;
        command.TaskState = TaskState.Outside;
    }
}
