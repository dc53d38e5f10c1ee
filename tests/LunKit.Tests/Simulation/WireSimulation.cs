using System.Net;
using LunKit.Iscsi;
using LunKit.Iscsi.Sessions;
using LunKit.LogicalUnits;
using LunKit.Targets;
using LunKit.Scsi;
using Microsoft.Extensions.Logging.Abstractions;

namespace LunKit.Tests.Simulation;

/// <summary>
/// The whole path from the bytes of iSCSI to the disk, without sockets and threads: a server whose connections are actors, initiators
/// that speak
/// the protocol over streams that are slow and die, units whose disks do what disks do. Throws when an initiator sees what it must not.
/// </summary>
internal sealed class WireSimulation
{
    public const string TargetName = "iqn.test:wire";

    // Pinned and large, and the same for each run.
    [ThreadStatic]
    private static BufferPool? s_buffers;

    private readonly List<ConnectionActor> _actors = [];
    private readonly List<WireConnection> _connections = [];
    private readonly Stack<ConnectionActor> _running = new();
    private readonly List<(long Begin, long End)> _resets = [];
    private readonly IscsiLimits _limits;
    private readonly long _mostBytes;
    private readonly bool _stopsEarly;
    private Task? _stopping;
    private int _ports = 10_000;
    private bool _hasOptionalUnit = true;

    public WireSimulation(int seed)
    {
        World = new SimulatedWorld(seed);
        World.Paused = isPaused =>
        {
            if (!_running.TryPeek(out var actor)) return;
            if (isPaused) actor.Leave();
            else actor.Resume();
        };
        bool isLong = World.Chance(0.15), pings = World.Chance(0.5);
        LongTransfers = isLong ? 0.2 : 0;
        Fences = World.Chance(0.3);
        Caches = World.Chance(0.2);
        bool isWide = isLong && World.Chance(0.6);
        int blocks = isLong ? 192 : World.Pick([8, 32]), initiators = World.Between(2, 4);
        _stopsEarly = World.Chance(0.1);
        _limits = new IscsiLimits
        {
            QueueDepth = World.Pick([2, 6, 16, 64]), MaxImmediateCommands = World.Pick([2, 8]),
            MaxRecvDataSegmentLength = isWide ? 262144 : World.Pick([512, 2048, 262144]),
            FirstBurstLength = isWide ? 262144 : World.Pick([512, 4096, 262144]),
            MaxSolicitedBytesPerConnection = World.Pick([1024, 1 << 20]),
            MaxOutstandingBytes = World.Chance(0.3) ? World.Between(4096, 65536) : 64 << 20,
            MaxOutstandingBytesPerConnection = World.Chance(0.3) ? World.Between(2048, 65536) : 64 << 20,
            MaxPendingOutputBytes = World.Pick([1024, 65536, 8 << 20]), NopInIntervalSeconds = pings ? 10 : 0, NopInTimeoutSeconds = 5,
            DataOutDeadlineSeconds = 60, LoginTimeoutSeconds = 15,
        };
        int ring = World.Chance(0.4) ? World.Between(0, 2) : -1;
        for (int lun = 0; lun < 3; lun++) Units.Add(new WireUnit(World, lun, blocks, hasRing: lun == ring));
        var weather = new DiskWeather { LongestHangSeconds = 90, Hangs = World.Pick([0, 0.01, 0.03]) };
        if (World.Chance(0.2)) weather = DiskWeather.Fair;
        foreach (var unit in Units) unit.Disk.Weather = weather;
        Server = new IscsiServer(new IscsiServerOptions
        {
            Portals = [new Portal(new IPEndPoint(IPAddress.Loopback, 3260))], Targets = [Target()], Limits = _limits,
        }, NullLogger.Instance) { Clock = World.Time, Buffers = s_buffers ??= new() };
        Operations = new WireOperations(this);
        for (int i = 0; i < initiators; i++)
        {
            Initiators.Add(new WireInitiator(this, i, new WireWeather
            {
                Capacity = isLong ? World.Pick([2048, 16384, 262144]) : World.Pick([200, 2048, 16384]),
                    SlowestMilliseconds = World.Pick([0, 5, 100]), SlowReaders = World.Pick([0, 0.3]),
                Dies = World.Pick([0, 0.3, 0.6]), HasSilence = pings, IsWide = isWide,
            }));
        }
        IsQuick = weather == DiskWeather.Fair && ring < 0 && !isLong && Initiators.TrueForAll(i => i.Weather.SlowReaders == 0);
        // One connection holds one command, with its data in both forms, however little memory there is, and its buffer beside it.
        _mostBytes = Math.Max(_limits.MaxOutstandingBytes, 0) + Slack(blocks * SimulatedDisk.BlockSize);
    }

