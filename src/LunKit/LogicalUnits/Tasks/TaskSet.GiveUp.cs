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
        List<TaskEntry> over = [];
        List<byte> opcodes = [];
        TaskEntry? granted = null;
        lock (_gate)
        {
            // All are looked at before the first ends: one that waits for another that waits has waited as long.
            for (var entry = _active.Oldest; entry is not null; entry = entry.Newer)
            {
                if (!WaitsFor(entry, hasNoEnd)) entry.HeldSince = 0;
                else if (entry.HeldSince == 0) entry.HeldSince = Math.Max(1, now);
                else if (now - entry.HeldSince >= limit) over.Add(entry);
            }
            foreach (var entry in over)
            {
                entry.StopWaiting();
                TakeOut(entry);
                entry.State = TaskState.Ended;
                _ended.Append(entry);
                opcodes.Add(entry.Command.Cdb.IsEmpty ? (byte)0 : entry.Command.Cdb[0]);
            }
            foreach (var entry in over) ServeWaiters(entry, ref granted);
        }
        foreach (var entry in over) GrantOne(entry.Command, false);
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
