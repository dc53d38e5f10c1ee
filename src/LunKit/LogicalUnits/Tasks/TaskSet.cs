using LunKit.Scsi;

namespace LunKit.LogicalUnits;

/// <summary>What became of a command that asked to run.</summary>
internal enum TaskGrant
{
    /// <summary>It runs now.</summary>
    Running,
    /// <summary>Others come first: <see cref="ScsiCommand.WaitGrantAsync"/> says when it runs, or with false that it was aborted.</summary>
    Blocked,
    /// <summary>It was aborted before, and does not run.</summary>
    Aborted,
    /// <summary>The unit has changed since the command was checked: it is to be checked again.</summary>
    Stale,
}

/// <summary>
/// The commands of one logical unit, from their arrival until their answer is queued for sending. The one owner of what is in flight: keeps task
/// attributes (SAM-6 8.9) and the block ranges that commands have for themselves, is where task management finds what to abort, and can be
/// awaited to be empty of something. Thread safe; the lock is held for a few instructions when nothing is ordered or exclusive.
/// </summary>
/// <param name="queue">Where commands go on whose turn has come.</param>
/// <param name="fault">Called with what a cancellation callback of a backstore throws.</param>
internal sealed partial class TaskSet(WorkQueue queue, Action<Exception> fault)
{
    private readonly Lock _gate = new();
    private TaskList _active;
    private TaskList _ended;
    private FenceList _fences;
    private int _running;
    private long _arrivals;
    private int _version;

    /// <summary>Changes when the unit has become another for commands that were checked and do not run yet.</summary>
    public int Version => Volatile.Read(ref _version);

    /// <summary>Enters a command: from here on task management finds it. Its place in the order is that of its arrival.</summary>
    public void Enter(ScsiCommand command)
    {
        var entry = command.Place;
        lock (_gate)
        {
            if (entry.State != TaskState.Outside) throw new InvalidOperationException("a command that is in a task set already");
            entry.State = TaskState.Collecting;
            entry.Number = ++_arrivals;
            _active.Append(entry);
            if (entry.IsOrdered) _fences.Add(entry);
        }
    }

    /// <summary>Asks to run on some blocks. The result decides, and is not to be looked up again: the command may have gone on meanwhile.</summary>
    /// <param name="command">A command that has entered.</param>
    /// <param name="lease">Its blocks.</param>
    /// <param name="version">What <see cref="Version"/> was before the command was checked.</param>
    public TaskGrant Begin(ScsiCommand command, in BlockLease lease, int version)
    {
        var entry = command.Place;
        lock (_gate)
        {
            if (command.IsAborted) return TaskGrant.Aborted;
            if (version != _version) return TaskGrant.Stale;
            entry.Lease = lease;
            if (lease.Exclusive) SetExclusive(entry);
            if (FindBlocker(entry) is not { } blocker)
            {
                SetRunning(entry);
                return TaskGrant.Running;
            }
            entry.State = TaskState.Blocked;
            entry.HeldSince = 0;
            command.PrepareGrant();
            entry.WaitFor(blocker);
            return TaskGrant.Blocked;
        }
    }

    /// <summary>The execution is over: others may have its blocks. The command stays in the set until <see cref="Leave"/>.</summary>
    public void End(ScsiCommand command)
    {
        var entry = command.Place;
        TaskEntry? granted = null;
        lock (_gate)
        {
            if (entry.State is TaskState.Outside or TaskState.Ended) return;
            Deactivate(entry, ref granted);
            entry.State = TaskState.Ended;
            _ended.Append(entry);
        }
        Grant(granted);
    }

    /// <summary>
    /// The command is about to be answered although its work may go on, which nothing stops: <paramref name="remnant"/> has its blocks from here on, for
    /// itself alone, until it leaves. False, and nothing happens, where the work cannot change the medium.
    /// </summary>
    public bool LeaveBehind(ScsiCommand command, ScsiCommand remnant)
    {
        TaskEntry entry = command.Place, left = remnant.Place;
        lock (_gate)
        {
            if (entry is not { State: TaskState.Running, Lease: { ChangesMedium: true, Range.IsEmpty: false } }) return false;
            left.Lease = entry.Lease;
            left.IsGhost = true;
            left.Number = ++_arrivals;
            _active.Append(left);
            SetRunning(left);
            SetExclusive(left);
            return true;
        }
    }

    /// <summary>
    /// It goes on running, but needs no block for itself any more, and has changed the unit: commands that were checked before are checked again.
    /// </summary>
    public void EndExclusive(ScsiCommand command)
    {
        var entry = command.Place;
        TaskEntry? granted = null;
        lock (_gate)
        {
            if (entry.State != TaskState.Running) return;
            _version++;
            ClearExclusive(entry);
            // Not only for itself: nothing is held up by it, nor does it hold its blocks when its nexus dies.
            entry.Lease = default;
            ServeWaiters(entry, ref granted);
        }
        Grant(granted);
    }