    public SimulatedWorld World { get; }
    public WireClock Clock { get; } = new();
    public IscsiServer Server { get; }
    public List<WireUnit> Units { get; } = [];
    public List<WireInitiator> Initiators { get; } = [];
    public WireOperations Operations { get; }

    /// <summary>How many transfers are of many blocks.</summary>
    public double LongTransfers { get; }

    /// <summary>Registrations and preemptions are frequent.</summary>
    public bool Fences { get; }

    /// <summary>Caches are switched, and units are reset, frequently.</summary>
    public bool Caches { get; }

    /// <summary>Disks, readers and networks are such that nothing takes long.</summary>
    public bool IsQuick { get; }

    /// <summary>The faults have stopped.</summary>
    public bool IsFair { get; private set; }

    public bool IsStopping => _stopping is not null;

    /// <summary>Sessions that may still have something under way.</summary>
    public IEnumerable<WireSession> Sessions => Initiators.SelectMany(i => i.Session is { } s ? i.Old.Append(s) : i.Old);

    private static long Slack(int transfer) => 16 * (4L * transfer + 2 * ReceiveBuffer.Size);

    private Target Target() => new()
    {
        Name = TargetName, Luns = Units.Where(u => u.Lun != 2 || _hasOptionalUnit).ToDictionary(u => u.Lun, u => (LogicalUnit)u.Unit),
    };

    /// <summary>Gives a connection to the server; false when it does not want it.</summary>
    public bool Accept(WireConnection connection)
    {
        var remote = new IPEndPoint(IPAddress.Loopback, ++_ports);
        if (Server.Connect(connection.Stream, remote, Server.Portals[0].EndPoint, 1) is not { } accepted)
        {
            if (!IsStopping) throw new SimulationException($"{connection} is refused");
            return false;
        }
        _connections.Add(connection);
        _actors.Add(new ConnectionActor(World, accepted, connection.Stream, _running));
        return true;
    }

    private readonly HashSet<(WireUnit, WireInitiator?)> _enders = [];

    /// <summary>From here on somebody, or nobody but the target, may end commands at a unit.</summary>
    public void EndsFrom(WireUnit unit, WireInitiator? by) => _enders.Add((unit, by));

    /// <summary>Whether somebody else may have ended commands of an initiator.</summary>
    public bool MayBeAborted(WireUnit unit, WireInitiator of) => _enders.Any(e => e.Item1 == unit && e.Item2 != of);

    /// <summary>A target reset begins: it ends commands of which nobody is told.</summary>
    public void ResetBegins() => _resets.Add((World.Step, long.MaxValue));

    public void ResetEnds()
    {
        int at = _resets.FindIndex(r => r.End == long.MaxValue);
        _resets[at] = _resets[at] with { End = World.Step };
    }

    /// <summary>Whether a command may have ended without an answer although its connection is there.</summary>
    public bool MayBeSilent(WireCommand command) => command.MayBeSilent || _resets.Exists(r => r.End >= command.Start);

    public void Run(int operations)
    {
        foreach (var initiator in Initiators) initiator.Connect();
        for (int i = 0; i < operations; i++)
        {
            Operations.Act(World.Pick(Initiators));
            if (World.Chance(0.01)) SetTarget();
            if (World.Chance(0.03)) Units.ForEach(u => u.Ring?.Misfortune());
            if (World.Chance(0.002) && Units[1].Closing is null) CloseUnit(Units[1]);
            if (_stopsEarly && i > operations / 2 && !IsStopping) Stop();
            for (int steps = World.Between(0, 12); steps > 0; steps--) Next();
        }
        EndFaults();
        if (!IsStopping) Probe();
        if (!IsStopping) Stop();
        Settle(TimeSpan.FromMinutes(4));
        CheckEnd();
    }

