using System.Diagnostics;
using LunKit.Iscsi.Login;
using LunKit.Iscsi.Pdus;
using LunKit.Targets;
using Microsoft.Extensions.Logging;

namespace LunKit.Iscsi.Sessions;

/// <summary>What became of a login that wants its place in a session.</summary>
/// <param name="Status">Status of the Login Response.</param>
/// <param name="Session">The session, if it succeeded.</param>
/// <param name="Reason">Why it did not, for the log.</param>
internal readonly record struct SessionPlace(LoginStatus Status, IscsiSession? Session, string Reason = "");

/// <summary>
/// The sessions of a server: gives each login its place, hands out session handles (TSIH), and takes care that an I_T nexus (initiator
/// name, ISID, target, portal group) never has two sessions. A login may have to wait until an old connection has ended; it does so on
/// its own thread, without the lock, for <see cref="Patience"/> at most. Thread safe.
/// </summary>
/// <param name="log">Where to log.</param>
/// <param name="isCurrent">Whether a target is still defined as a login found it; called under the lock.</param>
internal sealed class SessionTable(ILogger log, Func<Target, bool> isCurrent)
{
    /// <summary>
    /// How long a login waits for what it replaces. Initiators try again, and the thread of the login has nothing else to do.
    /// </summary>
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(2);

    private static readonly TimeSpan s_closing = TimeSpan.FromSeconds(1);

    /// <summary>The two ports of a nexus, with names in lower case; a discovery session has no target.</summary>
    private readonly record struct NexusKey(string Initiator, ulong Isid, string Target, int GroupTag);

    // A monitor, because logins wait on it for the end of a session.
    private readonly object _gate = new();
    private readonly Dictionary<NexusKey, IscsiSession> _sessions = [];
    private readonly HashSet<ushort> _handles = [];

    // The login that has asked last for a nexus whose session is not there yet. It alone may create it.
    private readonly Dictionary<NexusKey, IscsiConnection> _claims = [];
    private ushort _lastHandle;

    /// <summary>Sessions in full feature phase.</summary>
    public int Count
    {
        get
        {
            lock (_gate) return _sessions.Count;
        }
    }

    /// <summary>The sessions of a target, at this moment.</summary>
    public IReadOnlyList<IscsiSession> Of(string targetName)
    {
        string folded = targetName.ToLowerInvariant();
        lock (_gate) return [.. _sessions.Where(s => s.Key.Target == folded).Select(s => s.Value)];
    }

    /// <summary>
    /// Gives a connection that has logged in its place: with TSIH 0 a new session, which replaces an older one of the same nexus (session
    /// reinstatement, RFC 7143 6.3.5), else one in the session of that handle, where it replaces a connection of the same CID (connection
    /// reinstatement, 6.3.4). Success means that nothing of what was replaced is left. Called by the connection's thread.
    /// </summary>
    public SessionPlace Admit(IscsiConnection connection, LoginNegotiation login, ulong isid, ushort tsih, uint cmdSn, int queueDepth)
    {
        var key = new NexusKey(login.Parameters.InitiatorName, isid, login.Target?.Name.ToLowerInvariant() ?? "", connection.GroupTag);
        long deadline = Stopwatch.GetTimestamp() + (long)(Patience.TotalSeconds * Stopwatch.Frequency);
        if (tsih != 0) return Join(connection, login, key, tsih, deadline);
        AwaitClosed(connection, key.Initiator, deadline);
        lock (_gate)
        {
            // Not a refusal for good: it may be the same host under a new user, whose old session has not been found dead yet.
            if (_sessions.TryGetValue(key, out var old) && IsOfAnother(old, login))
                return Unavailable("another CHAP user has a session of this name and ISID");
            // From here on an earlier login that still waits has lost: the later one replaces it.
            _claims[key] = connection;
            Monitor.PulseAll(_gate);
        }
        try
        {
            EndOldSession(key, login);
            return Create(connection, login, key, cmdSn, queueDepth, deadline);
        }
        finally
        {
            lock (_gate)
                if (_claims.GetValueOrDefault(key) == connection) _claims.Remove(key);
        }
    }

    /// <summary>The last connection of a session has ended: closes its nexus, and only then makes room for the next session.</summary>
    public void End(IscsiSession session)
    {
        session.Nexus.Close();
        lock (_gate)
        {
            foreach (var (key, held) in _sessions)
            {
                if (held != session) continue;
                _sessions.Remove(key);
                _handles.Remove(session.Tsih);
                break;
            }
            Monitor.PulseAll(_gate);
        }
    }

