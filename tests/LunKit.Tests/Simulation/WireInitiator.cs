using LunKit.Iscsi.Pdus;
using LunKit.LogicalUnits;
using LunKit.Scsi;

namespace LunKit.Tests.Simulation;

/// <summary>What an initiator and its network are like.</summary>
internal sealed record WireWeather
{
    /// <summary>Bytes that wait in each direction of a connection at most.</summary>
    public int Capacity { get; init; } = 8192;

    public int SlowestMilliseconds { get; init; } = 20;
    public double SlowReaders { get; init; } = 0.2;

    /// <summary>Connections that die after some bytes.</summary>
    public double Dies { get; init; } = 0.3;

    /// <summary>Whether connections may die without anybody hearing of it.</summary>
    public bool HasSilence { get; init; }

    public double Withholds { get; init; } = 0.02;

    /// <summary>Long data comes in long segments.</summary>
    public bool IsWide { get; init; }
}

/// <summary>An initiator: its session and connections, how they come, are lost and come back.</summary>
internal sealed class WireInitiator
{
    private readonly ulong _isid;
    private readonly List<WireSession> _old = [];
    private WireConnection? _leading;
    private int _names;

    public WireInitiator(WireSimulation simulation, int number, WireWeather weather)
    {
        (Simulation, Number, Weather) = (simulation, number, weather);
        _isid = 0x8000_0000_0000ul + (ulong)number;
        Name = $"iqn.test:w{number}";
        int maxBurst = weather.IsWide ? 262144 : World.Pick([512, 1536, 16384, 262144]);
        int firstBurst = Math.Min(maxBurst, weather.IsWide ? 262144 : World.Pick([512, 1024, 65536]));
        Keys = new()
        {
            ["InitiatorName"] = Name, ["TargetName"] = WireSimulation.TargetName, ["SessionType"] = "Normal",
            ["HeaderDigest"] = World.Chance(0.3) ? "CRC32C" : "None", ["DataDigest"] = World.Chance(0.3) ? "CRC32C" : "None",
            ["InitialR2T"] = World.Chance(0.5) ? "Yes" : "No", ["ImmediateData"] = World.Chance(0.7) ? "Yes" : "No",
            ["MaxBurstLength"] = maxBurst.ToString(null, null), ["FirstBurstLength"] = firstBurst.ToString(null, null),
            ["MaxOutstandingR2T"] = World.Pick(["1", "1", "4"]), ["MaxConnections"] = World.Chance(0.6) ? "2" : "1",
            ["ErrorRecoveryLevel"] = World.Chance(0.25) ? "2" : "0", ["DefaultTime2Wait"] = "0", ["DefaultTime2Retain"] = "20",
        };
        if (Keys["ErrorRecoveryLevel"] == "0") Keys["DefaultTime2Retain"] = "0";
        Recovery = new WireRecovery(this);
    }

    public WireSimulation Simulation { get; }
    public SimulatedWorld World => Simulation.World;
    public WireClock Clock => Simulation.Clock;
    public int Number { get; }
    public string Name { get; }
    public ulong Key => 0xA0 + (ulong)Number;
    public WireWeather Weather { get; set; }
    public Dictionary<string, string> Keys { get; }
    public WireRecovery Recovery { get; }

    /// <summary>The session, or null.</summary>
    public WireSession? Session { get; private set; }

    public bool IsConnecting => _leading is not null;

    /// <summary>It does not come back.</summary>
    public bool IsRetired { get; set; }

    /// <summary>Sessions of which it has not heard that they are over.</summary>
    public IReadOnlyList<WireSession> Old => _old;

    private WireConnection? Open(WireSession? session, ushort cid)
    {
        var connection = new WireConnection(this, session, cid, $"w{Number}.{++_names}");
        return Simulation.Accept(connection) ? connection : null;
    }

