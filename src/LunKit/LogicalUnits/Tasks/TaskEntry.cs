using LunKit.Scsi;

namespace LunKit.LogicalUnits;

/// <summary>Where a command stands in its task set.</summary>
internal enum TaskState
{
    /// <summary>In no task set.</summary>
    Outside,
    /// <summary>It has arrived; its data is still to come, or it is being checked.</summary>
    Collecting,
    /// <summary>It waits for other commands.</summary>
    Blocked,
    Running,
    /// <summary>Its execution is over, or never began, and it touches no block any more; it is not answered yet.</summary>
    Ended,
}

/// <summary>A command's place in its task set. The task set's lock guards all of it.</summary>
internal sealed class TaskEntry(ScsiCommand command)
{
    public ScsiCommand Command => command;

    public TaskState State;
    public BlockLease Lease;

    /// <summary>Whether nobody may touch its blocks: it asked for that, or its nexus died while it wrote.</summary>
    public bool IsExclusive;

    /// <summary>Its initiator is gone, and it still writes.</summary>
    public bool IsGhost;

    // Order of arrival.
    public TaskEntry? Older, Newer;
    public long Number;

    // The same among the fences.
    public TaskEntry? OlderFence, NewerFence;
    public bool IsFence;

    // What it waits for, and its place among those that wait for the same.
    public TaskEntry? Blocker, NextWaiter, PreviousWaiter;

    /// <summary>When it was first seen to wait for what has no time-out (<see cref="TaskSet.GiveUp"/>); 0: it was not.</summary>
    public long HeldSince;

    // Those that wait for it, in the order in which they began to.
    public TaskEntry? FirstWaiter, LastWaiter;

    /// <summary>Those that wait for its end.</summary>
    public DrainLink? Drains;

    public bool IsOrdered => command.Attribute == TaskAttribute.Ordered;

    /// <summary>State, operation code, tag and nexus, for people.</summary>
    public string Describe()
    {
        string name = command.Cdb.IsEmpty ? "a call of the unit's own" : $"command {command.Cdb[0]:X2}h (tag {command.Tag:X})";
        string nexus = command.UnitNexus?.Nexus.InitiatorPort ?? "LunKit";
        return $"{name} of {nexus}, {State.ToString().ToLowerInvariant()}{(IsGhost ? ", its session is gone" : "")}";
    }

    /// <summary>Becomes the last of those that wait for <paramref name="blocker"/>.</summary>
    public void WaitFor(TaskEntry blocker)
    {
        Blocker = blocker;
        PreviousWaiter = blocker.LastWaiter;
        NextWaiter = null;
        if (blocker.LastWaiter is null) blocker.FirstWaiter = this;
        else blocker.LastWaiter.NextWaiter = this;
        blocker.LastWaiter = this;
    }

    public void StopWaiting()
    {
        if (PreviousWaiter is null) Blocker!.FirstWaiter = NextWaiter;
        else PreviousWaiter.NextWaiter = NextWaiter;
        if (NextWaiter is null) Blocker!.LastWaiter = PreviousWaiter;
        else NextWaiter.PreviousWaiter = PreviousWaiter;
        Blocker = NextWaiter = PreviousWaiter = null;
    }
}

/// <summary>One of the drains that a command holds up.</summary>
internal sealed record DrainLink(Drain Drain, DrainLink? Next);

/// <summary>
/// The commands that may hold up others, whatever those are: ordered ones, and those that have their blocks for themselves. In order of arrival, so
/// that a command that is neither need not look at all the others.
/// </summary>
internal struct FenceList
{
    public TaskEntry? Newest;

    public void Add(TaskEntry entry)
    {
        if (entry.IsFence) return;
        entry.IsFence = true;
        // Nearly always the newest of all: few steps.
        TaskEntry? newer = null, older = Newest;
        for (; older is not null && older.Number > entry.Number; older = older.OlderFence) newer = older;
        (entry.OlderFence, entry.NewerFence) = (older, newer);
        if (newer is null) Newest = entry;
        else newer.OlderFence = entry;
        if (older is not null) older.NewerFence = entry;
    }

    public void Remove(TaskEntry entry)
    {
        if (!entry.IsFence) return;
        entry.IsFence = false;
        if (entry.NewerFence is null) Newest = entry.OlderFence;
        else entry.NewerFence.OlderFence = entry.OlderFence;
        if (entry.OlderFence is not null) entry.OlderFence.NewerFence = entry.NewerFence;
        entry.OlderFence = entry.NewerFence = null;
    }
}

/// <summary>Commands in order of arrival, linked through their entries.</summary>
internal struct TaskList
{
    public TaskEntry? Oldest;
    public TaskEntry? Newest;
    public int Count;

    public void Append(TaskEntry entry)
    {
        entry.Older = Newest;
        entry.Newer = null;
        if (Newest is null) Oldest = entry;
        else Newest.Newer = entry;
        Newest = entry;
        Count++;
    }

    public void Remove(TaskEntry entry)
    {
        if (entry.Older is null) Oldest = entry.Newer;
        else entry.Older.Newer = entry.Newer;
        if (entry.Newer is null) Newest = entry.Older;
        else entry.Newer.Older = entry.Older;
        entry.Older = entry.Newer = null;
        Count--;
    }
}
