using LunKit.Backstores;
using LunKit.LogicalUnits;
using LunKit.Scsi;
using Microsoft.Extensions.Logging.Abstractions;

namespace LunKit.Tests.Simulation;

/// <summary>A logical unit of a <see cref="WireSimulation"/> with its disk, and what initiators have seen of it.</summary>
internal sealed class WireUnit
{
    private ulong _ids;

    public WireUnit(SimulatedWorld world, int lun, int blocks, bool hasRing = false)
    {
        (Lun, Blocks) = (lun, blocks);
        Disk = new SimulatedDisk(world, blocks);
        LastSeen = new ulong[blocks];
        string name = $"sim{lun}";
        if (hasRing)
        {
            Ring = new SimulatedRing(world, Disk, name) { Lost = blocks => Lose(blocks, world.Step) };
            Unit = Ring.Unit;
            return;
        }
        Unit = Block = new BlockUnit(new BackstoreGuard(Disk), name, new UnitMemory(new VolatileUnitState(UnitIdentity.IdOf(name))),
            new BlockUnitOptions(), NullLogger.Instance, world.Runtime);
    }

    public int Lun { get; }
    public int Blocks { get; }
    public SimulatedDisk Disk { get; }
    public LogicalUnit Unit { get; }

    /// <summary>The unit, if it is in this process.</summary>
    public BlockUnit? Block { get; }

    /// <summary>What is in front of the disk, if that is in another process.</summary>
    public SimulatedRing? Ring { get; }

    public BlockHistory History { get; } = new();

    /// <summary>What was read last of each block.</summary>
    public ulong[] LastSeen { get; }

    /// <summary>Changes of the write cache that were asked for, and those that may still happen.</summary>
    public int ModeChanges { get; set; }

    public int ModeChangesUnderWay { get; set; }

    /// <summary>Whether a write that is acknowledged now is on the medium.</summary>
    public bool IsCacheOff => Block is { IsWriteCacheEnabled: false } && ModeChangesUnderWay == 0;

    public Task<bool>? Closing { get; set; }

    /// <summary>Flushes that had failed when it was closed.</summary>
    public int FailedFlushes { get; set; }

    /// <summary>Initiators that believe to have written what is lost, since when: their next flush must fail.</summary>
    public Dictionary<string, long> Deceived { get; } = [];

    private void Lose(IReadOnlyList<int> blocks, long now)
    {
        foreach (string who in History.Lose([.. blocks.Select(b => (b, Disk.Durable(b)))], now)) Deceived[who] = now;
    }

    public ulong NextId() => (ulong)(Lun + 1) << 32 | ++_ids;
}