    /// <summary>A new session, which replaces an older one of which the target still knows.</summary>
    public void Connect()
    {
        if (IsConnecting || IsRetired || Session is not null) return;
        _leading = Open(null, 1);
        if (_leading is not { } leading) return;
        World.Note($"{leading} logs in");
        var keys = new Dictionary<string, string>(Keys) { ["MaxRecvDataSegmentLength"] = leading.SegmentLength.ToString(null, null) };
        leading.LogIn(_isid, (uint)World.Between(0, 1) * 0xFFFF_FFF0, keys);
    }

    /// <summary>One more connection of the session, or one in place of a lost one.</summary>
    public void ConnectAnother()
    {
        if (Session is not { IsOver: false } session || session.Connections.Exists(c => !c.IsLoggedIn)) return;
        var free = Enumerable.Range(1, session.MaxConnections).Where(i => !session.Connections.Exists(c => c.Cid == i)).ToList();
        // Or the target learns by the login that the old connection is no more.
        ushort cid = free.Count > 0 ? (ushort)World.Pick(free) : (ushort)World.Between(1, session.MaxConnections);
        if (free.Count == 0)
        {
            if (!World.Chance(0.3) || session.Connections.Find(c => c.Cid == cid) is not { } old) return;
            World.Note($"{old} is given up for a new one");
            old.Die(World.Pick([StreamDeath.Silent, StreamDeath.Reset, StreamDeath.Abandoned]));
            old.Lose();
            if (session.IsOver) return;
        }
        Join(session, cid);
    }

    /// <summary>A connection of a session logs in.</summary>
    public void Join(WireSession session, ushort cid)
    {
        if (Open(session, cid) is not { } connection) return;
        session.Connections.Add(connection);
        World.Note($"{connection} joins {session} as {cid}");
        connection.LogIn(_isid, session.CmdSn, new Dictionary<string, string>
        {
            ["InitiatorName"] = Name, ["TargetName"] = WireSimulation.TargetName, ["SessionType"] = "Normal",
                ["HeaderDigest"] = Keys["HeaderDigest"],
            ["DataDigest"] = Keys["DataDigest"], ["MaxRecvDataSegmentLength"] = connection.SegmentLength.ToString(null, null),
        });
    }

    public void LoggedIn(WireConnection connection, ushort tsih, IReadOnlyDictionary<string, string> keys)
    {
        if (connection.Session is { } session)
        {
            connection.LoggedIn(session, keys);
            World.Note($"{connection} has joined {session}");
            if (session.Level == 2)
            {
                Recovery.Joined(session, connection);
                return;
            }
            // A connection of the same CID is over, with its commands.
            session.Cover($"the login of {connection}", c => c.Connection != connection && c.Connection.Cid == connection.Cid);
            return;
        }
        session = Session = new WireSession(this, tsih, _leading!.FirstCmdSn, keys);
        session.Connections.Add(connection);
        connection.LoggedIn(session, keys);
        _leading = null;
        World.Note($"{connection} has logged in: {session}");
        CoverOld($"the login of {connection}");
        if (Simulation.IsStopping && World.Chance(0.5)) LogOut();
    }

    private void CoverOld(string what)
    {
        var open = _old.SelectMany(s => s.Open).ToList();
        foreach (var old in _old) old.Cover(what);
        Simulation.Operations.Overwrite(this, open);
        _old.Clear();
    }

    public void Refused(WireConnection connection, LoginStatus status)
    {
        if (connection.Session is null && status == LoginStatus.SessionDoesNotExist)
            throw new SimulationException($"{connection}: a new session does not exist");
        connection.Lose();
    }

    public void Lost(WireConnection connection)
    {
        if (!connection.IsAbandoned) connection.Stream.Die(connection.Stream.ToTarget.IsCut ? StreamDeath.Silent : StreamDeath.Orderly);
        if (connection == _leading) _leading = null;
        if (connection.Session is { } session && session.Connections.Remove(connection) && !session.IsOver) LostInSession(session,
            connection);
        if (Session is null && Simulation.IsFair) World.After(TimeSpan.FromMilliseconds(World.Between(100, 2000)), Connect);
    }

