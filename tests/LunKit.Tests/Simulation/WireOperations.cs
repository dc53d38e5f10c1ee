using System.Buffers.Binary;
using LunKit.Backstores;
using LunKit.Iscsi.Pdus;
using LunKit.Scsi;

namespace LunKit.Tests.Simulation;

/// <summary>What initiators do with the units of a <see cref="WireSimulation"/>, and what they expect of it.</summary>
internal sealed partial class WireOperations(WireSimulation simulation)
{
    // The tag of no command.
    private const uint NoTask = 1;

    private SimulatedWorld World => simulation.World;

    public void Act(WireInitiator initiator)
    {
        if (initiator.Session is not { } session)
        {
            if (World.Chance(0.5)) initiator.Connect();
            return;
        }
        var unit = World.Pick(simulation.Units);
        if (simulation.Fences && World.Chance(0.15))
        {
            if (World.Chance(0.5)) ReserveOut(initiator, unit, 6, 0, initiator.Key, 0, "REGISTER");
            else PreemptAndAbort(initiator, unit, World.Pick(simulation.Initiators));
            return;
        }
        if (simulation.Caches && World.Chance(0.15))
        {
            if (World.Chance(0.7)) SetWriteCache(initiator, unit, World.Chance(0.5));
            else Manage(session, TaskManagementFunction.LogicalUnitReset, unit);
            return;
        }
        if (unit.Ring is { HasCache: true } ring && World.Chance(0.4))
        {
            Cache(initiator, unit, ring);
            return;
        }
        switch (World.Between(0, 129))
        {
            case < 42: Write(initiator, unit); break;
            case < 68: Read(initiator, unit); break;
            case < 73: CompareAndWrite(initiator, unit); break;
            case < 77: Unmap(initiator, unit); break;
            case < 81: Flush(initiator, unit); break;
            case < 84: SetWriteCache(initiator, unit, World.Chance(0.5)); break;
            case < 85:
                if (unit.Block is not null) Sanitize(initiator, unit);
                break;
            case < 89: ReserveOut(initiator, unit, 6, 0, initiator.Key, 0, "REGISTER"); break;
            case < 92: PreemptAndAbort(initiator, unit, World.Pick(simulation.Initiators)); break;
            case < 99: AbortSomething(session); break;
            case < 101: Manage(session, TaskManagementFunction.AbortTaskSet, unit); break;
            case < 102: Manage(session, TaskManagementFunction.ClearTaskSet, unit); break;
            case < 105: Manage(session, TaskManagementFunction.LogicalUnitReset, unit); break;
            case < 106: Manage(session, TaskManagementFunction.TargetWarmReset, null); break;
            case < 108: Ready(initiator, unit); break;
            case < 112:
                if (session.Connections.Find(c => c.IsLoggedIn && !c.IsLoggedOut) is { } connection) initiator.Ping(connection,
                    World.Chance(0.5));
                break;
            case < 122: initiator.ConnectAnother(); break;
            case < 124:
                if (World.Chance(0.5)) initiator.LogOut();
                break;
            case < 127:
                if (World.Chance(0.3)) initiator.DropSession();
                break;
            default:
                if (session.Connections.Count > 0 && World.Chance(0.4)) World.Pick(session.Connections).Die(World.Chance(0.5)
                    ? StreamDeath.Orderly : StreamDeath.Reset);
                break;
        }
    }

    private TaskAttribute Attribute() => World.Between(0, 19) switch { 0 => TaskAttribute.Ordered, 1 => TaskAttribute.HeadOfQueue, _ =>
        TaskAttribute.Simple };

    private bool Immediate() => World.Chance(0.04);

    private (int First, int Count) Range(WireUnit unit)
    {
        int count = World.Chance(simulation.LongTransfers) ? World.Between(1, unit.Blocks) : World.Between(1, 4);
        return (World.Between(0, unit.Blocks - count), count);
    }

    private static byte[] Cdb16(byte opcode, int lba, int count, int flags = 0)
    {
        var cdb = new byte[16];
        (cdb[0], cdb[1]) = (opcode, (byte)flags);
        BinaryPrimitives.WriteInt64BigEndian(cdb.AsSpan(2), lba);
        BinaryPrimitives.WriteInt32BigEndian(cdb.AsSpan(10), count);
        return cdb;
    }

