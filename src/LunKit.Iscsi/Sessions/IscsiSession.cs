using System.Text;
using LunKit.Hosting;
using LunKit.Iscsi.Login;
using LunKit.LogicalUnits;
using LunKit.Targets;

namespace LunKit.Iscsi.Sessions;

/// <summary>
/// A session (RFC 7143 4.4.2): one or more connections of one initiator port to one target portal group, their command window and
/// their nexus. Lives until its last connection has ended. Thread safe.
/// </summary>
internal sealed class IscsiSession
{
    private readonly Lock _gate = new();
    private readonly List<IscsiConnection> _connections = [];
    private readonly List<IscsiConnection> _keepers = [];
    private volatile bool _closed;

    public IscsiSession(
        NegotiatedParameters parameters, Target? target, NodeAcl? acl, ulong isid, ushort tsih, TargetPort port, uint firstCmdSn, int depth,
        string? user)
    {
        Parameters = parameters;
        User = user;
        Target = target;
        Isid = isid;
        Tsih = tsih;
        GroupTag = port.GroupId;
        Window = new CommandWindow(firstCmdSn, depth);
        string initiatorPort = $"{parameters.InitiatorName},i,0x{isid:x12}";
        Nexus = new Nexus(parameters.InitiatorName, initiatorPort, TransportId(initiatorPort), port);
        if (target is not null) Nexus.Open(target.LunsOf(acl!));
    }

    public NegotiatedParameters Parameters { get; }

    /// <summary>Its id in lists: unlike the TSIH it is not used again.</summary>
    public string Id => $"iscsi-{Nexus.Number}";

    /// <summary>When it began.</summary>
    public DateTimeOffset Since { get; set; }

    /// <summary>The CHAP user whose session it is, or null.</summary>
    public string? User { get; }

    /// <summary>What the session reaches; replaced when the target's definition changes. Null for discovery.</summary>
    public Target? Target { get; set; }
    public ulong Isid { get; }
    public ushort Tsih { get; }
    public int GroupTag { get; }
    public CommandWindow Window { get; }
    public Nexus Nexus { get; }

    /// <summary>Tasks that are without a connection (error recovery level 2).</summary>
    public TaskCustody Custody { get; } = new();

    /// <summary>Whether the session ends for good: nothing waits for a new connection any more.</summary>
    public bool IsClosed => _closed;

    public IReadOnlyList<IscsiConnection> Connections
    {
        get
        {
            lock (_gate) return [.. _connections];
        }
    }

    /// <summary>Connections that are lost, whose tasks may be taken over.</summary>
    public IReadOnlyList<IscsiConnection> Keepers
    {
        get
        {
            lock (_gate) return [.. _keepers];
        }
    }

    /// <summary>It, as it is at this moment.</summary>
    public SessionSnapshot Snapshot() => new(Id, Target?.Name, Parameters.InitiatorName, Nexus.InitiatorPort, Nexus.TargetPort.Name)
    {
        Since = Since, User = User, Luns = [.. Nexus.Luns.Entries.Keys],
        Connections = [.. Connections.Select(c => new ConnectionSnapshot(c.Remote.ToString(), IscsiServer.Plain(c.Local).ToString(), c.Since))],
    };

    /// <summary>The first connection.</summary>
    public void Start(IscsiConnection connection)
    {
        lock (_gate) _connections.Add(connection);
    }

    /// <summary>
    /// Adds a connection; false when the session has ended, or has as many as were negotiated. Others of the same CID are lost to the
    /// initiator: they keep their places until they end, so that the session goes on when there is no other connection.
    /// </summary>
    public bool TryJoin(IscsiConnection connection, out IReadOnlyList<IscsiConnection> replaced)
    {
        lock (_gate)
        {
            replaced = [.. _connections.Concat(_keepers).Where(c => c.ConnectionId == connection.ConnectionId)];
            // One more than agreed, to recover another that the target does not know to be lost (RFC 7143 6.3.4).
            int most = Parameters.MaxConnections + (Parameters.ErrorRecoveryLevel == 2 ? 1 : 0);
            if (_closed || replaced.Count == 0 && _connections.Count >= most) return false;
            _connections.Add(connection);
            return true;
        }
    }

    /// <summary>A connection is lost and only looks after its tasks.</summary>
    public void BeginCustody(IscsiConnection connection)
    {
        lock (_gate)
        {
            _connections.Remove(connection);
            _keepers.Add(connection);
        }
    }

    /// <summary>Takes a connection out; true when it was the last.</summary>
    public bool Remove(IscsiConnection connection)
    {
        lock (_gate)
        {
            bool removed = _connections.Remove(connection) | _keepers.Remove(connection);
            bool last = removed && _connections.Count == 0 && _keepers.Count == 0;
            if (last) _closed = true;
            return last;
        }
    }

    /// <summary>Ends the session with all its connections but one, and with all tasks.</summary>
    public void Close(string reason, IscsiConnection? except = null)
    {
        _closed = true;
        foreach (var connection in Keepers) connection.Abort(reason);
        foreach (var connection in Connections) if (connection != except) connection.Abort(reason);
    }

    /// <summary>Tells the other connections that it may be the turn of a command that they hold.</summary>
    public void WakeOthers(IscsiConnection except)
    {
        lock (_gate)
        {
            foreach (var connection in _connections)
                if (connection != except) connection.Wake();
        }
    }

    /// <summary>TransportID of an iSCSI initiator port, format 01b (SPC-5 7.6.4.6).</summary>
    private static byte[] TransportId(string port)
    {
        int length = Math.Max(20, Encoding.UTF8.GetByteCount(port) / 4 * 4 + 4);
        var id = new byte[4 + length];
        id[0] = 0x45;
        id[2] = (byte)(length >> 8);
        id[3] = (byte)length;
        Encoding.UTF8.GetBytes(port, id.AsSpan(4));
        return id;
    }
}
