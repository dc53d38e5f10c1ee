using System.Buffers.Binary;
using LunKit.Backstores;
using LunKit.LogicalUnits;
using LunKit.Scsi;
using Microsoft.Extensions.Logging.Abstractions;

namespace LunKit.Tests.Simulation;

/// <summary>
/// One logical unit under everything that can happen to it at once: initiators that come and go, commands of every attribute, task management,
/// preemption, SANITIZE, a cache that is switched, a disk that is slow, hangs, fails and has no threads. Throws when initiators see what one disk
/// cannot have shown, when a command is answered twice, after its abort, or never, or when memory or the disk is used after its time.
/// </summary>
internal sealed class UnitSimulation
{
    private const int Blocks = 48;

    private readonly SimulatedWorld _world;
    private readonly SimulatedDisk _disk;
    private readonly BlockUnit _unit;
    private readonly BlockHistory _history = new();
    private readonly List<SimulatedNexus> _nexuses = [];
    private readonly ulong[] _lastSeen = new ulong[Blocks];
    private ulong _ids;
    private int _modeChanges;
    private int _modeChangesUnderWay;
    private int _pending;

    public UnitSimulation(int seed)
    {
        _world = new SimulatedWorld(seed);
        _disk = new SimulatedDisk(_world, Blocks);
        _unit = new BlockUnit(new BackstoreGuard(_disk), "sim", new UnitMemory(new VolatileUnitState(UnitIdentity.IdOf("sim"))), new BlockUnitOptions(), NullLogger.Instance, _world.Runtime);
        if (_world.Chance(0.2)) _disk.Weather = DiskWeather.Fair;
        for (int i = 0; i < 3; i++) _nexuses.Add(new SimulatedNexus(_world, _unit, i));
    }

    public SimulatedWorld World => _world;

    public void Run(int operations)
    {
        foreach (var nexus in _nexuses) nexus.Open();
        for (int i = 0; i < operations; i++)
        {
            Act(_world.Pick(_nexuses));
            for (int steps = _world.Between(0, 6); steps > 0; steps--) _world.Next();
        }
        // The faults stop: everything is answered, whatever was.
        _disk.Weather = DiskWeather.Fair;
        _world.Note("the faults stop");
        foreach (var nexus in _nexuses) while (nexus.IsOpen && nexus.Outstanding.Any(c => c.IsCollecting) && _world.Next(_world.Now + TimeSpan.TicksPerMinute)) { }
        foreach (var nexus in _nexuses) if (nexus.Outstanding.Any(c => c.IsCollecting)) nexus.Lose();
        _world.Settle(TimeSpan.FromHours(2));
        foreach (var nexus in _nexuses)
        {
            if (!nexus.IsOpen) nexus.Open();
            if (nexus.Outstanding.Count > 0) throw new SimulationException($"{nexus.Outstanding[0]} is never answered");
            // Preempted commands end silently with TAS = 0: their initiator gives them up some day.
            if (nexus.Untold.FirstOrDefault(c => !c.IsAborted) is { } lost) throw new SimulationException($"{lost} has no answer, and nobody has aborted it");
        }
        if (_pending > 0) throw new SimulationException("a task management function is never answered");
        if (_unit.Tasks.Count > 0) throw new SimulationException($"in the task set are still {string.Join("; ", _unit.Tasks.Describe(8))}");
        long before = _world.Step;
        for (int block = 0; block < Blocks; block++) _history.Read("the end", block, _disk.Current(block), before + 1, before + 2);
        Close();
        _history.Check();
    }

    private void Close()
    {
        // Under commands that run.
        foreach (var nexus in _nexuses) Read(nexus);
        var closing = _unit.CloseAsync(TimeSpan.FromHours(1));
        _world.Settle(TimeSpan.FromHours(2));
        // The disk's guard goes on elsewhere when the last call has ended.
        closing.Wait(TimeSpan.FromSeconds(20));
        if (!closing.IsCompletedSuccessfully || !closing.Result || !_disk.IsClosed) throw new SimulationException("the unit is not closed");
        if (_unit.Tasks.Count > 0) throw new SimulationException("commands are left in the task set of a closed unit");
        if (_disk.Misuse is { } misuse) throw new SimulationException($"the disk is used wrongly: {misuse}");
        for (int block = 0; block < Blocks; block++)
            if (_disk.Durable(block) != _disk.Current(block)) throw new SimulationException($"block {block} is not on the medium after the unit was closed");
    }

    private void Act(SimulatedNexus nexus)
    {
        if (!nexus.IsOpen)
        {
            if (_world.Chance(0.5)) nexus.Open();
            return;
        }
        switch (_world.Between(0, 99))
        {
            case < 40: Write(nexus); break;
            case < 62: Read(nexus); break;
            case < 67: CompareAndWrite(nexus); break;
            case < 71: Unmap(nexus); break;
            case < 75: Flush(nexus); break;
            case < 78: SetWriteCache(nexus, _world.Chance(0.5)); break;
            case < 79: Sanitize(nexus); break;
            case < 83: Register(nexus); break;
            case < 86: PreemptAndAbort(nexus, _world.Pick(_nexuses)); break;
            case < 90: AbortTask(nexus); break;
            case < 92: Manage(nexus, "ABORT TASK SET", m => m.AbortTaskSet(nexus.UnitNexus), n => n == nexus); break;
            case < 93: Manage(nexus, "CLEAR TASK SET", m => m.ClearTaskSet(nexus.UnitNexus), _ => true); break;
            case < 96: Reset(nexus); break;
            default:
                if (_world.Chance(0.5)) nexus.Lose();
                break;
        }
    }

