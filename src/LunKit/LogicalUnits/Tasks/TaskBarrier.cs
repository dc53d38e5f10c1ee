using LunKit.Backstores;
using LunKit.Scsi;

namespace LunKit.LogicalUnits;

/// <summary>
/// Blocks that the unit has for itself, without a command: granted when all that works on them has ended, given back by disposal. Task management of
/// initiators does not reach it; only the closing of the unit ends the wait for it.
/// </summary>
internal sealed class TaskBarrier : ScsiCommand, IDisposable
{
    private readonly TaskSet _tasks;

    private TaskBarrier(TaskSet tasks) => _tasks = tasks;

    /// <exception cref="OperationCanceledException">The wait was cancelled, or the unit is being closed.</exception>
    public static async ValueTask<TaskBarrier> EnterAsync(TaskSet tasks, BlockRange range, CancellationToken cancellationToken)
    {
        var barrier = new TaskBarrier(tasks) { Attribute = TaskAttribute.Simple };
        tasks.Enter(barrier);
        var grant = tasks.Begin(barrier, new BlockLease(range, Exclusive: true), tasks.Version);
        // Nothing was checked that could be stale.
        while (grant == TaskGrant.Stale) grant = tasks.Begin(barrier, new BlockLease(range, Exclusive: true), tasks.Version);
        if (grant == TaskGrant.Running) return barrier;
        using (cancellationToken.Register(() => tasks.Abort(c => c == barrier, static _ => false)))
            if (grant == TaskGrant.Blocked && await barrier.WaitGrantAsync().ConfigureAwait(false)) return barrier;
        barrier.Dispose();
        cancellationToken.ThrowIfCancellationRequested();
        throw new OperationCanceledException("the unit is being closed");
    }

    /// <summary>
    /// A place in the set without blocks, for a call into the storage that belongs to no command: it holds up nobody, but the closing of the unit finds
    /// it and waits for it.
    /// </summary>
    public static TaskBarrier Hold(TaskSet tasks)
    {
        var place = new TaskBarrier(tasks) { Attribute = TaskAttribute.Simple };
        tasks.Enter(place);
        return place;
    }

    public override DataBuffer RentDataIn(int length) => throw new InvalidOperationException("a barrier has no data");

    public void Dispose()
    {
        _tasks.EndExclusive(this);
        _tasks.Leave(this);
    }
}
