using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using LunKit.Backstores;
using LunKit.Diagnostics;
using LunKit.Fabrics;
using LunKit.Hosting;
using LunKit.Iscsi.Login;
using LunKit.Iscsi.Pdus;
using LunKit.Iscsi.Sessions;
using LunKit.Linux;
using LunKit.LogicalUnits;
using LunKit.Targets;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace LunKit.Iscsi;

/// <summary>
/// The iSCSI fabric (RFC 7143): listens on its portals and serves targets to initiators. One thread listens per portal, one thread
/// serves each connection. Does not own the logical units. Thread safe.
/// </summary>
public sealed partial class IscsiServer : IFabric, ITargetDirectory
{
    // Connections beyond the limits that wait for their login, to be told why there is no room; each has a thread.
    private const int MaxRefused = 16;

    // For the unit of RunAsync.
    private static readonly TimeSpan s_closing = TimeSpan.FromSeconds(30);

    private readonly Lock _gate = new();
    private readonly List<(Socket Socket, int GroupTag)> _listeners = [];
    private readonly HashSet<IscsiConnection> _connections = [];
    private readonly HashSet<IscsiConnection> _refused = [];
    private volatile bool _stopping, _isDrained;

    /// <summary>Prepares a server; <see cref="Start"/> makes it listen.</summary>
    public IscsiServer(IscsiServerOptions options, ILogger? log = null)
    {
        Options = options;
        Log = log ?? NullLogger.Instance;
        Portals = options.Portals;
        Memory = new MemoryAccount(options.Limits.MaxOutstandingBytes);
        _ports = new TargetPorts(options.PortNumbers, options.Portals.Select(p => p.GroupTag));
        Sessions = new SessionTable(Log, _ports, target => _byName.GetValueOrDefault(target.Name) == target);
        foreach (var target in options.Targets) SetTarget(target);
    }

    /// <summary>What was asked for.</summary>
    public IscsiServerOptions Options { get; }

    /// <summary>The portals, with the ports that were really taken once the server has started.</summary>
    public IReadOnlyList<Portal> Portals { get; private set; }

    /// <summary>Sessions in full feature phase.</summary>
    public int SessionCount => Sessions.Count;

    /// <summary>Connections, in login or beyond.</summary>
    public int ConnectionCount
    {
        get
        {
            lock (_gate) return _connections.Count;
        }
    }

    internal ILogger Log { get; }

    internal SessionTable Sessions { get; }

    /// <summary>The time by which connections go; a simulation has its own.</summary>
    internal TimeProvider Clock { get; init; } = TimeProvider.System;

    /// <summary>What the commands of all connections hold.</summary>
    internal MemoryAccount Memory { get; }

    /// <summary>The large buffers of the connections.</summary>
    internal BufferPool Buffers { get; init; } = new();

    internal IReadOnlyList<IscsiConnection> Connections
    {
        get
        {
            lock (_gate) return [.. _connections];
        }
    }