    private static byte[] Payload(SeenWrite write)
    {
        var data = new byte[write.Count * SimulatedDisk.BlockSize];
        for (int i = 0; i < write.Count; i++)
            SimulatedDisk.Store(new DataBuffer(data.AsMemory(i * SimulatedDisk.BlockSize, SimulatedDisk.BlockSize)),
                BlockHistory.Value(write, write.First + i));
        return data;
    }

    /// <summary>Sends a write, and takes it into the history when that could be done.</summary>
    private static SeenWrite NewWrite(WireInitiator initiator, WireUnit unit, int first, int count, bool isZero = false) =>
        new() { Who = initiator.ToString(), Id = unit.NextId() & 0xFFFF_FFFF_FFFF, First = first, Count = count,
            Start = initiator.World.Step, IsZero = isZero };

    private static bool Send(WireInitiator initiator, WireCommand command)
    {
        if (!initiator.Send(command)) return false;
        if (command.Write is { } write) command.Unit.History.Add(write);
        return true;
    }

    /// <summary>Writes over what was ended: nothing of it may come later.</summary>
    public void Overwrite(WireInitiator initiator, IReadOnlyList<WireCommand> ended)
    {
        var writes = ended.Where(c => c is { IsAnswered: false, Write.IsZero: false }).ToList();
        if (writes.Count == 0 || !World.Chance(0.7)) return;
        var command = World.Pick(writes);
        World.Soon(() => Write(initiator, command.Unit, command.Write!.First, command.Write.Count));
    }

    private void Write(WireInitiator initiator, WireUnit unit)
    {
        var (first, count) = Range(unit);
        Write(initiator, unit, first, count);
    }

    private void Write(WireInitiator initiator, WireUnit unit, int first, int count)
    {
        bool fua = World.Chance(0.1);
        var write = NewWrite(initiator, unit, first, count);
        bool cacheWasOff = unit.IsCacheOff;
        int modeChanges = unit.ModeChanges, length = count * SimulatedDisk.BlockSize;
        Send(initiator, new WireCommand
        {
            Name = $"WRITE {write.Id:x} [{first},{first + count}){(fua ? " FUA" : "")}", Unit = unit, Cdb = Cdb16(0x8A, first, count, fua
                ? 0x08 : 0), DataOut = Payload(write),
            // More than the command takes is a residual.
            Writes = true, Expected = World.Chance(0.05) ? length + World.Between(1, 600) : length, Attribute = Attribute(),
                IsImmediate = Immediate(),
            Write = write, Withholds = World.Chance(initiator.Weather.Withholds),
            WhenGood = () =>
            {
                if (fua || cacheWasOff && modeChanges == unit.ModeChanges) CheckDurable(unit, $"a write past the cache ({write})", first,
                    count, write.Start, write);
            },
        });
    }

    public WireCommand? Read(WireInitiator initiator, WireUnit unit, int first, int count, int expected)
    {
        int length = count * SimulatedDisk.BlockSize;
        WireCommand command = null!;
        command = new WireCommand
        {
            Name = $"READ [{first},{first + count})", Unit = unit, Cdb = Cdb16(0x88, first, count), Reads = true, Produces = length,
                Expected = expected,
            Attribute = simulation.IsFair ? TaskAttribute.Simple : Attribute(), IsImmediate = !simulation.IsFair && Immediate(),
            WhenGood = () =>
            {
                for (int i = 0; (i + 1) * SimulatedDisk.BlockSize <= command.Received; i++)
                {
                    ulong value = SimulatedDisk.Load(command.DataIn.AsSpan(i * SimulatedDisk.BlockSize, SimulatedDisk.BlockSize));
                    unit.LastSeen[first + i] = value;
                    unit.History.Read(initiator.ToString(), first + i, value, command.Start, World.Step);
                }
            },
        };
        return Send(initiator, command) ? command : null;
    }

    private void Read(WireInitiator initiator, WireUnit unit)
    {
        var (first, count) = Range(unit);
        int length = count * SimulatedDisk.BlockSize;
        Read(initiator, unit, first, count, World.Chance(0.1) ? World.Between(1, length + 1000) : length);
    }

