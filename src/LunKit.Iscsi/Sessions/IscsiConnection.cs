using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using LunKit.Fabrics;
using LunKit.Iscsi.Login;
using LunKit.Iscsi.Pdus;
using LunKit.Linux;

namespace LunKit.Iscsi.Sessions;

/// <summary>
/// One TCP connection, on a thread of its own that owns its socket, its buffers and its tasks: receives a batch of PDUs, executes
/// what needs no waiting, sends all answers at once. Other threads only <see cref="Wake"/> it and hand it completed tasks.
/// </summary>
internal sealed partial class IscsiConnection
{
    /// <summary>What a look found instead of bytes: a task that another thread completed.</summary>
    private const int HasCompleted = -2;

    private readonly IscsiServer _server;
    private readonly Socket _socket;
    private readonly EventFd _wake = new();
    private readonly StreamSocket _stream;
    private readonly Thread _thread;
    private readonly IscsiLimits _limits;
    private readonly MemoryAccount _memory;
    private readonly Lock _completionGate = new();
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private List<IscsiTask> _completions = [];
    private List<IscsiTask> _completionsInWork = [];
    private int _sleeping;
    private int _lookAround;
    private int _executing;
    private volatile bool _aborting;
    private volatile bool _endsTasks;
    private volatile string? _endReason;
    private volatile int _stopRequested;
    private long _lastReceived = Stopwatch.GetTimestamp();
    private long _closeDeadline;
    private long _lastTimers;
    private bool _closeAfterFlush;
    private bool _abandoned;
    private readonly SpinBudget _spin = new();
    private readonly Func<int> _look;

    public IscsiConnection(IscsiServer server, Socket socket, int groupTag)
    {
        _server = server;
        _socket = socket;
        _limits = server.Options.Limits;
        _memory = new MemoryAccount(_limits.MaxOutstandingBytesPerConnection, server.Memory);
        _held = new HeldPdus(_limits.QueueDepth, _memory);
        Remote = (IPEndPoint)socket.RemoteEndPoint!;
        Local = (IPEndPoint)socket.LocalEndPoint!;
        GroupTag = groupTag;
        _stream = new StreamSocket(socket.SafeHandle, _wake);
        _negotiation = new LoginNegotiation(server, _limits, groupTag);
        DataInLayout = new DataInLayout(_negotiation.Parameters);
        _look = () => PollUnits() || _completions.Count > 0 ? HasCompleted : ReceiveMore();
        _thread = new Thread(Run, maxStackSize: 512 * 1024) { IsBackground = true, Name = $"iscsi {Remote}" };
    }

    public IPEndPoint Remote { get; }
    public IPEndPoint Local { get; }
    public int GroupTag { get; }
    public ushort ConnectionId { get; private set; }
    public IscsiSession? Session { get; private set; }
    public OutputQueue Output { get; } = new();
    public DataInLayout DataInLayout { get; private set; }
    public MemoryAccount Memory => _memory;
    public Task Ended => _ended.Task;
    public bool IsOwnThread => Environment.CurrentManagedThreadId == _thread.ManagedThreadId;

    /// <summary>Whether the initiator has closed its end, noticed here or not. Any thread; only while the connection has not ended.</summary>
    public bool PeerHasClosed => _stream.PeerHasClosed;

    /// <summary>What the thread has allocated when it last looked for input: for the test that commands cost nothing.</summary>
    public long AllocatedBytes { get; private set; }

    public void Start() => _thread.Start();

    /// <summary>Makes the thread look around. Any thread.</summary>
    public void Wake()
    {
        Interlocked.Exchange(ref _lookAround, 1);
        if (Volatile.Read(ref _sleeping) != 0) _wake.Signal();
    }

    /// <summary>
    /// Ends the connection soon, for a reason that is logged. Its tasks end with it, unless the session recovers connections and
    /// <paramref name="endsTasks"/> is false. Any thread.
    /// </summary>
    public void Abort(string reason, bool endsTasks = true)
    {
        _endReason ??= reason;
        if (endsTasks) _endsTasks = true;
        _aborting = true;
        Wake();
    }

