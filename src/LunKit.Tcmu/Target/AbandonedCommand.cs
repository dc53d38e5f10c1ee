using LunKit.Backstores;
using LunKit.LogicalUnits;

namespace LunKit.Tcmu.Target;

/// <summary>
/// What is left of a command that was answered because its time was over, while its handler may still carry it out: it has the command's
/// blocks in the task set for itself, so that a late write lands on nothing that was read or written since. Ends when the handler
/// answers, or dies; the closing of the unit does not wait for it.
/// </summary>
internal sealed class AbandonedCommand : ScsiCommand
{
    private readonly TaskSet _tasks;

    private AbandonedCommand(TaskSet tasks, ScsiCommand of)
    {
        _tasks = tasks;
        Reset(of.Cdb);
        (Nexus, Tag) = (of.Nexus, of.Tag);
    }

    /// <summary>Takes the blocks of a command over; null when it cannot change any.</summary>
    public static AbandonedCommand? TryTakeOver(TaskSet tasks, ScsiCommand command)
    {
        var remnant = new AbandonedCommand(tasks, command);
        return tasks.LeaveBehind(command, remnant) ? remnant : null;
    }

    public void End() => _tasks.Leave(this);

    // Only the closing of the unit reaches it: it belongs to no nexus of the unit.
    protected internal override void OnAborted() => End();

    public override DataBuffer RentDataIn(int length) => throw new InvalidOperationException("it is answered already");
}