    private TaskAttribute Attribute() => _world.Between(0, 19) switch { 0 => TaskAttribute.Ordered, 1 => TaskAttribute.HeadOfQueue, _ => TaskAttribute.Simple };

    private (int First, int Count) Range()
    {
        int count = _world.Between(1, 4);
        return (_world.Between(0, Blocks - count), count);
    }

    private static byte[] Cdb16(byte opcode, int lba, int count, int flags = 0)
    {
        var cdb = new byte[16];
        (cdb[0], cdb[1]) = (opcode, (byte)flags);
        BinaryPrimitives.WriteInt64BigEndian(cdb.AsSpan(2), lba);
        BinaryPrimitives.WriteInt32BigEndian(cdb.AsSpan(10), count);
        return cdb;
    }

    private byte[] Payload(SeenWrite write)
    {
        var data = new byte[write.Count * SimulatedDisk.BlockSize];
        for (int i = 0; i < write.Count; i++)
            SimulatedDisk.Store(new DataBuffer(data.AsMemory(i * SimulatedDisk.BlockSize, SimulatedDisk.BlockSize)), BlockHistory.Value(write, write.First + i));
        return data;
    }

    private void Write(SimulatedNexus nexus)
    {
        var (first, count) = Range();
        bool fua = _world.Chance(0.1);
        var write = _history.BeginWrite(nexus.ToString(), ++_ids, first, count, _world.Step);
        SimulatedCommand? command = null;
        bool cacheWasOff = !_unit.IsWriteCacheEnabled && _modeChangesUnderWay == 0;
        int modeChanges = _modeChanges;
        command = new SimulatedCommand(nexus)
        {
            Name = $"WRITE {write.Id:x} [{first},{first + count}){(fua ? " FUA" : "")}", First = first, Count = count, Write = write,
            WhenGood = () =>
            {
                if (fua || cacheWasOff && modeChanges == _modeChanges) CheckDurable($"a write past the cache ({write})", first, count, write.Start, write);
            },
        };
        nexus.Send(command, Cdb16(0x8A, first, count, fua ? 0x08 : 0), Payload(write), Attribute());
    }

    private void Read(SimulatedNexus nexus)
    {
        var (first, count) = Range();
        SimulatedCommand command = null!;
        command = new SimulatedCommand(nexus)
        {
            Name = $"READ [{first},{first + count})", First = first, Count = count,
            WhenGood = () =>
            {
                for (int i = 0; i < count; i++)
                {
                    ulong value = SimulatedDisk.Load(command.DataIn.AsSpan(i * SimulatedDisk.BlockSize, SimulatedDisk.BlockSize));
                    _lastSeen[first + i] = value;
                    _history.Read(nexus.ToString(), first + i, value, command.Start, _world.Step);
                }
            },
        };
        nexus.Send(command, Cdb16(0x88, first, count), [], Attribute());
    }

    private void CompareAndWrite(SimulatedNexus nexus)
    {
        int block = _world.Between(0, Blocks - 1);
        var write = _history.BeginWrite(nexus.ToString(), ++_ids, block, 1, _world.Step);
        var data = new byte[2 * SimulatedDisk.BlockSize];
        SimulatedDisk.Store(new DataBuffer(data.AsMemory(0, SimulatedDisk.BlockSize)), _lastSeen[block]);
        Payload(write).CopyTo(data, SimulatedDisk.BlockSize);
        var cdb = Cdb16(0x89, block, 0);
        cdb[13] = 1;
        nexus.Send(new SimulatedCommand(nexus) { Name = $"COMPARE AND WRITE {write.Id:x} [{block}]", First = block, Count = 1, Write = write }, cdb, data, Attribute());
    }

    private void Unmap(SimulatedNexus nexus)
    {
        var (first, count) = Range();
        var write = _history.BeginWrite(nexus.ToString(), ++_ids, first, count, _world.Step, isZero: true);
        var list = new byte[24];
        (list[1], list[3], list[15], list[19]) = (22, 16, (byte)first, (byte)count);
        byte[] cdb = [0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0];
        nexus.Send(new SimulatedCommand(nexus) { Name = $"UNMAP [{first},{first + count})", First = first, Count = count, Write = write }, cdb, list, Attribute());
    }

    private void Flush(SimulatedNexus nexus)
    {
        SimulatedCommand command = null!;
        command = new SimulatedCommand(nexus) { Name = "SYNCHRONIZE CACHE", WhenGood = () => CheckDurable("SYNCHRONIZE CACHE", 0, Blocks, command.Start) };
        nexus.Send(command, Cdb16(0x91, 0, 0), [], Attribute());
    }

