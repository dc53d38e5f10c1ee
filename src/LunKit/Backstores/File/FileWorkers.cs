using System.Threading.Tasks.Sources;
using LunKit.Linux;

namespace LunKit.Backstores;

/// <summary>
/// Dedicated threads for the operations of one image that may wait for its medium, so that neither a connection's thread, nor the
/// thread pool, nor another image does. Threads start on demand, up to a limit, and end when they were idle for a while. Where no thread can be
/// started an operation waits for one that lives; without any it is refused before it was begun. Thread safe.
/// </summary>
internal sealed class FileWorkers
{
    /// <summary>
    /// Operations that wait for a thread; more are refused as <see cref="BackstoreError.Busy"/>. Sixteen sessions' full command windows: a backlog
    /// that no medium works off within an initiator's time-out.
    /// </summary>
    public const int MaxQueued = 4096;

    /// <summary>Enough for the libraries of clusters: connecting one takes more than <see cref="OwnStackBytes"/>.</summary>
    public const int LibraryStackBytes = 1 << 20;

    // Enough for code of our own and system calls.
    private const int OwnStackBytes = 256 * 1024;

    // Some tens of microseconds, most of them offered to whoever else wants the processor.
    private const int LookTimes = 140;

    // More concurrent requests than this gain little on one machine's disks and cost a stack each.
    private const int MaxThreads = 32;
    private static readonly TimeSpan s_idle = TimeSpan.FromSeconds(10);

    // For Monitor.Wait, which Lock does not have. Guards all below; while something is queued at least one thread lives.
    private readonly object _gate = new();
    private readonly Queue<Work> _queue = new();
    private readonly int _maxThreads;
    private readonly Action<Action> _start;
    // A thread without work looks for it a little before it sleeps: where work comes closely, waking a thread costs several times a short write.
    // The single writer learns whether looking pays (SpinBudget); several would learn from each other's luck, so they offer the processor instead.
    private readonly SpinBudget? _budget;
    private readonly Func<int> _look;
    private volatile int _queued;
    private int _threads;
    private int _idle;
    private int _looking;

    /// <summary>Makes the workers; the first thread starts with the first operation.</summary>
    /// <param name="maxThreads">Operations at once.</param>
    /// <param name="start">Starts a thread that runs the action, or throws as <see cref="Thread.Start()"/> does; null for real threads.</param>
    /// <param name="stackBytes">Stack of a thread; 0 for as much as the platform gives.</param>
    public FileWorkers(int maxThreads = MaxThreads, Action<Action>? start = null, int stackBytes = OwnStackBytes)
    {
        (_maxThreads, _start) = (maxThreads, start ?? (run => StartThread(run, stackBytes)));
        _budget = maxThreads == 1 ? new SpinBudget() : null;
        _look = () => _queued > 0 ? 1 : -1;
    }

    private static void StartThread(Action run, int stackBytes) =>
        new Thread(() => run(), stackBytes) { IsBackground = true, Name = "lunkit-file" }.Start();

    /// <summary>Whether an exception says that the process or the machine has no thread left to start.</summary>
    public static bool IsThreadShortage(Exception e) => e is OutOfMemoryException or ThreadStartException;

    /// <summary>
    /// Runs <paramref name="action"/> on a worker; the task completes there, with its exception if it throws. It fails with
    /// <see cref="BackstoreError.Busy"/> when the action was not begun and never will be.
    /// </summary>
    public ValueTask RunAsync<TState>(Action<TState> action, TState state)
    {
        var work = new Work<TState>(action, state);
        return TryEnter(work) is { } refusal ? ValueTask.FromException(Busy(refusal)) : new ValueTask(work, work.Version);
    }

    /// <summary>Runs a function on a worker, as the other overload runs an action.</summary>
    public ValueTask<TResult> RunAsync<TState, TResult>(Func<TState, TResult> function, TState state)
    {
        var work = new Work<TState, TResult>(function, state);
        return TryEnter(work) is { } refusal ? ValueTask.FromException<TResult>(Busy(refusal)) : new ValueTask<TResult>(work, work.Version);
    }