    /// <summary>Asks the initiator to log out, and ends the connection when it did or the time is over. Any thread.</summary>
    public void RequestLogout(int seconds)
    {
        _stopRequested = Math.Max(1, seconds);
        Wake();
    }

    /// <summary>A task that went on after its batch is done. Any thread.</summary>
    public void Completed(IscsiTask task)
    {
        lock (_completionGate)
        {
            if (!_abandoned) _completions.Add(task);
            else
            {
                // Nobody answers it any more.
                task.ReleaseData();
                task.UnitNexus!.Unit.Complete(task);
            }
        }
        if (Volatile.Read(ref _sleeping) != 0) _wake.Signal();
    }

    private void Run()
    {
        string reason = "closed";
        try
        {
            Loop();
            reason = _endReason ?? "closed by the initiator";
        }
        catch (IscsiProtocolException e)
        {
            reason = $"protocol error: {e.Message}";
            LogMessages.ProtocolError(_server.Log, Remote.ToString(), _negotiation.Parameters.InitiatorName, e.Message);
        }
        catch (LinuxException e)
        {
            reason = e.Message;
        }
        catch (Exception e)
        {
            reason = "internal fault";
            LogMessages.ConnectionCrashed(_server.Log, e, Remote.ToString());
        }
        finally
        {
            EndPolling();
            End(reason);
        }
    }

    private void Loop()
    {
        while (!_aborting)
        {
            BeginPolling();
            PollUnits();
            TakeCompletions();
            if (Volatile.Read(ref _lookAround) != 0 && Interlocked.Exchange(ref _lookAround, 0) != 0)
            {
                RunTimers();
                TakeAdopted();
            }
            if (_held.Count > 0) ServeHeldCommands();
            if (_waitingForCredit.Count > 0) SolicitWaiting();
            if (_pendingManagement.Count > 0) CheckTaskManagement();
            bool flushed = MayHoldBack() || Output.Flush(_stream);
            _outputBlocked = !flushed;
            _unflushed = 0;
            if (_closeAfterFlush && flushed)
            {
                _socket.Shutdown(SocketShutdown.Send);
                return;
            }
            bool wantsInput = !_closeAfterFlush && Output.Pending < _limits.MaxPendingOutputBytes;
            int received = wantsInput ? ReceiveMore() : -1;
            if (received == -1 && wantsInput && flushed && !_aborting) received = _spin.Look(_look);
            if (received == 0) return;
            if (received == HasCompleted) continue;
            if (received > 0)
            {
                _lastReceived = Stopwatch.GetTimestamp();
                _pingTag = 0;
                // A peer that never lets the thread sleep does not escape the timers.
                if (_lastReceived - _lastTimers > Stopwatch.Frequency) RunTimers();
                Parse();
                continue;
            }
            if (HasCompletions()) continue;
            EndPolling();
            Sleep(wantsInput, write: !flushed);
        }
    }

    private bool HasCompletions()
    {
        lock (_completionGate) return _completions.Count > 0;
    }

    private void Sleep(bool read, bool write)
    {
        // The flag goes up before the last look, so that whoever completes a task after that look signals.
        Interlocked.Exchange(ref _sleeping, 1);
        if (HasCompletions() || _aborting || Volatile.Read(ref _lookAround) != 0)
        {
            Volatile.Write(ref _sleeping, 0);
            return;
        }
        var seen = _stream.Wait(read, write, NextTimerMilliseconds());
        Volatile.Write(ref _sleeping, 0);
        if (seen == SocketReadiness.None) RunTimers();
    }

    private void TakeCompletions()
    {
        lock (_completionGate)
        {
            if (_completions.Count == 0) return;
            (_completions, _completionsInWork) = (_completionsInWork, _completions);
        }
        foreach (var task in _completionsInWork)
        {
            _executing--;
            task.IsExecuting = false;
            Respond(task, task.Result);
        }
        _completionsInWork.Clear();
        CheckTaskManagement();
    }

