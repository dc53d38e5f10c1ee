namespace LunKit.Backstores;

/// <summary>
/// Connects a backstore to its storage again and again, on a thread of its own, until that succeeds. <see cref="Unavailable"/> tells meanwhile why it
/// does not serve. Thread safe.
/// </summary>
/// <param name="connect">Connects, once; waits as long as that takes. What it throws is the reason why not.</param>
/// <param name="tell">Told of each new reason.</param>
/// <param name="start">Starts a thread that runs the action, or throws as <see cref="Thread.Start()"/> does; null for real threads.</param>
internal sealed class Reconnection(Action connect, Action<string> tell, Action<Action>? start = null) : IDisposable
{
    private static readonly TimeSpan s_pause = TimeSpan.FromSeconds(1);

    private readonly CancellationTokenSource _closing = new();
    private readonly Lock _gate = new();
    private readonly Action<Action> _start = start ?? StartThread;
    // Set while no attempt is made: a thread that was started has ended, or none was.
    private readonly ManualResetEventSlim _isIdle = new(true);
    private volatile string? _reason;
    private bool _isLostAgain;

    private static void StartThread(Action run) => new Thread(() => run(), maxStackSize: 1 << 20) { IsBackground = true, Name = "lunkit-connect" }.Start();

    /// <summary>Why there is no connection; null when there is one.</summary>
    public string? Unavailable => _reason is { } reason ? $"connecting: {reason}" : null;

    /// <summary>Begins, unless it does so already.</summary>
    public void Begin(string reason)
    {
        lock (_gate)
        {
            if (_closing.IsCancellationRequested) return;
            // The connection that an attempt has just made is lost already: that attempt must not be the last.
            _isLostAgain = true;
            if (_reason is null) Take(reason);
            StartOnce();
        }
    }

    /// <summary>
    /// Goes on where <see cref="Begin"/> could not start its thread. Called by every operation that finds no connection: initiators repeat theirs,
    /// so connecting does not depend on a thread that was short once.
    /// </summary>
    public void Ensure()
    {
        if (_reason is null) return;
        lock (_gate)
        {
            if (_reason is not null && !_closing.IsCancellationRequested) StartOnce();
        }
    }

    private void StartOnce()
    {
        if (!_isIdle.IsSet) return;
        _isIdle.Reset();
        try
        {
            _start(Run);
        }
        catch (Exception e) when (FileWorkers.IsThreadShortage(e))
        {
            _isIdle.Set();
            Take("no thread can be started to connect; the next command tries again");
        }
    }

    private void Take(string reason)
    {
        if (_reason == reason) return;
        _reason = reason;
        tell(reason);
    }

    private void Run()
    {
        while (!TryOnce()) _closing.Token.WaitHandle.WaitOne(s_pause);
    }

    /// <summary>One attempt; true when it was the last, after which nothing here is used any more.</summary>
    private bool TryOnce()
    {
        bool isConnected = false;
        if (!_closing.IsCancellationRequested)
        {
            lock (_gate) _isLostAgain = false;
            try
            {
                connect();
                isConnected = true;
            }
            catch (Exception e)
            {
                Take(e.Message);
            }
        }
        lock (_gate)
        {
            bool isClosing = _closing.IsCancellationRequested;
            if (!isClosing && (!isConnected || _isLostAgain)) return false;
            if (!isClosing) _reason = null;
            _isIdle.Set();
            return true;
        }
    }

    /// <summary>Ends it; an attempt that is being made is waited for.</summary>
    public void Dispose()
    {
        lock (_gate) _closing.Cancel();
        _isIdle.Wait();
        // The thread sets it under the lock, as its last use of anything here.
        lock (_gate)
        {
            _isIdle.Dispose();
            _closing.Dispose();
        }
    }
}