    private void LostInSession(WireSession session, WireConnection connection)
    {
        foreach (var function in session.Functions.Where(f => f.Connection == connection).ToList())
        {
            // It may have been executed, and nobody is told.
            session.Functions.Remove(function);
            if (function.IsOfTaskSet) session.Lost.Add(function);
            function.Covered.ForEach(c => c.MayBeSilent = true);
        }
        if (session.Level == 2 && !Simulation.IsStopping && World.Chance(0.8))
        {
            Recovery.Begin(session, connection);
            return;
        }
        if (session.Connections.Exists(c => c.IsLoggedIn) && !session.Connections.TrueForAll(c => c.IsLoggedOut)
            && World.Chance(0.6)) FillHoles(session);
        else DropSession();
    }

    /// <summary>Numbers that went with a connection would stop the session: what had them is aborted before it came (RFC 7143
    /// 11.6.1).</summary>
    private void FillHoles(WireSession session)
    {
        var by = session.Connections.Find(c => c.IsLoggedIn && !c.IsLoggedOut);
        if (by is null)
        {
            DropSession();
            return;
        }
        // Commands that came and were not answered, too: nobody answers them any more.
        var open = session.Open.Where(c => c.Connection.IsLost).ToList();
        var missing = session.Missing().Where(n => !open.Exists(c => c.CmdSn == n && !c.IsImmediate)).ToList();
        if (!open.TrueForAll(c => Simulation.Operations.Abort(by, c)) || !missing.TrueForAll(n => Simulation.Operations.Abort(by,
            n))) DropSession();
    }

    /// <summary>Numbers of lost connections that no command has any more.</summary>
    public void FillOthers(WireSession session, WireConnection by)
    {
        var missing = session.Missing().Where(n => !session.Open.Exists(c => c.CmdSn == n && !c.IsImmediate)).ToList();
        if (!missing.TrueForAll(n => Simulation.Operations.Abort(by, n))) DropSession();
    }

    /// <summary>The session is lost for the initiator, with all its connections.</summary>
    public void DropSession()
    {
        if (Session is not { } session) return;
        World.Note($"{session} is lost");
        Session = null;
        session.IsOver = true;
        _old.Add(session);
        foreach (var connection in session.Connections.ToList())
        {
            connection.Die(World.Pick([StreamDeath.Orderly, StreamDeath.Reset, StreamDeath.Abandoned]));
            connection.Lose();
        }
        if (Simulation.IsFair) World.After(TimeSpan.FromMilliseconds(World.Between(100, 2000)), Connect);
    }

    public void LogOut()
    {
        if (Session is not { } session || session.Connections.Find(c => c.IsLoggedIn && !c.IsLoggedOut) is not { } connection
            || session.NewTag() is not { } tag) return;
        bool ofSession = session.Connections.Count == 1 || World.Chance(0.6);
        var pdu = new byte[Bhs.Length];
        LogoutPdu.WriteRequest(pdu, ofSession ? 0 : 1, tag, connection.Cid);
        _ = new Bhs(pdu) { IsImmediate = true, CmdSn = session.CmdSn };
        connection.LogsOutSession = ofSession;
        connection.IsLoggedOut = true;
        World.Note($"{connection} logs out{(ofSession ? $" {session}" : "")}");
        connection.Send(pdu, []);
    }

    public void LoggedOut(WireConnection connection, byte response)
    {
        if (!connection.IsLoggedOut || response != 0) throw new SimulationException($"{connection} gets a logout response {response}");
        var session = connection.Session!;
        if (!connection.LogsOutSession) return;
        if (Session == session) Session = null;
        session.IsOver = true;
        World.Note($"{session} is logged out");
        // Other connections may have sent answers before they heard of it.
        session.Cover("the logout", sent: long.MaxValue);
    }

    public void AskedToLogOut(WireConnection connection)
    {
        if (connection.IsLoggedOut || World.Chance(0.3)) return;
        IsRetired = true;
        World.After(TimeSpan.FromMilliseconds(World.Between(0, 1500)), LogOut);
    }