    private int NextTimerMilliseconds()
    {
        if (_pendingManagement.Count > 0) return 5;
        if (_waitingForCredit.Count > 0) return 20;
        if (_stopRequested != 0 || _closeDeadline != 0 || Session is null) return 200;
        return 1000;
    }

    private void RunTimers()
    {
        long now = _lastTimers = Stopwatch.GetTimestamp();
        AllocatedBytes = GC.GetAllocatedBytesForCurrentThread();
        double idle = Stopwatch.GetElapsedTime(_lastReceived, now).TotalSeconds;
        CheckTaskManagement();
        SweepAborted();
        RetryStalledBursts(now);
        if (_stopRequested != 0 && _closeDeadline == 0)
        {
            _closeDeadline = now + _stopRequested * Stopwatch.Frequency;
            if (IsFullFeature) SendAsyncLogoutRequest(_stopRequested);
            else Abort("the server stops");
        }
        if (_closeDeadline != 0 && now >= _closeDeadline && _executing == 0) Abort("the server stops");
        if (!IsFullFeature && Stopwatch.GetElapsedTime(_accepted, now).TotalSeconds > _limits.LoginTimeoutSeconds)
            Abort($"no login within {_limits.LoginTimeoutSeconds} s");
        if (!IsFullFeature || _limits.NopInIntervalSeconds == 0 || idle < _limits.NopInIntervalSeconds) return;
        if (_pingTag == 0) SendPing();
        else if (idle > _limits.NopInIntervalSeconds + _limits.NopInTimeoutSeconds) Abort($"no answer to NOP-In for {_limits.NopInTimeoutSeconds} s", endsTasks: false);
    }

    private void End(string reason)
    {
        var session = Session;
        bool keeps = session is { Parameters.ErrorRecoveryLevel: 2, Target: not null, IsClosed: false } && !_endsTasks;
        _socket.Dispose();
        Output.Discard();
        if (keeps)
        {
            BeginCustody(session!);
            session!.BeginCustody(this);
            _released.SetResult();
            LogMessages.TasksKept(_server.Log, session.Parameters.InitiatorName, Remote.ToString(), session.Custody.Of(this).Count, reason);
            KeepTasks(session);
        }
        EndTasks();
        bool last = session is not null && session.Remove(this);
        if (last) _server.SessionEnded(session!);
        _server.ConnectionEnded(this, reason);
        _memory.Close();
        _wake.Dispose();
        _released.TrySetResult();
        _ended.SetResult();
    }

    private void EndTasks()
    {
        foreach (var task in _tasks.Values.Where(t => !t.IsExecuting))
        {
            task.ReleaseData();
            task.UnitNexus!.Unit.Complete(task);
        }
        foreach (var unit in _tasks.Values.Where(t => t.IsExecuting).Select(t => t.UnitNexus!.Unit).Distinct().ToList())
            unit.TaskManager.ConnectionLost(c => c is IscsiTask { IsExecuting: true } task && task.Owner == this);
        _directTask?.ReleaseData();
        // Units still use the memory of executing tasks; one that does not end keeps that memory, and its blocks for itself.
        long deadline = Stopwatch.GetTimestamp() + Stopwatch.Frequency / 2;
        while (_executing > 0 && Stopwatch.GetTimestamp() < deadline)
        {
            lock (_completionGate)
            {
                _executing -= _completions.Count;
                foreach (var task in _completions)
                {
                    task.ReleaseData();
                    task.UnitNexus!.Unit.Complete(task);
                }
                _completions.Clear();
            }
            if (_executing == 0) break;
            Interlocked.Exchange(ref _sleeping, 1);
            _stream.Wait(false, false, 100);
        }
        lock (_completionGate) _abandoned = true;
    }
}