    private void Next()
    {
        World.Next();
        if (Server.Memory.Bytes > _mostBytes)
            throw new SimulationException($"{Server.Memory.Bytes} bytes are on the account, {_mostBytes} is the most");
        if (Server.Memory.Bytes < 0) throw new SimulationException($"{Server.Memory.Bytes} bytes are on the account");
    }

    private void Settle(TimeSpan limit)
    {
        long until = World.Now + limit.Ticks;
        for (int i = 0; World.Next(until); i++)
        {
            if (i <= 500_000) continue;
            var busy = _actors.OrderByDescending(a => a.Steps).Take(3);
            throw new SimulationException($"the simulation does not come to rest; {string.Join(", ", busy)}");
        }
    }

    private void SetTarget()
    {
        _hasOptionalUnit = !_hasOptionalUnit;
        World.Note(_hasOptionalUnit ? "LUN 2 is added" : "LUN 2 is removed");
        EndsFrom(Units[2], null);
        Server.SetTarget(Target());
    }

    private void CloseUnit(WireUnit unit)
    {
        World.Note($"LUN {unit.Lun} is closed");
        EndsFrom(unit, null);
        unit.FailedFlushes = unit.Disk.FailedFlushes;
        unit.Closing = unit.Unit.CloseAsync(TimeSpan.FromHours(1));
    }

    private void Stop()
    {
        World.Note("the server stops");
        _stopping = Server.StopAsync();
    }

    /// <summary>From here on disks and networks are good: what is under way ends, and everybody comes back.</summary>
    private void EndFaults()
    {
        World.Note("the faults stop");
        IsFair = true;
        foreach (var unit in Units)
        {
            unit.Disk.Weather = DiskWeather.Fair;
            unit.Ring?.EndFaults();
        }
        foreach (var initiator in Initiators)
        {
            initiator.Weather = new WireWeather { Capacity = 65536, SlowestMilliseconds = 0, SlowReaders = 0, Dies = 0, Withholds = 0 };
            if (!IsStopping) World.After(TimeSpan.FromSeconds(5), initiator.Connect);
        }
        _connections.ForEach(c => c.Spare());
        Settle(TimeSpan.FromMinutes(5));
        foreach (var initiator in Initiators)
        {
            if (initiator.Session is not { } session) continue;
            foreach (var command in session.Open.ToList())
            {
                // Nobody tells of what a target reset has ended; it is asked for below.
                if (!MayBeSilent(command)) throw new SimulationException($"{command} is never answered; {command.Connection.Describe()}");
            }
            if (session.Functions is [var function, ..]) throw new SimulationException($"{function} is never answered");
            if (session.Busy.Count > 0 && session.Connections.Count == session.MaxConnections) session.Busy.Clear();
        }
    }

    /// <summary>All is well again: every initiator gets at every unit, soon, and sees what is there.</summary>
    private void Probe()
    {
        if (!_hasOptionalUnit) SetTarget();
        foreach (var initiator in Initiators)
        {
            if (initiator.Session is not { } session) throw new SimulationException($"{initiator} cannot log in");
            // Numbers that passed without an answer have opened the window since: the next PDU tells.
            foreach (var connection in session.Connections) initiator.Ping(connection);
            Settle(TimeSpan.FromSeconds(1));
            for (int i = 0; session.Open.Count > 0 && i < 60; i++)
            {
                foreach (var command in session.Open.Take(_limits.MaxImmediateCommands).ToList()) Operations.Abort(command.Connection,
                    command);
                Settle(TimeSpan.FromSeconds(1));
            }
            if (session.Open.Count > 0) throw new SimulationException($"{session.Open[0]} is not ended by ABORT TASK");
            foreach (var unit in Units) Probe(initiator, session, unit);
        }
        // Answers are kept until they are acknowledged, where connections can be recovered: by the next PDU.
        foreach (var initiator in Initiators) initiator.Session?.Connections.ForEach(c => initiator.Ping(c));
        Settle(TimeSpan.FromSeconds(1));
        // Connections of which nobody has told that they are gone may still hold something.
        bool isAlone = Server.ConnectionCount == Initiators.Sum(i => i.Session?.Connections.Count ?? 0);
        // The answer to the ping.
        long kept = 200 * Initiators.Sum(i => i.Session is { Level: 2 } s ? s.Connections.Count : 0);
        if (isAlone && Server.Memory.Bytes > kept)
            throw new SimulationException($"{Server.Memory.Bytes} bytes are on the account, and nothing is under way");
        foreach (var session in Initiators.Select(i => i.Session))
        {
            if (isAlone && session is not null && session.MaxCmdSn - session.CmdSn + 1 != (uint)_limits.QueueDepth)
                throw new SimulationException($"the window of {session} is {session.CmdSn} to {session.MaxCmdSn}, and nothing is under way");
        }
    }