    /// <summary>The answer is queued for sending, or there is none: the command leaves, and what waited for that goes on.</summary>
    public void Leave(ScsiCommand command)
    {
        var entry = command.Place;
        TaskEntry? granted = null;
        DrainLink? drains;
        lock (_gate)
        {
            if (entry.State == TaskState.Outside) return;
            if (entry.State == TaskState.Ended) _ended.Remove(entry);
            else Deactivate(entry, ref granted);
            entry.State = TaskState.Outside;
            entry.IsGhost = false;
            drains = entry.Drains;
            entry.Drains = null;
            for (var link = drains; link is not null; link = link.Next) link.Drain.Remaining--;
        }
        Grant(granted);
        // The count reached 0 under the lock, and is touched by nobody else then; two that see it complete the same.
        for (; drains is not null; drains = drains.Next)
            if (Volatile.Read(ref drains.Drain.Remaining) == 0) queue.Post(drains.Drain);
    }

    /// <summary>
    /// Aborts the commands that <paramref name="selects"/>: those that had not started end at once, the others when they notice. The drain
    /// completes when all of them have left.
    /// </summary>
    /// <param name="selects">Which; called under the lock.</param>
    /// <param name="reports">Whether the initiator of one is told so (TASK ABORTED).</param>
    /// <param name="abandons">Nobody waits for them any more: those that may still write keep their blocks for themselves until they end.</param>
    public Drain Abort(Func<ScsiCommand, bool> selects, Func<ScsiCommand, bool> reports, bool abandons = false)
    {
        List<ScsiCommand> aborted = [];
        List<CancellationTokenSource> sources = [];
        List<ScsiCommand> refused = [];
        TaskEntry? granted = null;
        var drain = new Drain();
        lock (_gate)
        {
            for (var entry = _ended.Oldest; entry is not null; entry = entry.Newer) Mark(entry);
            TaskEntry? next;
            for (var entry = _active.Oldest; entry is not null; entry = next)
            {
                next = entry.Newer;
                if (!Mark(entry)) continue;
                if (entry.State == TaskState.Blocked)
                {
                    entry.StopWaiting();
                    TakeOut(entry);
                    entry.State = TaskState.Ended;
                    _ended.Append(entry);
                    refused.Add(entry.Command);
                }
                else if (abandons && entry is { State: TaskState.Running, Lease: { ChangesMedium: true, Range.IsEmpty: false } })
                {
                    entry.IsGhost = true;
                    SetExclusive(entry);
                }
            }
            // Only now, or one would be granted that is to be aborted.
            foreach (var command in refused) ServeWaiters(command.Place, ref granted);
        }
        foreach (var command in refused) GrantOne(command, false);
        Grant(granted);
        foreach (var source in sources) queue.Cancel(source, fault);
        foreach (var command in aborted) command.OnAborted();
        Arm(drain);
        return drain;

        bool Mark(TaskEntry entry)
        {
            if (!selects(entry.Command)) return false;
            // Marked while it is surely in the set: once it has left, its object may already be another command.
            aborted.Add(entry.Command);
            sources.Add(entry.Command.MarkAborted(reports(entry.Command)));
            Link(drain, entry);
            return true;
        }
    }

    /// <summary>
    /// Waits, without aborting, until the commands that <paramref name="selects"/> have left. Those that were checked and do not run yet are checked
    /// again.
    /// </summary>
    public Drain WhenLeft(Func<TaskEntry, bool> selects)
    {
        var drain = new Drain();
        lock (_gate)
        {
            _version++;
            for (var entry = _ended.Oldest; entry is not null; entry = entry.Newer) if (selects(entry)) Link(drain, entry);
            for (var entry = _active.Oldest; entry is not null; entry = entry.Newer) if (selects(entry)) Link(drain, entry);
        }
        Arm(drain);
        return drain;
    }

    /// <summary>Whether any command that <paramref name="selects"/> is in the set.</summary>
    public bool Any(Func<ScsiCommand, bool> selects)
    {
        lock (_gate)
        {
            for (var entry = _active.Oldest; entry is not null; entry = entry.Newer) if (selects(entry.Command)) return true;
            for (var entry = _ended.Oldest; entry is not null; entry = entry.Newer) if (selects(entry.Command)) return true;
            return false;
        }
    }

    /// <summary>Commands in the set.</summary>
    public int Count
    {
        get { lock (_gate) return _active.Count + _ended.Count; }
    }

    /// <summary>What is in the set, for people: state, operation code, tag and nexus of each, oldest first, at most <paramref name="most"/>.</summary>
    public IReadOnlyList<string> Describe(int most)
    {
        var lines = new List<string>();
        lock (_gate)
        {
            for (var entry = _active.Oldest; entry is not null && lines.Count < most; entry = entry.Newer) lines.Add(entry.Describe());
            for (var entry = _ended.Oldest; entry is not null && lines.Count < most; entry = entry.Newer) lines.Add(entry.Describe());
        }
        return lines;
    }

