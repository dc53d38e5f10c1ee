using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using LunKit.Backstores;
using LunKit.Iscsi.Login;
using LunKit.Iscsi.Pdus;
using LunKit.Iscsi.Sessions;
using LunKit.LogicalUnits;
using LunKit.Targets;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace LunKit.Iscsi;

/// <summary>
/// The iSCSI fabric (RFC 7143): listens on its portals and serves targets to initiators. One thread listens per portal, one thread
/// serves each connection. Does not own the logical units. Thread safe.
/// </summary>
public sealed partial class IscsiServer : IAsyncDisposable, ITargetDirectory
{
    private const int KeptReceiveBuffers = 64;
    private static readonly TimeSpan s_reinstatement = TimeSpan.FromSeconds(10), s_closing = TimeSpan.FromSeconds(1);

    private readonly Lock _gate = new();
    private readonly List<(Socket Socket, int GroupTag)> _listeners = [];
    private readonly HashSet<IscsiConnection> _connections = [];
    private readonly List<IscsiSession> _sessions = [];
    private readonly ConcurrentBag<ReceiveBuffer> _buffers = [];
    private ushort _lastTsih;
    private volatile bool _stopping;

    /// <summary>Prepares a server; <see cref="Start"/> makes it listen.</summary>
    public IscsiServer(IscsiServerOptions options, ILogger? log = null)
    {
        Options = options;
        Log = log ?? NullLogger.Instance;
        Portals = options.Portals;
        Memory = new MemoryAccount(options.Limits.MaxOutstandingBytes);
        foreach (var target in options.Targets) SetTarget(target);
    }

    /// <summary>What was asked for.</summary>
    public IscsiServerOptions Options { get; }

    /// <summary>The portals, with the ports that were really taken once the server has started.</summary>
    public IReadOnlyList<Portal> Portals { get; private set; }

    /// <summary>Sessions in full feature phase.</summary>
    public int SessionCount
    {
        get
        {
            lock (_gate) return _sessions.Count;
        }
    }

    /// <summary>Connections, in login or beyond.</summary>
    public int ConnectionCount
    {
        get
        {
            lock (_gate) return _connections.Count;
        }
    }

    internal ILogger Log { get; }

    /// <summary>What the commands of all connections hold.</summary>
    internal MemoryAccount Memory { get; }

    internal IReadOnlyList<IscsiConnection> Connections
    {
        get
        {
            lock (_gate) return [.. _connections];
        }
    }

