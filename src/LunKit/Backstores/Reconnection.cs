namespace LunKit.Backstores;

/// <summary>
/// Connects a backstore to its storage again and again, on a thread of its own, until that succeeds. <see cref="Trouble"/> says meanwhile why it
/// does not serve. Thread safe.
/// </summary>
/// <param name="connect">Connects, once; waits as long as that takes. What it throws is the reason why not.</param>
/// <param name="tell">Told of each new reason.</param>
internal sealed class Reconnection(Action connect, Action<string> tell) : IDisposable
{
    private static readonly TimeSpan s_pause = TimeSpan.FromSeconds(1);

    private readonly CancellationTokenSource _closing = new();
    private readonly Lock _gate = new();
    private Thread? _thread;
    private volatile string? _reason;

    /// <summary>Why there is no connection; null when there is one.</summary>
    public string? Trouble => _reason is { } reason ? $"connecting: {reason}" : null;

    /// <summary>Begins, unless it does so already.</summary>
    public void Begin(string reason)
    {
        lock (_gate)
        {
            if (_reason is not null || _closing.IsCancellationRequested) return;
            Take(reason);
            _thread = new Thread(Run, maxStackSize: 1 << 20) { IsBackground = true, Name = "lunkit-connect" };
            _thread.Start();
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
        while (!_closing.IsCancellationRequested)
        {
            try
            {
                connect();
                lock (_gate) _reason = null;
                return;
            }
            catch (Exception e)
            {
                Take(e.Message);
            }
            _closing.Token.WaitHandle.WaitOne(s_pause);
        }
    }

    /// <summary>Ends it; an attempt that is being made is waited for.</summary>
    public void Dispose()
    {
        _closing.Cancel();
        Thread? thread;
        lock (_gate) thread = _thread;
        thread?.Join();
        _closing.Dispose();
    }
}