    private static void Link(Drain drain, TaskEntry entry)
    {
        drain.Remaining++;
        entry.Drains = new DrainLink(drain, entry.Drains);
    }

    private void Arm(Drain drain)
    {
        lock (_gate) drain.Remaining--;
        if (Volatile.Read(ref drain.Remaining) == 0) drain.Complete();
    }

    /// <summary>The nearest older command that comes first, or a newer one that already runs on the same blocks; null: it may run.</summary>
    private TaskEntry? FindBlocker(TaskEntry entry)
    {
        TaskEntry? blocker = null;
        if (!entry.IsFence)
        {
            for (var fence = _fences.Newest; fence is not null; fence = fence.OlderFence)
            {
                if (fence.Number > entry.Number) blocker = IsInTheWay(fence, entry) ? fence : blocker;
                else if (ComesFirst(fence, entry)) return fence;
            }
            return blocker;
        }
        int running = 0;
        for (var older = entry.Older; older is not null; older = older.Older)
        {
            if (ComesFirst(older, entry)) return older;
            if (older.State == TaskState.Running) running++;
        }
        // A head-of-queue command, or one that did not overlap an older waiting one, may already run; the others of the newer ones do not matter.
        for (var newer = entry.Newer; newer is not null && running < _running && blocker is null; newer = newer.Newer)
        {
            if (newer.State == TaskState.Running) running++;
            if (IsInTheWay(newer, entry)) blocker = newer;
        }
        return blocker;
    }

    private static bool IsInTheWay(TaskEntry newer, TaskEntry entry) => newer.State == TaskState.Running && Excludes(newer, entry);

    private static bool ComesFirst(TaskEntry older, TaskEntry entry)
    {
        // HEAD OF QUEUE overtakes the order, but never breaks another command's exclusive range.
        bool head = entry.Command.Attribute == TaskAttribute.HeadOfQueue;
        // One whose data does not come holds up its own nexus and nobody else.
        bool counts = older.State != TaskState.Collecting || older.Command.UnitNexus == entry.Command.UnitNexus;
        if (!head && counts && (entry.IsOrdered || older.IsOrdered)) return true;
        return older.State != TaskState.Collecting && (!head || older.State == TaskState.Running) && Excludes(older, entry);
    }

    private static bool Excludes(TaskEntry one, TaskEntry other) => (one.IsExclusive || other.IsExclusive) && one.Lease.Overlaps(other.Lease);

    private void SetRunning(TaskEntry entry)
    {
        entry.State = TaskState.Running;
        _running++;
    }

    private void SetExclusive(TaskEntry entry)
    {
        entry.IsExclusive = true;
        _fences.Add(entry);
    }

    private void ClearExclusive(TaskEntry entry)
    {
        entry.IsExclusive = false;
        if (!entry.IsOrdered) _fences.Remove(entry);
    }

    /// <summary>Takes a command out of the order.</summary>
    private void TakeOut(TaskEntry entry)
    {
        if (entry.State == TaskState.Running) _running--;
        _active.Remove(entry);
        _fences.Remove(entry);
        entry.IsExclusive = false;
        entry.Lease = default;
    }

    /// <summary>The same, and lets run what waited for it.</summary>
    private void Deactivate(TaskEntry entry, ref TaskEntry? granted)
    {
        TakeOut(entry);
        ServeWaiters(entry, ref granted);
    }

    /// <summary>Looks again at what waits for a command: it runs now, or waits for another. Those that run are linked in front of <paramref name="granted"/>.</summary>
    private void ServeWaiters(TaskEntry entry, ref TaskEntry? granted)
    {
        var waiter = entry.FirstWaiter;
        entry.FirstWaiter = entry.LastWaiter = null;
        for (TaskEntry? next; waiter is not null; waiter = next)
        {
            next = waiter.NextWaiter;
            waiter.Blocker = waiter.NextWaiter = waiter.PreviousWaiter = null;
            if (FindBlocker(waiter) is { } blocker)
            {
                waiter.WaitFor(blocker);
                continue;
            }
            SetRunning(waiter);
            waiter.NextWaiter = granted;
            granted = waiter;
        }
    }

    /// <summary>Lets commands go on whose state is Running already: none of them can have gone on, or be another command, before it is told.</summary>
    private void Grant(TaskEntry? granted)
    {
        // Linked newest first: the oldest goes first.
        TaskEntry? ordered = null;
        for (TaskEntry? next; granted is not null; granted = next)
        {
            next = granted.NextWaiter;
            granted.NextWaiter = ordered;
            ordered = granted;
        }
        for (TaskEntry? next; ordered is not null; ordered = next)
        {
            next = ordered.NextWaiter;
            ordered.NextWaiter = null;
            GrantOne(ordered.Command, true);
        }
    }

    private void GrantOne(ScsiCommand command, bool granted)
    {
        command.SetGrant(granted);
        queue.Post(command);
    }
}