    private void Probe(WireInitiator initiator, WireSession session, WireUnit unit)
    {
        bool isClosed = unit.Closing is not null;
        for (int i = 0; i < 12; i++)
        {
            var ready = Operations.Ready(initiator, unit)
                ?? throw new SimulationException($"{session} has no room for a command, and nothing is under way: CmdSN {session.CmdSn}, {session.ExpCmdSn} to {session.MaxCmdSn}");
            Settle(TimeSpan.FromSeconds(1));
            if (ready.Status is not { } status) throw new SimulationException($"{ready} is not answered within a second: ExpCmdSN {session.ExpCmdSn}");
            if (status == ScsiStatus.Good) break;
            // LOGICAL UNIT NOT SUPPORTED; SANITIZE COMMAND FAILED.
            if (isClosed && ready.Sense == 0x52500 || ready.Sense == 0x33103) return;
            if (i == 11) throw new SimulationException($"{ready} is answered {status} {ready.Sense:x}");
        }
        Operations.Flush(initiator, unit);
        Settle(TimeSpan.FromSeconds(3));
        // Somebody else may have the unit for himself, or it is being sanitized.
        for (int first = 0; first < unit.Blocks; first += 16)
        {
            int count = Math.Min(16, unit.Blocks);
            var read = Operations.Read(initiator, unit, first, count, count * SimulatedDisk.BlockSize)
                ?? throw new SimulationException($"{session} has no room for a read, and nothing is under way");
            Settle(TimeSpan.FromSeconds(3));
            if (!read.IsAnswered) throw new SimulationException($"{read} is not answered within 3 seconds");
        }
    }

    private void CheckEnd()
    {
        if ((Server.ConnectionCount, Server.SessionCount) is not (0, 0) and var (connections, sessions))
            throw new SimulationException($"the server has stopped with {connections} connections and {sessions} sessions");
        foreach (var unit in Units)
        {
            if (unit.Unit.Nexuses.Length > 0) throw new SimulationException($"LUN {unit.Lun} still has {unit.Unit.Nexuses.Length} nexuses");
            if (unit.Unit.Tasks.Count > 0)
                throw new SimulationException($"in the task set of LUN {unit.Lun} are still {string.Join("; ", unit.Unit.Tasks.Describe(8))}");
        }
        if (Server.Memory.Bytes != 0)
            throw new SimulationException($"{Server.Memory.Bytes} bytes are on the account of a server that has stopped");
        foreach (var unit in Units) if (unit.Closing is null) CloseUnit(unit);
        Settle(TimeSpan.FromMinutes(10));
        // The guard of a disk goes on elsewhere when the last call has ended: the one thing here that another thread does.
        Task.WaitAll([.. Units.Select(u => (Task)u.Closing!)], TimeSpan.FromSeconds(20));
        foreach (var unit in Units) CheckClosed(unit, unit.Ring?.Close() ?? true);
    }

    private void CheckClosed(WireUnit unit, bool isFlushed)
    {
        if (unit.Closing is not { IsCompletedSuccessfully: true, Result: true } || !unit.Disk.IsClosed)
            throw new SimulationException($"LUN {unit.Lun} is not closed");
        if (unit.Disk.Misuse is { } misuse) throw new SimulationException($"the disk of LUN {unit.Lun} is used wrongly: {misuse}");
        // One that a failing disk did not take is in the log.
        isFlushed &= unit.Disk.FailedFlushes <= unit.FailedFlushes;
        for (int block = 0; block < unit.Blocks; block++)
        {
            unit.History.Read("the end", block, unit.Disk.Current(block), World.Step + 1, World.Step + 2);
            if (isFlushed && unit.Disk.Durable(block) != unit.Disk.Current(block))
                throw new SimulationException($"block {block} of LUN {unit.Lun} is not on the medium after the unit was closed");
        }
        unit.History.Check();
    }
}
