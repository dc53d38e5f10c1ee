using System.Collections.Concurrent;
using System.Threading.Tasks.Sources;

namespace LunKit.Backstores;

/// <summary>
/// Dedicated threads for the operations of one image that may wait for its medium, so that neither a connection's thread, nor the
/// thread pool, nor another image does. Threads start on demand, up to a limit, and end when they were idle for a while. Thread safe.
/// </summary>
internal sealed class FileWorkers
{
    // More concurrent requests than this gain little on one machine's disks and cost a stack each.
    private const int MaxThreads = 32;
    private static readonly TimeSpan s_idle = TimeSpan.FromSeconds(10);

    private readonly BlockingCollection<Work> _queue = [];
    private int _threads;
    private int _idle;

    /// <summary>Runs <paramref name="action"/> on a worker; the task completes there, with its exception if it throws.</summary>
    public ValueTask RunAsync<TState>(Action<TState> action, TState state)
    {
        var work = new Work<TState>(action, state);
        _queue.Add(work);
        StartIfBehind();
        return new ValueTask(work, work.Version);
    }

    /// <summary>Runs <paramref name="action"/>, which does not throw, on a worker; nobody waits for it.</summary>
    public void Start<TState>(Action<TState> action, TState state)
    {
        _queue.Add(new Work<TState>(action, state));
        StartIfBehind();
    }

    private void StartIfBehind()
    {
        if (_queue.Count <= Volatile.Read(ref _idle)) return;
        if (Interlocked.Increment(ref _threads) > MaxThreads)
        {
            Interlocked.Decrement(ref _threads);
            return;
        }
        new Thread(Loop, maxStackSize: 256 * 1024) { IsBackground = true, Name = "lunkit-file" }.Start();
    }

    private void Loop()
    {
        while (true)
        {
            Interlocked.Increment(ref _idle);
            bool taken = _queue.TryTake(out var work, s_idle);
            Interlocked.Decrement(ref _idle);
            if (taken)
            {
                // Two requests may have counted on the same idle thread.
                StartIfBehind();
                work!.Execute();
                continue;
            }
            Interlocked.Decrement(ref _threads);
            // Work may have come between the time-out and the decrement, when nobody saw a reason to start a thread.
            StartIfBehind();
            return;
        }
    }

    private abstract class Work
    {
        public abstract void Execute();
    }

    private sealed class Work<TState>(Action<TState> action, TState state) : Work, IValueTaskSource
    {
        private ManualResetValueTaskSourceCore<bool> _core;

        public short Version => _core.Version;

        public override void Execute()
        {
            try
            {
                action(state);
                _core.SetResult(true);
            }
            catch (Exception e)
            {
                _core.SetException(e);
            }
        }

        public void GetResult(short token) => _core.GetResult(token);
        public ValueTaskSourceStatus GetStatus(short token) => _core.GetStatus(token);
        public void OnCompleted(Action<object?> continuation, object? state1, short token, ValueTaskSourceOnCompletedFlags flags) =>
            _core.OnCompleted(continuation, state1, token, flags);
    }
}