    /// <summary>Runs <paramref name="action"/>, which does not throw, on a worker; nobody waits for it. False when it never will be run.</summary>
    public bool TryStart<TState>(Action<TState> action, TState state) => TryEnter(new Work<TState>(action, state)) is null;

    /// <summary>Runs what must be done in any case: on a worker, or here if there is none.</summary>
    public async ValueTask RunAnyhowAsync<TState>(Action<TState> action, TState state)
    {
        var work = new Work<TState>(action, state);
        if (TryEnter(work) is null) await new ValueTask(work, work.Version).ConfigureAwait(false);
        else action(state);
    }

    private static BackstoreException Busy(string why) => new(BackstoreError.Busy, why);

    /// <summary>Queues the work; else why not.</summary>
    private string? TryEnter(Work work)
    {
        lock (_gate)
        {
            if (_queue.Count >= MaxQueued) return $"{MaxQueued} operations wait for the medium already";
            _queue.Enqueue(work);
            StartIfBehind();
            if (_threads == 0)
            {
                // Nobody has seen it, and it is the only one.
                _queue.Clear();
                return "no thread can be started for the operation";
            }
            _queued = _queue.Count;
            // Those that look see it themselves.
            if (_queue.Count > _looking && _idle > _looking) Monitor.Pulse(_gate);
            return null;
        }
    }

    /// <summary>Starts a thread unless those that are idle suffice. A shortage of threads is met by those that live.</summary>
    private void StartIfBehind()
    {
        if (_queue.Count <= _idle || _threads == _maxThreads) return;
        _threads++;
        try
        {
            _start(Loop);
        }
        catch (Exception e) when (IsThreadShortage(e))
        {
            _threads--;
        }
    }

    private void Loop()
    {
        while (Take() is { } work) work.Execute();
    }

    private void Look()
    {
        lock (_gate)
        {
            if (_queue.Count > 0) return;
            _idle++;
            _looking++;
        }
        if (_budget is not null) _budget.Look(_look);
        else Yield();
        lock (_gate)
        {
            _idle--;
            _looking--;
        }
    }

    private void Yield()
    {
        for (var spinner = new SpinWait(); spinner.Count < LookTimes && _queued == 0;) spinner.SpinOnce(sleep1Threshold: -1);
    }

    /// <summary>The next work; null when the thread is to end.</summary>
    private Work? Take()
    {
        Look();
        lock (_gate)
        {
            while (_queue.Count == 0)
            {
                _idle++;
                bool isWoken = Monitor.Wait(_gate, s_idle);
                _idle--;
                if (isWoken || _queue.Count > 0) continue;
                _threads--;
                return null;
            }
            var work = _queue.Dequeue();
            _queued = _queue.Count;
            // What is next may have been counted on this thread, which may now wait for long.
            StartIfBehind();
            return work;
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
            Exception? failure = null;
            try
            {
                action(state);
            }
            catch (Exception e)
            {
                failure = e;
            }
            if (failure is null) _core.SetResult(true);
            else _core.SetException(failure);
        }

        public void GetResult(short token) => _core.GetResult(token);
        public ValueTaskSourceStatus GetStatus(short token) => _core.GetStatus(token);
        public void OnCompleted(Action<object?> continuation, object? state1, short token, ValueTaskSourceOnCompletedFlags flags) =>
            _core.OnCompleted(continuation, state1, token, flags);
    }

    private sealed class Work<TState, TResult>(Func<TState, TResult> function, TState state) : Work, IValueTaskSource<TResult>
    {
        private ManualResetValueTaskSourceCore<TResult> _core;

        public short Version => _core.Version;

        public override void Execute()
        {
            TResult result;
            try
            {
                result = function(state);
            }
            catch (Exception e)
            {
                _core.SetException(e);
                return;
            }
            _core.SetResult(result);
        }

        public TResult GetResult(short token) => _core.GetResult(token);
        public ValueTaskSourceStatus GetStatus(short token) => _core.GetStatus(token);
        public void OnCompleted(Action<object?> continuation, object? state1, short token, ValueTaskSourceOnCompletedFlags flags) =>
            _core.OnCompleted(continuation, state1, token, flags);
    }
}