    /// <summary>
    /// Takes the addresses of all portals or of none, and answers nobody yet: who does that first has not made or opened anything when another process
    /// has an address. Initiators that connect wait for <see cref="Start"/>. Throws <see cref="SocketException"/> when it cannot be taken.
    /// </summary>
    public void Bind()
    {
        if (!OperatingSystem.IsLinux()) throw new PlatformNotSupportedException("the iSCSI server uses Linux system calls (docs/decisions/0002)");
        var portals = new List<Portal>();
        try
        {
            foreach (var portal in Options.Portals)
            {
                var socket = new Socket(portal.EndPoint.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
                _listeners.Add((socket, portal.GroupTag));
                // The wildcard of IPv6 takes IPv4, too, unless that has a portal of its own there.
                if (portal.EndPoint.Address.Equals(IPAddress.IPv6Any))
                    socket.DualMode = !Options.Portals.Any(p => p.EndPoint.AddressFamily == AddressFamily.InterNetwork && p.EndPoint.Port == portal.EndPoint.Port);
                socket.Bind(portal.EndPoint);
                // Without that two processes may have the same address (SO_REUSEADDR).
                socket.Listen(512);
                portals.Add(portal with { EndPoint = (IPEndPoint)socket.LocalEndPoint! });
            }
        }
        catch (SocketException)
        {
            CloseListeners();
            throw;
        }
        Portals = portals;
    }

    /// <summary>Serves on all portals or on none. Throws <see cref="SocketException"/> when an address cannot be taken.</summary>
    public void Start()
    {
        if (_listeners.Count == 0) Bind();
        Preloading.Load(typeof(IscsiServer).Assembly);
        foreach (var (socket, group) in _listeners)
        {
            LogMessages.Listening(Log, socket.LocalEndPoint!.ToString()!, group);
            new Thread(() => Accept(socket, group)) { IsBackground = true, Name = $"iscsi accept {socket.LocalEndPoint}" }.Start();
        }
    }

    private void CloseListeners()
    {
        foreach (var (socket, _) in _listeners) socket.Dispose();
        _listeners.Clear();
    }

    /// <summary>Accepts until the server stops. Whatever fails costs the connection that it was for, and nothing else.</summary>
    private void Accept(Socket listener, int group)
    {
        var failures = new FailureReports(Clock);
        while (!_stopping)
        {
            Socket? socket = null;
            try
            {
                socket = listener.Accept();
                if (Room.Shortage(socket.Handle) is { } shortage) throw new IOException(shortage);
                socket.NoDelay = true;
                socket.Blocking = false;
                DoNotPaceLoopback(socket);
                Add(socket, group);
            }
            catch (Exception e)
            {
                socket?.Dispose();
                if (_stopping) return;
                // The peer was gone already, or threads, descriptors or memory have run out: they may be there again in a moment.
                bool isScarce = socket is not null || e is not SocketException { SocketErrorCode: SocketError.ConnectionAborted or SocketError.ConnectionReset };
                if (isScarce && failures.IsDue(out int more)) LogMessages.AcceptFailed(Log, ReasonOf(e), more);
                if (isScarce && !TryPause(listener)) return;
            }
        }
    }

    private static string ReasonOf(Exception e) => e is OutOfMemoryException ? "no memory, thread or descriptor is left for it" : e.Message;

    /// <summary>Waits a little; false when the listener is closed.</summary>
    private static bool TryPause(Socket listener)
    {
        try
        {
            listener.Poll(100_000, SelectMode.SelectError);
            return true;
        }
        catch (ObjectDisposedException)
        {
            return false;
        }
        catch (Exception e) when (e is SocketException or OutOfMemoryException)
        {
            // Without a pause, then.
            return true;
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
        // The local one stays as it is: it says which kind of portal the initiator has reached.
        var (remote, local) = (Plain((IPEndPoint)socket.RemoteEndPoint!), (IPEndPoint)socket.LocalEndPoint!);
        var stream = new StreamSocket(socket);
        IscsiConnection? connection = null;
        try
        {
            connection = Connect(stream, remote, local, group);
            if (connection is null) stream.Dispose();
            else StartThread(connection);
        }
        catch
        {
            // No thread or no memory for it.
            if (connection is not null) ConnectionEnded(connection, "there is no thread for it");
            stream.Dispose();
            throw;
        }
    }

    /// <summary>An IPv4 end point that came through an IPv6 socket, as IPv4.</summary>
    internal static IPEndPoint Plain(IPEndPoint point) => point.Address.IsIPv4MappedToIPv6 ? new IPEndPoint(point.Address.MapToIPv4(), point.Port) : point;

    /// <summary>Whether there is room for another connection; a test has less.</summary>
    internal ConnectionRoom Room { get; init; } = ConnectionRoom.OfProcess();

    /// <summary>Makes the thread of a connection; a test has one that fails.</summary>
    internal Action<IscsiConnection> StartThread { get; init; } = static connection => connection.Start();

    /// <summary>Makes a connection of a stream to an initiator. The caller makes it go on; null: it is refused, and the stream is the caller's.</summary>
    internal IscsiConnection? Connect(IByteStream stream, IPEndPoint remote, IPEndPoint local, int group)
    {
        lock (_gate)
        {
            if (_stopping) return null;
            string? refusal = _connections.Count >= Options.Limits.MaxConnections ? $"{Options.Limits.MaxConnections} connections are the limit"
                : _connections.Count(c => c.Remote.Address.Equals(remote.Address)) >= Options.Limits.MaxConnectionsPerAddress
                    ? $"{Options.Limits.MaxConnectionsPerAddress} connections per address are the limit" : null;
            if (refusal is not null) LogMessages.ConnectionRefused(Log, remote.ToString(), refusal);
            // Some may stay until they have been told so (0302); of a flood the others find the connection closed.
            var connections = refusal is null ? _connections : _refused;
            if (refusal is not null && _refused.Count >= MaxRefused) return null;
            var connection = new IscsiConnection(this, stream, remote, local, group, refusal);
            connections.Add(connection);
            return connection;
        }
    }

    IReadOnlyList<ChapCredential> ITargetDirectory.DiscoveryChap => Options.DiscoveryChap;

    internal void SessionEnded(IscsiSession session) => Sessions.End(session);

    internal void ConnectionEnded(IscsiConnection connection, string reason)
    {
        lock (_gate)
        {
            _connections.Remove(connection);
            _refused.Remove(connection);
        }
        LogMessages.ConnectionEnded(Log, connection.Session?.Parameters.InitiatorName ?? "an initiator that had not logged in", connection.Remote.ToString(), reason);
    }

    internal void CloseSessions(Target target, IscsiConnection except)
    {
        foreach (var session in Sessions.Of(target.Name)) session.Close("target cold reset", except);
    }

    /// <summary>
    /// Stops: no new connections, initiators are asked to log out, commands that run are finished, connections end. Returns when all
    /// have ended or their time is over.
    /// </summary>
    public async Task StopAsync()
    {
        StopAccepting();
        await DrainAsync().ConfigureAwait(false);
        foreach (var connection in AllConnections) connection.Abort("the server stops");
    }

    /// <inheritdoc/>
    public void StopAccepting()
    {
        _stopping = true;
        foreach (var (socket, _) in _listeners) socket.Dispose();
    }

    /// <inheritdoc/>
    public async Task DrainAsync()
    {
        _isDrained = true;
        var connections = AllConnections;
        foreach (var connection in connections) connection.RequestLogout(Options.Limits.LogoutTimeoutSeconds);
        var all = Task.WhenAll(connections.Select(c => c.Ended));
        var limit = TimeSpan.FromSeconds(Options.Limits.LogoutTimeoutSeconds + 10);
        await Task.WhenAny(all, Task.Delay(limit, Clock)).ConfigureAwait(false);
    }

    private List<IscsiConnection> AllConnections
    {
        get
        {
            lock (_gate) return [.. _connections, .. _refused];
        }
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
        log ??= StandardErrorLog.Instance;
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
        string? why = !await unit.CloseAsync(s_closing).ConfigureAwait(false) ? "its storage does not answer" : unit.ClosingFailure?.Message;
        if (why is not null) throw new IOException($"{iqn}: acknowledged writes may be lost: {why}", unit.ClosingFailure);
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        StopAccepting();
        // Who does not go has had his time.
        if (!_isDrained) await DrainAsync().ConfigureAwait(false);
        foreach (var connection in AllConnections) connection.Abort("the server stops");
    }
}