    public WireCommand? Ready(WireInitiator initiator, WireUnit unit)
    {
        var command = new WireCommand { Name = "TEST UNIT READY", Unit = unit, Cdb = new byte[6] };
        return Send(initiator, command) ? command : null;
    }

    private void CompareAndWrite(WireInitiator initiator, WireUnit unit)
    {
        int block = World.Between(0, unit.Blocks - 1);
        var write = NewWrite(initiator, unit, block, 1);
        var data = new byte[2 * SimulatedDisk.BlockSize];
        SimulatedDisk.Store(new DataBuffer(data.AsMemory(0, SimulatedDisk.BlockSize)), unit.LastSeen[block]);
        Payload(write).CopyTo(data, SimulatedDisk.BlockSize);
        var cdb = Cdb16(0x89, block, 0);
        cdb[13] = 1;
        Send(initiator, new WireCommand
        {
            Name = $"COMPARE AND WRITE {write.Id:x} [{block}]", Unit = unit, Cdb = cdb, DataOut = data, Writes = true,
                Expected = data.Length, Write = write, Attribute = Attribute(),
        });
    }

    private void Unmap(WireInitiator initiator, WireUnit unit)
    {
        var (first, count) = Range(unit);
        var list = new byte[24];
        (list[1], list[3], list[15], list[19]) = (22, 16, (byte)first, (byte)count);
        Send(initiator, new WireCommand
        {
            Name = $"UNMAP [{first},{first + count})", Unit = unit, Cdb = [0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], DataOut = list,
                Writes = true, Expected = 24,
            Write = NewWrite(initiator, unit, first, count, isZero: true), Attribute = Attribute(),
        });
    }

    private static void Sanitize(WireInitiator initiator, WireUnit unit) => Send(initiator, new WireCommand
    {
        Name = "SANITIZE", Unit = unit, Cdb = [0x48, 0x02, 0, 0, 0, 0, 0, 0, 0, 0], Write = NewWrite(initiator, unit, 0, unit.Blocks,
            isZero: true),
    });

    private static WireCommand? ReserveOut(WireInitiator initiator, WireUnit unit, int action, ulong key, ulong actionKey, int type,
        string name)
    {
        var list = new byte[24];
        BinaryPrimitives.WriteUInt64BigEndian(list, key);
        BinaryPrimitives.WriteUInt64BigEndian(list.AsSpan(8), actionKey);
        var command = new WireCommand { Name = name, Unit = unit, Cdb = [0x5F, (byte)action, (byte)type, 0, 0, 0, 0, 0, 24, 0],
            DataOut = list, Writes = true, Expected = 24 };
        return Send(initiator, command) ? command : null;
    }

    private void PreemptAndAbort(WireInitiator initiator, WireUnit unit, WireInitiator victim)
    {
        if (victim == initiator) return;
        // What the target had of it when it was asked for.
        var fenced = Known(unit, s => s.Initiator == victim);
        if (ReserveOut(initiator, unit, 5, initiator.Key, victim.Key, 5, $"PREEMPT AND ABORT of {victim}") is not { } command) return;
        command.WhenGood = () =>
        {
            fenced.ForEach(c => c.Fence());
            Overwrite(initiator, fenced);
        };
        simulation.EndsFrom(unit, initiator);
    }

    /// <summary>Commands of which the target is known to have them already.</summary>
    private List<WireCommand> Known(WireUnit? unit, Func<WireSession, bool> ofSession) =>
        [.. simulation.Sessions.Where(ofSession).SelectMany(s => s.Open).Where(c => (unit is null || c.Unit == unit) && c.WasReceived)];

    private void AbortSomething(WireSession session)
    {
        var candidates = session.Open.Where(c => c.Connection is { IsLost: false, IsLoggedOut: false } && !session.Functions.Exists(f =>
            f.Command == c)).ToList();
        if (candidates.Count == 0) return;
        var command = World.Pick(candidates);
        Abort(command.Connection, command);
    }