    public bool Send(WireCommand command)
    {
        if (Session is not { IsOver: false } session || !command.IsImmediate && !session.HasRoom) return false;
        var usable = session.Connections.Where(c => c.IsLoggedIn && !c.IsLoggedOut).ToList();
        // What follows a function for a task set stays behind it.
        if (session.Bound(command.Unit.Lun) is { } bound) usable.RemoveAll(c => c != bound);
        if (usable.Count == 0 || session.NewTag() is not { } tag) return false;
        var connection = World.Pick(usable);
        uint number = command.IsImmediate ? session.CmdSn : session.TakeNumber(connection);
        command.Send(session, connection, tag, number);
        session.Begin(command);
        // It overtakes a function that waits for its number.
        if (command.IsImmediate && session.Bound(command.Unit.Lun) is not null) command.MayBeSilent = true;
        if (session.Lost.Exists(f => f.Unit is null || f.Unit == command.Unit)) command.MayBeSilent = true;
        World.Note($"{command}{(command.Attribute == TaskAttribute.Simple ? "" : $" {command.Attribute}")} is sent over {connection}");

        int unasked = Math.Min(session.FirstBurst, command.Expected);
        int immediate = !command.Writes || !session.ImmediateData || World.Chance(0.2) ? 0 : Math.Min(unasked, session.MaxSegment);
        if (immediate > 0 && World.Chance(0.3)) immediate = World.Between(1, immediate);
        bool unsolicited = command.Writes && !session.InitialR2T && immediate < unasked && World.Chance(0.7);
        int burst = !unsolicited ? immediate : World.Chance(0.8) ? unasked : World.Between(immediate + 1, unasked);
        var pdu = new byte[Bhs.Length];
        ScsiCommandPdu.Write(pdu, LunBytes(command.Unit.Lun), tag, command.Reads, command.Writes, !unsolicited, (int)command.Attribute,
            (uint)command.Expected, command.Cdb);
        _ = new Bhs(pdu) { IsImmediate = command.IsImmediate, CmdSn = number };
        command.Solicited = Math.Min(burst, command.Takes);
        connection.Send(pdu, Data(command, 0, immediate));
        if (unsolicited) SendData(command, Bhs.ReservedTag, immediate, burst);
        return true;
    }

    public static ulong LunBytes(int lun) => (ulong)lun << 48;

    /// <summary>The initiator's buffer may be longer than what the command takes.</summary>
    private static byte[] Data(WireCommand command, int from, int to)
    {
        var data = new byte[to - from];
        if (from < command.DataOut.Length) command.DataOut.AsSpan(from, Math.Min(to, command.DataOut.Length) - from).CopyTo(data);
        return data;
    }

    public void SendBurst(WireCommand command, uint transferTag, int offset, int length)
    {
        if (!command.IsConcluded && !command.Connection.IsLost) SendData(command, transferTag, offset, offset + length);
    }

    private void SendData(WireCommand command, uint transferTag, int from, int to)
    {
        uint dataSn = 0;
        while (from < to)
        {
            int length = Math.Min(to - from, command.Session.MaxSegment);
            if (World.Chance(0.2)) length = World.Between(1, length);
            var pdu = new byte[Bhs.Length];
            DataOutPdu.Write(pdu, LunBytes(command.Unit.Lun), command.Tag, transferTag, length, dataSn++, (uint)from, from + length == to);
            command.Connection.Send(pdu, Data(command, from, from + length), command);
            from += length;
        }
    }

    public void Ping(WireConnection connection, bool immediate = true)
    {
        var session = connection.Session!;
        if (!immediate && !session.HasRoom || session.NewTag() is not { } tag) return;
        session.Busy.Add(tag);
        var data = System.Text.Encoding.ASCII.GetBytes($"ping {tag:x}");
        var pdu = new byte[Bhs.Length];
        NopPdu.Write(pdu, PduOpcode.NopOut, 0, tag, Bhs.ReservedTag, data.Length);
        _ = new Bhs(pdu) { IsImmediate = immediate, CmdSn = immediate ? session.CmdSn : session.TakeNumber(connection) };
        connection.Send(pdu, data);
    }

    public override string ToString() => $"w{Number}";
}