    /// <summary>
    /// Whether a session belongs to another CHAP user than the one of a login, so that its name proves nothing. A user that may no
    /// longer log in has no claim: credentials change while sessions live.
    /// </summary>
    private static bool IsOfAnother(IscsiSession session, LoginNegotiation login) => session.User != login.User && login.Accepts(session.User);

    private void EndOldSession(NexusKey key, LoginNegotiation login)
    {
        IscsiSession? old;
        lock (_gate) old = _sessions.GetValueOrDefault(key);
        if (old is null) return;
        LogMessages.SessionReinstated(log, old.Tsih, login.Parameters.InitiatorName);
        old.Close("session reinstatement");
    }

    private SessionPlace Create(IscsiConnection connection, LoginNegotiation login, NexusKey key, uint cmdSn, int queueDepth, long deadline)
    {
        lock (_gate)
        {
            while (_claims.GetValueOrDefault(key) == connection && _sessions.ContainsKey(key))
                if (Left(deadline) is var left && (left <= TimeSpan.Zero || !Monitor.Wait(_gate, left))) break;
            if (_claims.GetValueOrDefault(key) != connection) return Unavailable("a later login of the same name and ISID came first");
            if (_sessions.ContainsKey(key)) return Unavailable("the old session does not end");
            // The target may have changed since the login began.
            if (login.Target is { } target && !isCurrent(target)) return Unavailable($"{target.Name} has just been changed");
            if (_handles.Count == ushort.MaxValue) return new(LoginStatus.OutOfResources, null, "all session handles are in use");
            do _lastHandle++;
            while (_lastHandle == 0 || _handles.Contains(_lastHandle));
            var session = new IscsiSession(
                login.Parameters, login.Target, login.Acl, key.Isid, _lastHandle, key.GroupTag, cmdSn, queueDepth, login.User);
            session.Start(connection);
            _sessions.Add(key, session);
            _handles.Add(_lastHandle);
            return new(LoginStatus.Success, session);
        }
    }

    private SessionPlace Join(IscsiConnection connection, LoginNegotiation login, NexusKey key, ushort tsih, long deadline)
    {
        IscsiSession? session;
        IReadOnlyList<IscsiConnection> replaced;
        lock (_gate)
        {
            if (!_sessions.TryGetValue(key, out session) || session.Tsih != tsih)
                return new(LoginStatus.SessionDoesNotExist, null, $"no session {tsih} of this initiator port");
            if (session.User != login.User) return new(LoginStatus.AuthorizationFailure, null, "the session belongs to another CHAP user");
            if (session.Target != login.Target) return Unavailable("the target has just been changed");
            if (!session.TryJoin(connection, out replaced))
                return new(LoginStatus.TooManyConnections, null, "the session has as many connections as were agreed on, or ends");
        }
        bool recovers = session.Parameters.ErrorRecoveryLevel == 2;
        foreach (var old in replaced)
        {
            if (recovers) old.LogOutForRecovery("reinstated");
            else old.Abort("reinstated");
        }
        foreach (var old in replaced)
        {
            // Level 2: its tasks wait for the new connection to claim them. Below, they end with it.
            if (Await(recovers ? old.Released : old.Ended, deadline)) continue;
            Leave(connection, session);
            return Unavailable("the old connection does not end");
        }
        if (!session.IsClosed) return new(LoginStatus.Success, session);
        Leave(connection, session);
        return Unavailable("the session has just been ended");
    }

    private void Leave(IscsiConnection connection, IscsiSession session)
    {
        if (session.Remove(connection)) End(session);
    }

    /// <summary>
    /// An initiator that has just closed a connection and comes back finds its old nexus gone, with what it held: the old connection's
    /// thread may only not have noticed yet.
    /// </summary>
    private void AwaitClosed(IscsiConnection connection, string initiator, long deadline)
    {
        List<IscsiSession> sessions;
        lock (_gate) sessions = [.. _sessions.Where(s => s.Key.Initiator == initiator).Select(s => s.Value)];
        sessions.RemoveAll(s => s.Parameters.ErrorRecoveryLevel == 2);
        deadline = Math.Min(deadline, Stopwatch.GetTimestamp() + (long)(s_closing.TotalSeconds * Stopwatch.Frequency));
        foreach (var old in sessions.SelectMany(s => s.Connections).Where(c => c != connection && c.PeerHasClosed)) Await(old.Ended, deadline);
    }

    private static bool Await(Task ended, long deadline) =>
        ended.IsCompleted || Left(deadline) is var left && left > TimeSpan.Zero && ended.Wait(left);

    private static TimeSpan Left(long deadline) => Stopwatch.GetElapsedTime(Stopwatch.GetTimestamp(), deadline);

    private static SessionPlace Unavailable(string reason) => new(LoginStatus.ServiceUnavailable, null, reason);
}
