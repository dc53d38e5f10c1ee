using System.Net;
using LunKit.Fabrics;
using LunKit.Iscsi.Pdus;
using LunKit.Linux;

namespace LunKit.Iscsi.Sessions;

/// <summary>
/// One connection of an initiator: receives a batch of PDUs, executes what needs no waiting, sends all answers at once. It goes on by
/// <see cref="Step"/>, which never waits: <see cref="Start"/> makes a thread that steps and sleeps in between, a simulation steps
/// itself. The thread that steps owns everything of the connection; others only <see cref="Wake"/> it and hand it completed tasks.
/// </summary>
internal sealed class IscsiConnection
{
    // Keeping: it is gone for the network, and looks after its tasks (error recovery level 2).
    private enum Stage { Serving, Keeping, Ended }

    // What a look found instead of bytes: a task that another thread completed.
    private const int HasCompleted = -2;

    // How often a login looks whether what it replaces has ended.
    private const int LoginPollMilliseconds = 5;

    private readonly IByteStream _stream;
    private readonly OutputQueue _output;
    private readonly PduSender _sender;
    private readonly PduReceiver _receiver;
    private readonly LoginPhase _login;
    private readonly ConnectionTimers _timers;
    private readonly SpinBudget _spin = new();
    private readonly Func<int> _look;
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _released = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private volatile FullFeaturePhase? _phase;
    private volatile IscsiSession? _session;
    private int _sleeping;
    private int _lookAround;
    private volatile bool _aborting;
    private volatile bool _endsTasks;
    private volatile string? _endReason;
    private volatile int _stopRequested;
    private volatile int _ownThread;
    private readonly FinalSteps _leaving, _ending;
    private Exception? _fault;
    private Stage _stage;
    private string _reason = "closed";
    private bool _wantsInput = true;
    private bool _wantsOutput;
    private uint _nextTransferTag = 1;

    public IscsiConnection(IscsiServer server, IByteStream stream, IPEndPoint remote, IPEndPoint local, int groupTag, string? refusal = null)
    {
        Refusal = refusal;
        Server = server;
        Limits = server.Options.Limits;
        Clock = server.Clock;
        Memory = new MemoryAccount(Limits.MaxOutstandingBytesPerConnection, server.Memory);
        Remote = remote;
        Local = local;
        GroupTag = groupTag;
        LastReceived = Clock.GetTimestamp();
        Since = Clock.GetUtcNow();
        _timers = new ConnectionTimers(this);
        _stream = stream;
        _output = new OutputQueue(server.Buffers);
        _sender = new PduSender(_output, server.Log, remote);
        _receiver = new PduReceiver(this, stream, _output);
        _login = new LoginPhase(this, _sender, _receiver);
        _leaving = new FinalSteps(LogFault, _stream.Close, _receiver.Disconnect, _output.Discard, () => _phase?.Disconnect(), () => _session?.Nexus.Unheard(), KeepTasks);
        _ending = new FinalSteps(
            LogFault, _login.Abandon, _receiver.Close, _output.Close, () => _phase?.Tasks.Abandon(), () => _phase?.Custody?.Leave(), () => _phase?.Kept?.Close(),
            LeaveSession,
            () => Server.ConnectionEnded(this, _reason), _stream.Dispose, () => _released.TrySetResult(), () => _ended.TrySetResult());
        _look = () => _phase?.Tasks.PollAgain() == true ? HasCompleted : _receiver.Receive();
    }

    /// <summary>Why there is no room for it: its login is answered so; null when there is.</summary>
    public string? Refusal { get; }

    public IscsiServer Server { get; }
    public IscsiLimits Limits { get; }
    public TimeProvider Clock { get; }
    public MemoryAccount Memory { get; }
    public IPEndPoint Remote { get; }
    public IPEndPoint Local { get; }
    public int GroupTag { get; }
    public ushort ConnectionId { get; set; }

    /// <summary>The session that it has logged in to, or null. Any thread.</summary>
    public IscsiSession? Session => _session;

    /// <summary>When it was accepted.</summary>
    public DateTimeOffset Since { get; }

    /// <summary>When bytes came last.</summary>
    public long LastReceived { get; private set; }

    /// <summary>Completes when nothing of the connection is left.</summary>
    public Task Ended => _ended.Task;

    /// <summary>Completes when the connection is gone for the network: it has ended, or only keeps tasks.</summary>
    public Task Released => _released.Task;

    public bool IsOwnThread => Environment.CurrentManagedThreadId == _ownThread;

    /// <summary>The thread that steps. A simulation, whose threads are all one, takes it away while something else runs.</summary>
    public int OwnThread { get => _ownThread; set => _ownThread = value; }

    /// <summary>
    /// Whether the initiator has closed its end, noticed here or not. Any thread; only while the connection has not ended.
    /// </summary>
    public bool PeerHasClosed => _stream.PeerHasClosed;

    /// <summary>Whether the initiator knows that the connection is lost, so that its tasks may be reassigned.</summary>
    public bool IsLoggedOutForRecovery { get; private set; }

