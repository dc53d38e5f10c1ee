using LunKit.Scsi;

namespace LunKit.LogicalUnits;

/// <summary>
/// Task management of one logical unit (SAM-6 clause 7), and everything else that ends commands before their time: preemption, the loss of a
/// nexus, the removal of a LUN, the closing of the unit. The one place that decides which commands are affected, whether their initiators are
/// told (TAS) or get a unit attention, and when it is over: every function completes when the last affected command has left the task set, so
/// that none of them can take effect behind the answer. Fabrics only say which command a tag means. Thread safe.
/// </summary>
internal sealed class TaskManager(LogicalUnit unit)
{
    private TaskSet Tasks => unit.Tasks;

    /// <summary>TAS of the Control mode page: commands that another nexus ended are answered TASK ABORTED.</summary>
    private bool ReportsAborted => unit.ModePages.Bit(0x0A, 0, 5, 0x40);

    /// <summary>ABORT TASK (SAM-6 7.2) of the commands of <paramref name="nexus"/> that <paramref name="isTask"/>; null when there is none.</summary>
    public Task? AbortTask(UnitNexus nexus, Func<ScsiCommand, bool> isTask)
    {
        bool found = false;
        var drain = Tasks.Abort(c => IsOf(c, nexus) && isTask(c) && (found = true), static _ => false);
        return found ? drain.Task : null;
    }

    /// <summary>The target in front of this unit has aborted commands that <paramref name="isTask"/>; it waits for the completion of each.</summary>
    public void AbortTasks(Func<ScsiCommand, bool> isTask) => Tasks.Abort(isTask, static _ => false);

    /// <summary>ABORT TASK SET (SAM-6 7.3): the commands of one nexus, but not those that <paramref name="isLater"/> than the function.</summary>
    public Task AbortTaskSet(UnitNexus nexus, Func<ScsiCommand, bool>? isLater = null) =>
        Tasks.Abort(c => IsOf(c, nexus) && isLater?.Invoke(c) != true, static _ => false).Task;

    /// <summary>CLEAR TASK SET (SAM-6 7.5): the commands of all nexuses.</summary>
    public Task ClearTaskSet(UnitNexus by)
    {
        bool reports = ReportsAborted;
        var cleared = new HashSet<UnitNexus>();
        var drain = Tasks.Abort(c => IsOfNexus(c) && (cleared.Add(c.UnitNexus!) || true), c => reports && c.UnitNexus != by);
        // Those whose commands end here are told, by status (TAS) or by unit attention.
        if (!reports)
            foreach (var nexus in cleared) if (nexus != by) nexus.EstablishUnitAttention(Sense.CommandsClearedByAnotherInitiator);
        return drain.Task;
    }

    /// <summary>
    /// LOGICAL UNIT RESET (SAM-6 7.6), and the share of a unit in a target reset: all commands end, and what a reset ends (6.3.3). Its unit
    /// attentions are established when this returns.
    /// </summary>
    public async Task Reset(UnitNexus? by, Sense attention)
    {
        bool reports = ReportsAborted;
        var drain = Tasks.Abort(IsOfNexus, c => reports && by is not null && c.UnitNexus != by);
        bool flushes = unit.EndByReset(attention);
        await drain.Task.ConfigureAwait(false);
        // A unit that is being closed flushes by itself.
        if (flushes && !unit.IsClosing) await unit.FlushUntoldAsync("a reset has switched the write cache off").ConfigureAwait(false);
    }

    /// <summary>
    /// The nexus is gone (I_T nexus loss, SAM-6 6.3.4). Nobody waits for its commands any more; those that may still write keep their blocks for
    /// themselves until they have really ended, however long that is, so that nothing of them lands on what is written later.
    /// </summary>
    public void NexusLost(UnitNexus nexus) => Tasks.Abort(c => c.UnitNexus == nexus, static _ => false, abandons: true);

    /// <summary>The same for a part of a nexus's commands, whose way to their initiator is gone.</summary>
    public void ConnectionLost(Func<ScsiCommand, bool> isTask) => Tasks.Abort(isTask, static _ => false, abandons: true);

    /// <summary>The nexus does not see the unit any more, and goes on: its commands are answered TASK ABORTED.</summary>
    public Task Unmapped(UnitNexus nexus) => Tasks.Abort(c => c.UnitNexus == nexus, static _ => true).Task;

    /// <summary>The unit is closed: everything ends, and is answered TASK ABORTED.</summary>
    public Task Close() => Tasks.Abort(static _ => true, static _ => true).Task;

    /// <summary>
    /// PREEMPT AND ABORT (SPC-5 5.14.11.5): the commands of the preempted nexuses, but not the one that asks, whose own abort ends the wait.
    /// </summary>
    public Task PreemptAndAbort(ScsiCommand by, Func<Nexus, bool> isPreempted)
    {
        bool reports = ReportsAborted;
        var drain = Tasks.Abort(c => c != by && IsOfNexus(c) && isPreempted(c.Nexus), c => reports && c.UnitNexus != by.UnitNexus);
        return drain.Task.WaitAsync(by.CancellationToken);
    }

    /// <summary>
    /// PREEMPT and CLEAR let the commands of those who lost their registration go on (SPC-5 5.14.11.4). They are waited for: what passed the old
    /// reservation does not land behind the answer that says it is gone. Those that have not begun are checked again when they do. PERSISTENT
    /// RESERVE OUT is not waited for: it touches no block, is decided by the table that is in force when its turn comes, and may wait for this one.
    /// </summary>
    public Task AwaitRunning(ScsiCommand by, Func<Nexus, bool> isAffected) =>
        Tasks.WhenLeft(e => e.State == TaskState.Running && e.Command != by && IsOfNexus(e.Command) && !IsReserveOut(e.Command) && isAffected(e.Command.Nexus)).Task
            .WaitAsync(by.CancellationToken);

    // A LUN that was taken away and put back is the same to its initiator, also for the commands that have not ended yet.
    private static bool IsOf(ScsiCommand command, UnitNexus nexus) =>
        command.UnitNexus is { } own && (own == nexus || own.Nexus == nexus.Nexus && own.Lun == nexus.Lun);

    private static bool IsOfNexus(ScsiCommand command) => command.UnitNexus is not null;

    private static bool IsReserveOut(ScsiCommand command) => command.Row is { Opcode: Opcode.PersistentReserveOut };
}