    /// <summary>Listens on all portals or on none. Throws <see cref="SocketException"/> when an address cannot be taken.</summary>
    public void Start()
    {
        if (!OperatingSystem.IsLinux()) throw new PlatformNotSupportedException("the iSCSI server uses Linux system calls (docs/decisions/0002)");
        var portals = new List<Portal>();
        try
        {
            foreach (var portal in Options.Portals)
            {
                var socket = new Socket(portal.EndPoint.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
                _listeners.Add((socket, portal.GroupTag));
                socket.Bind(portal.EndPoint);
                socket.Listen(512);
                portals.Add(portal with { EndPoint = (IPEndPoint)socket.LocalEndPoint! });
            }
        }
        catch (SocketException)
        {
            foreach (var (socket, _) in _listeners) socket.Dispose();
            throw;
        }
        Portals = portals;
        foreach (var (socket, group) in _listeners)
        {
            LogMessages.Listening(Log, socket.LocalEndPoint!.ToString()!, group);
            new Thread(() => Accept(socket, group)) { IsBackground = true, Name = $"iscsi accept {socket.LocalEndPoint}" }.Start();
        }
    }

    private void Accept(Socket listener, int group)
    {
        while (!_stopping)
        {
            Socket? socket = null;
            try
            {
                socket = listener.Accept();
                socket.NoDelay = true;
                socket.Blocking = false;
                DoNotPaceLoopback(socket);
                Add(socket, group);
            }
            catch (Exception e) when (e is SocketException or ObjectDisposedException or InvalidCastException or IOException)
            {
                socket?.Dispose();
                // Out of descriptors, or the peer was gone already: the next one may do better.
                if (!_stopping && e is SocketException { SocketErrorCode: SocketError.TooManyOpenSockets }) listener.Poll(100_000, SelectMode.SelectError);
            }
        }
    }

    /// <summary>
    /// Between two sockets of one machine there is no congestion, and an algorithm that paces (BBR) only adds timers and wake-ups.
    /// Elsewhere the administrator's choice stands.
    /// </summary>
    private static void DoNotPaceLoopback(Socket socket)
    {
        const int Tcp = 6, Congestion = 13;
        var (remote, local) = ((IPEndPoint)socket.RemoteEndPoint!, (IPEndPoint)socket.LocalEndPoint!);
        if (!remote.Address.Equals(local.Address)) return;
        try
        {
            // Every kernel has it, and lets everybody choose it.
            socket.SetRawSocketOption(Tcp, Congestion, "reno"u8);
        }
        catch (SocketException)
        {
            // Slower, not wrong.
        }
    }

    private void Add(Socket socket, int group)
    {
        var remote = (IPEndPoint)socket.RemoteEndPoint!;
        IscsiConnection connection;
        lock (_gate)
        {
            string? refusal = _stopping ? "the server stops"
                : _connections.Count >= Options.Limits.MaxConnections ? $"{Options.Limits.MaxConnections} connections are the limit"
                : _connections.Count(c => c.Remote.Address.Equals(remote.Address)) >= Options.Limits.MaxConnectionsPerAddress
                    ? $"{Options.Limits.MaxConnectionsPerAddress} connections per address are the limit" : null;
            if (refusal is not null)
            {
                LogMessages.ConnectionRefused(Log, remote.ToString(), refusal);
                socket.Dispose();
                return;
            }
            connection = new IscsiConnection(this, socket, group);
            _connections.Add(connection);
        }
        connection.Start();
    }

    IReadOnlyList<ChapCredential> ITargetDirectory.DiscoveryChap => Options.DiscoveryChap;

    /// <summary>
    /// Gives a connection that has logged in its place: a new session, which replaces an older one of the same initiator port
    /// (RFC 7143 6.3.5), or one in an existing session. Called by the connection's thread.
    /// </summary>
    internal (LoginStatus Status, IscsiSession? Session, string Reason) Admit(
        IscsiConnection connection, LoginNegotiation login, ulong isid, ushort tsih, uint cmdSn)
    {
        IscsiSession? existing;
        lock (_gate)
        {
            existing = _sessions.Find(s => s.Isid == isid && s.GroupTag == connection.GroupTag && s.Target?.Name == login.Target?.Name &&
                string.Equals(s.Parameters.InitiatorName, login.Parameters.InitiatorName, StringComparison.OrdinalIgnoreCase));
        }
        if (tsih != 0)
        {
            if (existing is null || existing.Tsih != tsih) return (LoginStatus.SessionDoesNotExist, null, $"no session {tsih}");
            // The same connection id again: the old connection is dead to the initiator (connection reinstatement, RFC 7143 6.3.4).
            foreach (var old in existing.Connections.Concat(existing.Keepers).Where(c => c.ConnectionId == connection.ConnectionId))
            {
                old.LogOutForRecovery("reinstated");
                if (!old.Released.Wait(s_reinstatement)) return (LoginStatus.ServiceUnavailable, null, "the old connection does not end");
            }
            return existing.TryAdd(connection)
                ? (LoginStatus.Success, existing, "")
                : (LoginStatus.TooManyConnections, null, "the session has as many connections as were agreed on");
        }
        if (existing is not null)
        {
            LogMessages.SessionReinstated(Log, existing.Tsih, login.Parameters.InitiatorName);
            // The old session's commands have ended before the new one begins: no late write of theirs lands on top.
            existing.Close("session reinstatement");
            foreach (var old in existing.Connections.Concat(existing.Keepers))
                if (!old.Ended.Wait(s_reinstatement)) return (LoginStatus.ServiceUnavailable, null, "the old session does not end");
        }
        AwaitClosed(connection, login.Parameters.InitiatorName);
        lock (_gate)
        {
            do _lastTsih++;
            while (_lastTsih == 0 || _sessions.Exists(s => s.Tsih == _lastTsih));
            // The target may have changed since the login began.
            if (login.Target is { } asked && Targets.FirstOrDefault(t => IsNamed(t, asked.Name)) != asked)
                return (LoginStatus.ServiceUnavailable, null, $"{asked.Name} has just been changed");
            var session = new IscsiSession(login.Parameters, login.Target, login.Acl, isid, _lastTsih, connection.GroupTag, cmdSn, Options.Limits.QueueDepth);
            session.TryAdd(connection);
            _sessions.Add(session);
            return (LoginStatus.Success, session, "");
        }
    }

    /// <summary>
    /// An initiator that has just closed a connection and comes back finds its old nexus gone, with what it held: the old connection's thread may
    /// only not have noticed yet.
    /// </summary>
    private void AwaitClosed(IscsiConnection connection, string initiatorName)
    {
        List<IscsiConnection> closed;
        lock (_gate)
        {
            closed = [.. _connections.Where(c => c != connection && c.Session is { Parameters.ErrorRecoveryLevel: < 2 } session &&
                string.Equals(session.Parameters.InitiatorName, initiatorName, StringComparison.OrdinalIgnoreCase) && c.PeerHasClosed)];
        }
        foreach (var old in closed) old.Ended.Wait(s_closing);
    }

    internal void SessionEnded(IscsiSession session)
    {
        lock (_gate) _sessions.Remove(session);
        session.Nexus.Close();
    }

    internal void ConnectionEnded(IscsiConnection connection, string reason)
    {
        lock (_gate) _connections.Remove(connection);
        LogMessages.ConnectionEnded(Log, connection.Session?.Parameters.InitiatorName ?? "", connection.Remote.ToString(), reason);
    }

    /// <summary>Makes every connection look around: tasks of theirs may have been aborted.</summary>
    internal void WakeAll()
    {
        lock (_gate)
            foreach (var connection in _connections) connection.Wake();
    }

    internal void CloseSessions(Target target, IscsiConnection except)
    {
        lock (_gate)
        {
            foreach (var session in SessionsOf(target.Name)) session.Close("target cold reset", except);
        }
    }

    internal ReceiveBuffer RentReceiveBuffer()
    {
        if (!_buffers.TryTake(out var buffer)) return new ReceiveBuffer();
        buffer.Reuse();
        return buffer;
    }

    internal void ReturnReceiveBuffer(ReceiveBuffer buffer)
    {
        if (_buffers.Count < KeptReceiveBuffers) _buffers.Add(buffer);
    }

    /// <summary>
    /// Stops: no new connections, initiators are asked to log out, commands that run are finished, connections end. Returns when all
    /// have ended or their time is over.
    /// </summary>
    public async Task StopAsync()
    {
        _stopping = true;
        foreach (var (socket, _) in _listeners) socket.Dispose();
        List<IscsiConnection> connections;
        lock (_gate) connections = [.. _connections];
        foreach (var connection in connections) connection.RequestLogout(Options.Limits.LogoutTimeoutSeconds);
        var all = Task.WhenAll(connections.Select(c => c.Ended));
        var limit = TimeSpan.FromSeconds(Options.Limits.LogoutTimeoutSeconds + 10);
        await Task.WhenAny(all, Task.Delay(limit)).ConfigureAwait(false);
        foreach (var connection in connections) connection.Abort("the server stops");
    }

    /// <summary>
    /// Serves one backstore as LUN 0 of a target until Ctrl-C, SIGTERM or cancellation: all that a program which is a disk needs.
    /// Disposes the backstore.
    /// </summary>
    /// <param name="backstore">The disk.</param>
    /// <param name="iqn">iSCSI name of the target.</param>
    /// <param name="port">TCP port on the loopback address; 0 takes a free one.</param>
    /// <param name="log">Where to log; warnings and errors to standard error if null.</param>
    /// <param name="cancellationToken">Stops serving.</param>
    public static async Task RunAsync(
        IBackstore backstore, string iqn, int port = 3260, ILogger? log = null, CancellationToken cancellationToken = default)
    {
        log ??= new ErrorLog(null);
        var stop = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        void Stop(PosixSignalContext context) => context.Cancel = stop.TrySetResult();
        using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Stop);
        using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Stop);
        using var cancel = cancellationToken.Register(() => stop.TrySetResult());
        var unit = new BlockUnit(backstore, iqn, new VolatileUnitState(UnitIdentity.IdOf(iqn)), null, log);
        await using var unitScope = unit.ConfigureAwait(false);
        var server = new IscsiServer(new IscsiServerOptions
        {
            Portals = [new Portal(new IPEndPoint(IPAddress.Loopback, port))],
            Targets = [new Target { Name = iqn, Luns = new Dictionary<int, LogicalUnit> { [0] = unit } }],
        }, log);
        await using var serverScope = server.ConfigureAwait(false);
        server.Start();
        Console.WriteLine($"{iqn} is served at iscsi://{server.Portals[0].EndPoint}/{iqn}/0 (Ctrl-C stops)");
        await stop.Task.ConfigureAwait(false);
        await server.StopAsync().ConfigureAwait(false);
        await unit.FlushAsync().ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync() => await StopAsync().ConfigureAwait(false);
}