    public bool Abort(WireConnection connection, WireCommand command)
    {
        var session = connection.Session!;
        if (session.Functions.Exists(f => f.Command == command && f.Connection == connection)) return true;
        if (session.NewTag(ofFunction: true) is not { } tag) return false;
        Manage(connection, tag, new WireFunction
        {
            Function = TaskManagementFunction.AbortTask, Connection = connection, Tag = tag, Unit = command.Unit, Command = command,
                Covered = [command], Fenced = [],
            Time = World.Now,
        }, command.Tag, command.IsImmediate ? session.CmdSn : command.CmdSn, immediate: true);
        return true;
    }

    /// <summary>Ends the wait for a number that was lost with its connection.</summary>
    public bool Abort(WireConnection connection, uint cmdSn)
    {
        if (connection.Session!.NewTag(ofFunction: true) is not { } tag) return false;
        Manage(connection, tag, new WireFunction
        {
            Function = TaskManagementFunction.AbortTask, Connection = connection, Tag = tag, Unit = simulation.Units[0], Covered = [],
                Fenced = [], Time = World.Now,
        }, NoTask, cmdSn, immediate: true);
        return true;
    }

    private void Manage(WireSession session, TaskManagementFunction function, WireUnit? unit)
    {
        var usable = session.Connections.Where(c => c.IsLoggedIn && !c.IsLoggedOut).ToList();
        bool immediate = World.Chance(0.6);
        if (usable.Count == 0 || session.Functions.Exists(f => f.IsOfTaskSet) || !immediate && !session.HasRoom
            || session.NewTag(ofFunction: true) is not { } tag) return;
        var connection = World.Pick(usable);
        bool isReset = function is TaskManagementFunction.LogicalUnitReset or TaskManagementFunction.TargetWarmReset;
        bool ofOthers = isReset || function == TaskManagementFunction.ClearTaskSet;
        List<WireUnit> units = unit is null ? simulation.Units : [unit];
        // An immediate command of another connection may come after the function, or before it.
        var covered = session.Open.Where(c => unit is null || c.Unit == unit).ToList();
        var uncertain = covered.Where(c => c.IsImmediate && c.Connection != connection && !c.WasReceived).ToList();
        uncertain.ForEach(c => c.MayBeSilent = true);
        covered = [.. covered.Except(uncertain)];
        if (isReset)
        {
            foreach (var u in units)
            {
                u.ModeChanges++;
                u.ModeChangesUnderWay++;
            }
        }
        if (unit is null) simulation.ResetBegins();
        if (ofOthers) units.ForEach(u => simulation.EndsFrom(u, session.Initiator));
        long start = World.Step;
        var before = units.ConvertAll(u => (u.ModeChanges, u.Disk.FailedFlushes, u.Block is { IsWriteCacheEnabled: true }));
        Manage(connection, tag, new WireFunction
        {
            Function = function, Connection = connection, Tag = tag, Unit = unit, Covered = covered, Fenced = ofOthers ? Known(unit, s =>
                s != session) : [],
            Time = World.Now, WhenOver = () =>
            {
                if (unit is null) simulation.ResetEnds();
                if (!isReset) return;
                foreach (var u in units) u.ModeChangesUnderWay--;
                for (int i = 0; i < units.Count; i++)
                {
                    var u = units[i];
                    if (!before[i].Item3 || !u.IsCacheOff || (u.ModeChanges, u.Disk.FailedFlushes) != (before[i].ModeChanges,
                        before[i].FailedFlushes)) continue;
                    CheckDurable(u, "a reset that switches the cache off", 0, u.Blocks, start);
                }
            },
        }, Bhs.ReservedTag, 0, immediate);
    }

    public void Manage(
        WireConnection connection, uint tag, WireFunction function, uint referencedTag, uint refCmdSn, bool immediate, uint expDataSn = 0)
    {
        var session = connection.Session!;
        session.Functions.Add(function);
        var pdu = new byte[Bhs.Length];
        TaskManagementPdu.WriteRequest(pdu, (int)function.Function, WireInitiator.LunBytes(function.Unit?.Lun ?? 0), tag, referencedTag,
            refCmdSn, expDataSn);
        _ = new Bhs(pdu) { IsImmediate = immediate, CmdSn = immediate ? session.CmdSn : session.TakeNumber(connection) };
        World.Note($"{function} lun {function.Unit?.Lun}{(immediate ? " immediate" : "")} tag {tag:x} is sent");
        connection.Send(pdu, []);
    }
}
