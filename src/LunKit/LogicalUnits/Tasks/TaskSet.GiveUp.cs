using LunKit.Scsi;

namespace LunKit.LogicalUnits;

/// <summary>Commands that wait for something which may never end.</summary>
internal sealed partial class TaskSet
{
    /// <summary>
    /// Ends commands that have waited for too long, over others or not, for one that <paramref name="hasNoEnd"/>: they were not begun, and are not granted
    /// although nobody has aborted them. Called again and again as long as there is such a one, and once more when there is none any more.
    /// </summary>
    /// <param name="hasNoEnd">Whether nothing here ends it; called under the lock.</param>
    /// <param name="now">The time in milliseconds.</param>
    /// <param name="limit">How long one waits, from the call on that finds it waiting.</param>
    /// <returns>Operation codes of those that end here.</returns>
    public IReadOnlyList<byte> GiveUp(Func<ScsiCommand, bool> hasNoEnd, long now, long limit)
    {
        List<ScsiCommand> given = [];
        List<byte> opcodes = [];
        TaskEntry? granted = null;
        lock (_gate)
        {
            TaskEntry? next;
            for (var entry = _active.Oldest; entry is not null; entry = next)
            {
                next = entry.Newer;
                if (!WaitsFor(entry, hasNoEnd)) entry.HeldSince = 0;
                else if (entry.HeldSince == 0) entry.HeldSince = Math.Max(1, now);
                else if (now - entry.HeldSince >= limit)
                {
                    entry.StopWaiting();
                    TakeOut(entry);
                    entry.State = TaskState.Ended;
                    _ended.Append(entry);
                    given.Add(entry.Command);
                    opcodes.Add(entry.Command.Cdb.IsEmpty ? (byte)0 : entry.Command.Cdb[0]);
                }
            }
            // Only now: what waited for them waits for the same, and is looked at first.
            foreach (var command in given) ServeWaiters(command.Place, ref granted);
        }
        foreach (var command in given) GrantOne(command, false);
        Grant(granted);
        return opcodes;
    }

    private static bool WaitsFor(TaskEntry entry, Func<ScsiCommand, bool> hasNoEnd)
    {
        if (entry.State != TaskState.Blocked) return false;
        for (var blocker = entry.Blocker; blocker is not null; blocker = blocker.Blocker)
            if (hasNoEnd(blocker.Command)) return true;
        return false;
    }
}
