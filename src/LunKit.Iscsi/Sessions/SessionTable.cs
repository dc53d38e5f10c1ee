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
/// name, ISID, target, portal group) never has two sessions. A login may have to wait until an old connection has ended: its connection asks
/// its <see cref="SessionClaim"/> again, for <see cref="Patience"/> at most. Thread safe.
/// </summary>
/// <param name="log">Where to log.</param>
/// <param name="ports">The target ports that sessions reach.</param>
/// <param name="isCurrent">Whether a target is still defined as a login found it; called under the lock.</param>
internal sealed class SessionTable(ILogger log, TargetPorts ports, Func<Target, bool> isCurrent)
{
    /// <summary>
    /// How long a login waits for what it replaces. Initiators try again, and the thread of the login has nothing else to do.
    /// </summary>
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(2);

    private static readonly TimeSpan s_closing = TimeSpan.FromSeconds(1);

    /// <summary>The two ports of a nexus, with names in lower case; a discovery session has no target.</summary>
    private readonly record struct NexusKey(string Initiator, ulong Isid, string Target, int GroupTag);

    private readonly Lock _gate = new();
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

    /// <summary>All sessions, at this moment, in the order of their beginning.</summary>
    public IReadOnlyList<IscsiSession> All
    {
        get
        {
            lock (_gate) return [.. _sessions.Values.OrderBy(s => s.Nexus.Number)];
        }
    }

    /// <summary>The sessions of a target, at this moment.</summary>
    public IReadOnlyList<IscsiSession> Of(string targetName)
    {
        string folded = targetName.ToLowerInvariant();
        lock (_gate) return [.. _sessions.Where(s => s.Key.Target == folded).Select(s => s.Value)];
    }

    /// <summary>
    /// Asks for the place of a connection that has logged in: with TSIH 0 a new session, which replaces an older one of the same nexus
    /// (session reinstatement, RFC 7143 6.3.5), else one in the session of that handle, where it replaces a connection of the same CID
    /// (connection reinstatement, 6.3.4). Success means that nothing of what was replaced is left.
    /// </summary>
    public SessionClaim Claim(IscsiConnection connection, LoginNegotiation login, ulong isid, ushort tsih, uint cmdSn)
    {
        var key = new NexusKey(login.Parameters.InitiatorName, isid, login.Target?.Name.ToLowerInvariant() ?? "", connection.GroupTag);
        return tsih != 0 ? Join(connection, login, key, tsih) : new SessionClaim(connection, AwaitClosed(connection, key.Initiator), s_closing,
            _ => Replace(connection, login, key, cmdSn));
    }

    /// <summary>An older session of the nexus ends, and then there is room for this one.</summary>
    private SessionClaim Replace(IscsiConnection connection, LoginNegotiation login, NexusKey key, uint cmdSn)
    {
        IscsiSession? old;
        lock (_gate)
        {
            // Not a refusal for good: it may be the same host under a new user, whose old session has not been found dead yet.
            if (_sessions.TryGetValue(key, out old) && IsOfAnother(old, login))
                return SessionClaim.Decided(Unavailable("another CHAP user has a session of this name and ISID"));
            // From here on an earlier login that still waits has lost: the later one replaces it.
            _claims[key] = connection;
        }
        if (old is not null)
        {
            LogMessages.SessionReinstated(log, old.Tsih, login.Parameters.InitiatorName);
            old.Close("session reinstatement");
        }
        return new SessionClaim(connection, () => HasRoom(key, connection), Patience, isOver => Create(connection, login, key, cmdSn, isOver))
        {
            Abandoned = () => Withdraw(key, connection),
        };
    }

    private void Withdraw(NexusKey key, IscsiConnection connection)
    {
        lock (_gate)
            if (_claims.GetValueOrDefault(key) == connection) _claims.Remove(key);
    }