    /// <summary>No more PDUs are served: what is queued is still sent.</summary>
    public bool IsClosing { get; private set; }

    /// <summary>Whether the server stops.</summary>
    public bool IsStopping => _stopRequested != 0;

    /// <summary>Seconds that the initiator has to log out because the server stops; 0 when it does not.</summary>
    public int StopSeconds => _stopRequested;

    /// <summary>What the thread has allocated when it ran its timers last: for the test that commands cost nothing.</summary>
    public long AllocatedBytes => _timers.AllocatedBytes;

    /// <summary>Makes a thread that serves the connection.</summary>
    public void Start() => new Thread(Run, maxStackSize: 512 * 1024) { IsBackground = true, Name = $"iscsi {Remote}" }.Start();

    /// <summary>Makes the thread look around. Any thread.</summary>
    public void Wake()
    {
        Interlocked.Exchange(ref _lookAround, 1);
        if (Volatile.Read(ref _sleeping) != 0) _stream.Signal();
    }

    /// <summary>A task has been completed, after a full fence. Any thread.</summary>
    public void WakeForCompletion()
    {
        if (Volatile.Read(ref _sleeping) != 0) _stream.Signal();
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

    /// <summary>The initiator has given the connection up, by a logout or by logging in with its identifier again. Any thread.</summary>
    public void LogOutForRecovery(string reason)
    {
        IsLoggedOutForRecovery = true;
        Abort(reason, endsTasks: false);
    }

    /// <summary>Asks the initiator to log out, and ends the connection when it did or the time is over. Any thread.</summary>
    public void RequestLogout(int seconds)
    {
        _stopRequested = Math.Max(1, seconds);
        Wake();
    }

    /// <summary>Ends the connection when all that is queued has been sent.</summary>
    public void CloseWhenFlushed(string reason, bool endsTasks)
    {
        _endReason ??= reason;
        _endsTasks = endsTasks;
        IsClosing = true;
    }

    /// <summary>The same after a logout for recovery: the tasks stay.</summary>
    public void CloseForRecovery(string reason)
    {
        IsLoggedOutForRecovery = true;
        CloseWhenFlushed(reason, endsTasks: false);
    }

    /// <summary>The server has given the connection its place in a session.</summary>
    public void Join(IscsiSession session) => _session = session;

    public void HandleLogin(Bhs header, ReadOnlySpan<byte> data) => _phase = _login.Handle(header, data);

    /// <summary>What was queued for sending so far. Any thread.</summary>
    public long QueuedBytes => _output.Queued;

    /// <summary>
    /// Whether the socket has, or nobody will get, what was queued when <see cref="QueuedBytes"/> was <paramref name="mark"/>. Any
    /// thread.
    /// </summary>
    public bool HasSent(long mark) => _output.HasSent(mark);

    /// <summary>Whether answers of tasks that it has taken over are not queued yet. Any thread.</summary>
    public bool OwesAnswers => _phase?.Custody?.HasAdopted == true;

    /// <summary>Whether the response to a task waits to be acknowledged here. Any thread.</summary>
    public bool Holds(uint tag) => _sender.Holds(tag);

    /// <summary>
    /// Hands over a task of another connection whose execution has ended. Any thread; false when this one has ended itself.
    /// </summary>
    public bool Deliver(KeptTask task) => _phase?.Custody?.Deliver(task) == true;

    public uint NewTransferTag() => _nextTransferTag++ == Bhs.ReservedTag ? _nextTransferTag++ : _nextTransferTag - 1;

    private void Run()
    {
        while (_stage != Stage.Ended) Turn(spins: true);
    }

    /// <summary>
    /// Does what can be done without waiting; false when that was nothing: the next step has something to do when bytes come,
    /// somebody calls <see cref="Wake"/>, a task is completed, or <see cref="NextTimer"/> has passed. One thread at a time.
    /// </summary>
    public bool Step()
    {
        Volatile.Write(ref _sleeping, 0);
        return Turn(spins: false) || !TryRest();
    }

    /// <summary>Whether bytes that come give the next step something to do.</summary>
    public bool WantsInput => _stage == Stage.Serving && _wantsInput;

    /// <summary>Whether room for bytes to send gives the next step something to do.</summary>
    public bool WantsOutput => _stage == Stage.Serving && _wantsOutput;

    /// <summary>Whether another thread has left something to do. At rest this is so only when the stream has been signalled.</summary>
    public bool HasUnseenWork => _stage != Stage.Ended && _phase?.Tasks.HaveCompleted == true ||
        _stage == Stage.Serving && (_aborting || Volatile.Read(ref _lookAround) != 0);

    /// <summary>Whether it is the turn of a command that is held here.</summary>
    public bool HoldsTurn => _stage == Stage.Serving && _phase?.HoldsTurn == true;

    /// <summary>Whether nothing is left to be done.</summary>
    public bool HasEnded => _stage == Stage.Ended;

    private bool Turn(bool spins)
    {
        _ownThread = Environment.CurrentManagedThreadId;
        try
        {
            bool any = _stage switch { Stage.Serving => Serve(spins), Stage.Keeping => Keep(), _ => false };
            if (!any && spins) Sleep();
            return any;
        }
        catch (Exception e)
        {
            Finish(e is IscsiProtocolException ? $"protocol error: {e.Message}" : e is IOException or OutOfMemoryException ? e.Message : "internal fault", e);
        }
        return true;
    }

    private bool Serve(bool spins)
    {
        if (_aborting)
        {
            Finish(_endReason ?? "closed by the initiator");
            return true;
        }
        bool any = false;
        if (_phase is { } phase) any = phase.Tasks.Poll() | phase.Turn();
        else if (_login.IsWaiting) any = (_phase = _login.Continue()) is not null;
        if (Volatile.Read(ref _lookAround) != 0 && Interlocked.Exchange(ref _lookAround, 0) != 0)
        {
            _timers.Run(Clock.GetTimestamp(), _phase);
            any = true;
        }
        int pending = _output.Pending;
        bool flushed = _receiver.Flush(IsClosing);
        any |= _output.Pending != pending;
        _wantsOutput = !flushed;
        if (IsClosing && flushed)
        {
            _stream.ShutdownSend();
            Finish(_endReason ?? "closed");
            return true;
        }
        bool hasRoom = !IsClosing && _output.Pending < Limits.MaxPendingOutputBytes;
        if (hasRoom && _receiver.IsStalled)
        {
            // What is here already comes before what may come, and need not be followed by anything.
            int waiting = _output.Pending;
            _receiver.Parse();
            if (!_receiver.IsStalled || _output.Pending != waiting) return true;
        }
        _wantsInput = hasRoom && !_receiver.IsStalled;
        int received = _wantsInput ? _receiver.Receive() : PduReceiver.Nothing;
        if (received == PduReceiver.Nothing && spins && _wantsInput && flushed && !_aborting) received = _spin.Look(_look);
        if (received == 0)
        {
            Finish(_endReason ?? "closed by the initiator");
            return true;
        }
        if (received == HasCompleted) return true;
        long now = Clock.GetTimestamp();
        if (received > 0)
        {
            LastReceived = now;
            _timers.Received(now, _phase);
            _receiver.Parse();
            return true;
        }
        if (_timers.RunDue(now, _phase)) return true;
        // One that spins has looked again already, at all that can change.
        return any && !spins;
    }

    /// <summary>How long a step that had nothing to do may be followed by none.</summary>
    public TimeSpan NextTimer => TimeSpan.FromMilliseconds(_stage != Stage.Serving ? 100 : _login.IsWaiting ? LoginPollMilliseconds : _timers.Left(_phase));

    private void Sleep()
    {
        if (_stage == Stage.Ended) return;
        if (TryRest()) _stream.Wait(WantsInput, WantsOutput, (int)NextTimer.TotalMilliseconds);
        Volatile.Write(ref _sleeping, 0);
    }

    /// <summary>From here on the stream is signalled when there is something to do; false: there is already.</summary>
    private bool TryRest()
    {
        _phase?.Tasks.EndPolling();
        // The flag goes up before the last look, so that whoever completes a task after that look signals.
        Interlocked.Exchange(ref _sleeping, 1);
        return !HasUnseenWork;
    }

    /// <summary>The connection is gone for the network. Its tasks end, or wait for another connection. Never throws.</summary>
    private void Finish(string reason, Exception? fault = null)
    {
        _fault = fault;
        // Else it is a fault while it kept tasks: they are given up.
        if (_stage == Stage.Serving)
        {
            _reason = reason;
            _leaving.Run(Log);
            if (_stage == Stage.Keeping) return;
        }
        Complete();
    }

    private void KeepTasks()
    {
        if (_phase is not { Custody: { } custody } phase || _endsTasks || phase.Session is not { Target: not null, IsClosed: false } session) return;
        custody.Begin();
        session.BeginCustody(this);
        _stage = Stage.Keeping;
        _released.TrySetResult();
        LogMessages.TasksKept(Server.Log, session.Parameters.InitiatorName, Remote.ToString(), custody.Count, _reason);
    }

    private bool Keep()
    {
        if (_phase is not { Custody: { } custody }) return false;
        int before = custody.Count;
        if (!custody.IsOver()) return custody.Count != before;
        custody.End();
        Complete();
        return true;
    }

    /// <summary>Nothing is left to be done but what units still execute, which gives its memory back by itself.</summary>
    private void Complete()
    {
        if (_stage == Stage.Ended) return;
        _stage = Stage.Ended;
        _ending.Run(Log);
    }

    private void LeaveSession()
    {
        if (_session is { } session && session.Remove(this)) Server.SessionEnded(session);
    }

    private void LogFault()
    {
        if (_fault is { } fault) Log(fault);
        _fault = null;
    }

    private void Log(Exception fault)
    {
        if (fault is IscsiProtocolException) LogMessages.ProtocolError(Server.Log, Remote.ToString(), _login.InitiatorName, fault.Message);
        else if (fault is not (IOException or OutOfMemoryException)) LogMessages.ConnectionCrashed(Server.Log, fault, Remote.ToString());
    }
}