    /// <summary>What was acknowledged before <paramref name="since"/> survives a power loss now.</summary>
    private void CheckDurable(string what, int first, int count, long since, SeenWrite? write = null)
    {
        for (int block = first; block < first + count; block++)
            _history.ReadMedium(block, _disk.Durable(block), since, _world.Step + 1, what, write);
    }

    private void SetWriteCache(SimulatedNexus nexus, bool on)
    {
        _modeChanges++;
        _modeChangesUnderWay++;
        byte[] list = new byte[24];
        _unit.ModePages.Find(0x08, 0)!.Current.CopyTo(list, 4);
        list[4] &= 0x3F;
        list[6] = (byte)(on ? list[6] | 0x04 : list[6] & ~0x04);
        SimulatedCommand command = null!;
        command = new SimulatedCommand(nexus)
        {
            Name = $"MODE SELECT WCE={(on ? 1 : 0)}",
            WhenOver = () => _modeChangesUnderWay--,
            WhenGood = () =>
            {
                if (!on) CheckDurable("MODE SELECT that switches the cache off", 0, Blocks, command.Start);
            },
        };
        nexus.Send(command, [0x15, 0x10, 0, 0, 24, 0], list, TaskAttribute.Simple);
    }

    private void Sanitize(SimulatedNexus nexus)
    {
        var write = _history.BeginWrite(nexus.ToString(), ++_ids, 0, Blocks, _world.Step, isZero: true);
        nexus.Send(new SimulatedCommand(nexus) { Name = "SANITIZE", First = 0, Count = Blocks, Write = write }, [0x48, 0x02, 0, 0, 0, 0, 0, 0, 0, 0], [], TaskAttribute.Simple);
        // The operation goes on when the command is aborted.
        write.End = long.MaxValue;
    }

    private SimulatedCommand ReserveOut(SimulatedNexus nexus, int action, ulong key, ulong actionKey, int type, Action? whenGood, string name)
    {
        var list = new byte[24];
        BinaryPrimitives.WriteUInt64BigEndian(list, key);
        BinaryPrimitives.WriteUInt64BigEndian(list.AsSpan(8), actionKey);
        var command = new SimulatedCommand(nexus) { Name = name, WhenGood = whenGood };
        nexus.Send(command, [0x5F, (byte)action, (byte)type, 0, 0, 0, 0, 0, 24, 0], list, TaskAttribute.Simple);
        return command;
    }

    private void Register(SimulatedNexus nexus) => ReserveOut(nexus, 6, 0, nexus.Key, 0, null, "REGISTER");

    private void PreemptAndAbort(SimulatedNexus nexus, SimulatedNexus victim)
    {
        if (victim == nexus) return;
        // Only what was registered when it was preempted is covered, and who it was then.
        var covered = new List<SimulatedCommand>();
        ReserveOut(nexus, 5, nexus.Key, victim.Key, 5, () => victim.Cover($"PREEMPT AND ABORT of {nexus}", covered.Contains), $"PREEMPT AND ABORT of {victim}");
        covered.AddRange(victim.Outstanding);
    }

    private void AbortTask(SimulatedNexus nexus)
    {
        if (nexus.Outstanding.Where(c => c.Nexus == nexus.UnitNexus.Nexus).ToList() is not { Count: > 0 } own) return;
        var task = _world.Pick(own);
        Manage(nexus, $"ABORT TASK of {task}", m => m.AbortTask(nexus.UnitNexus, c => c == task) ?? Task.CompletedTask, n => n == nexus, c => c == task);
    }

    private void Reset(SimulatedNexus nexus)
    {
        _modeChanges++;
        long start = _world.Step;
        Manage(nexus, "LOGICAL UNIT RESET", m => m.Reset(nexus.UnitNexus, Sense.BusDeviceResetOccurred), _ => true);
    }

    /// <summary>Sends a function; when it is answered, what it covers is over.</summary>
    private void Manage(SimulatedNexus by, string name, Func<TaskManager, Task> function, Func<SimulatedNexus, bool> ofNexus, Func<SimulatedCommand, bool>? only = null)
    {
        var covered = _nexuses.Where(ofNexus).SelectMany(n => n.Outstanding.Select(c => (Nexus: n, Command: c)).Concat(n.Untold.Select(c => (Nexus: n, Command: c))))
            .Where(c => only is null || only(c.Command)).ToList();
        _world.Note($"{name} by {by}");
        _pending++;
        var over = function(_unit.TaskManager);
        if (over.IsCompleted) Answer();
        else over.GetAwaiter().UnsafeOnCompleted(Answer);

        void Answer()
        {
            _pending--;
            over.GetAwaiter().GetResult();
            _world.Note($"{name} by {by} is answered");
            // TAS: commands of others are answered, or their initiators get a unit attention; either way they are over.
            foreach (var (nexus, command) in covered) nexus.Cover(name, c => c == command);
        }
    }
}