    private bool HasRoom(NexusKey key, IscsiConnection connection)
    {
        lock (_gate) return _claims.GetValueOrDefault(key) != connection || !_sessions.ContainsKey(key);
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
        }
    }

    /// <summary>
    /// Whether a session belongs to another CHAP user than the one of a login, so that its name proves nothing. A user that may no
    /// longer log in has no claim: credentials change while sessions live.
    /// </summary>
    private static bool IsOfAnother(IscsiSession session, LoginNegotiation login) => session.User != login.User && login.Accepts(session.User);

    private SessionClaim Create(IscsiConnection connection, LoginNegotiation login, NexusKey key, uint cmdSn, bool isOver)
    {
        lock (_gate)
        {
            bool isMine = _claims.GetValueOrDefault(key) == connection;
            if (isMine) _claims.Remove(key);
            return SessionClaim.Decided(!isMine ? Unavailable("a later login of the same name and ISID came first")
                : !isOver ? Unavailable("the old session does not end") : Create(connection, login, key, cmdSn));
        }
    }

    private SessionPlace Create(IscsiConnection connection, LoginNegotiation login, NexusKey key, uint cmdSn)
    {
        // The target may have changed since the login began.
        if (login.Target is { } target && !isCurrent(target)) return Unavailable($"{target.Name} has just been changed");
        if (_handles.Count == ushort.MaxValue) return new(LoginStatus.OutOfResources, null, "all session handles are in use");
        do _lastHandle++;
        while (_lastHandle == 0 || _handles.Contains(_lastHandle));
        var port = login.Target is null ? TargetPorts.OfDiscovery(key.GroupTag) : ports.Of(login.Target.Name, key.GroupTag);
        var session = new IscsiSession(login.Parameters, login.Target, login.Acl, key.Isid, _lastHandle, port, cmdSn, connection.Limits.QueueDepth, login.User);
        session.Since = connection.Clock.GetUtcNow();
        session.Start(connection);
        _sessions.Add(key, session);
        _handles.Add(_lastHandle);
        return new(LoginStatus.Success, session);
    }

    private SessionClaim Join(IscsiConnection connection, LoginNegotiation login, NexusKey key, ushort tsih)
    {
        IscsiSession? session;
        IReadOnlyList<IscsiConnection> replaced;
        lock (_gate)
        {
            if (!_sessions.TryGetValue(key, out session) || session.Tsih != tsih)
                return SessionClaim.Decided(new(LoginStatus.SessionDoesNotExist, null, $"no session {tsih} of this initiator port"));
            if (session.User != login.User)
                return SessionClaim.Decided(new(LoginStatus.AuthorizationFailure, null, "the session belongs to another CHAP user"));
            if (session.Target != login.Target) return SessionClaim.Decided(Unavailable("the target has just been changed"));
            if (!session.TryJoin(connection, out replaced))
                return SessionClaim.Decided(new(LoginStatus.TooManyConnections, null, "the session has as many connections as were agreed on, or ends"));
        }
        bool recovers = session.Parameters.ErrorRecoveryLevel == 2;
        foreach (var old in replaced)
        {
            if (recovers) old.LogOutForRecovery("reinstated");
            else old.Abort("reinstated");
        }
        // Level 2: its tasks wait for the new connection to claim them. Below, they end with it.
        bool AreGone() => replaced.All(old => (recovers ? old.Released : old.Ended).IsCompleted);
        return new SessionClaim(connection, AreGone, Patience, isOver =>
        {
            if (isOver && !session.IsClosed) return SessionClaim.Decided(new(LoginStatus.Success, session));
            Leave(connection, session);
            return SessionClaim.Decided(Unavailable(isOver ? "the session has just been ended" : "the old connection does not end"));
        }) { Abandoned = () => Leave(connection, session) };
    }

    private void Leave(IscsiConnection connection, IscsiSession session)
    {
        if (session.Remove(connection)) End(session);
    }

    /// <summary>
    /// An initiator that has just closed a connection and comes back finds its old nexus gone, with what it held: the old connection's
    /// thread may only not have noticed yet.
    /// </summary>
    private Func<bool> AwaitClosed(IscsiConnection connection, string initiator)
    {
        List<IscsiSession> sessions;
        lock (_gate) sessions = [.. _sessions.Where(s => s.Key.Initiator == initiator).Select(s => s.Value)];
        sessions.RemoveAll(s => s.Parameters.ErrorRecoveryLevel == 2);
        var closed = sessions.SelectMany(s => s.Connections).Where(c => c != connection && c.PeerHasClosed).ToList();
        return () => closed.TrueForAll(c => c.Ended.IsCompleted);
    }

    private static SessionPlace Unavailable(string reason) => new(LoginStatus.ServiceUnavailable, null, reason);
}
