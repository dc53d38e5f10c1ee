namespace LunKit.LogicalUnits;

/// <summary>
/// Where work goes that must not run on the thread that found it: commands whose turn has come, and whoever waits for others to end. The thread
/// pool, unless a simulation puts a queue of its own in place. Thread safe.
/// </summary>
internal abstract class WorkQueue
{
    /// <summary>The thread pool.</summary>
    public static WorkQueue Pool { get; } = new ThreadPoolQueue();

    /// <summary>Runs <paramref name="item"/> soon, once. Never on the caller's stack.</summary>
    public abstract void Post(IThreadPoolWorkItem item);

    /// <summary>
    /// Cancels at once; what is registered for that is called elsewhere: it is anybody's, and the caller may hold locks of a host or a fabric.
    /// </summary>
    /// <param name="source">What is cancelled.</param>
    /// <param name="fault">Takes what callbacks throw.</param>
    public virtual void Cancel(CancellationTokenSource source, Action<Exception> fault) =>
        source.CancelAsync().ContinueWith(
            static (over, fault) => ((Action<Exception>)fault!)(over.Exception!.InnerException!), fault, CancellationToken.None, TaskContinuationOptions.OnlyOnFaulted, TaskScheduler.Default);

    /// <summary>A point between two steps that are not one: other threads may go first here, and a simulation lets them. Does nothing else.</summary>
    public virtual void Pause()
    {
    }

    /// <summary>Completes soon, never on the caller's stack.</summary>
    public Task YieldAsync()
    {
        var turn = new Turn();
        Post(turn);
        return turn.Task;
    }

    private sealed class Turn : TaskCompletionSource, IThreadPoolWorkItem
    {
        public void Execute() => SetResult();
    }

    private sealed class ThreadPoolQueue : WorkQueue
    {
        public override void Post(IThreadPoolWorkItem item) => ThreadPool.UnsafeQueueUserWorkItem(item, preferLocal: false);
    }
}

/// <summary>What a unit runs on: the system's threads and clock, or a simulation's.</summary>
internal sealed record UnitRuntime(WorkQueue Queue, TimeProvider Time)
{
    public static UnitRuntime System { get; } = new(WorkQueue.Pool, TimeProvider.System);
}
