using LunKit.Scsi;

namespace LunKit.Tests.Simulation;

/// <summary>Write caches, and what must be on the medium.</summary>
internal sealed partial class WireOperations
{
    // HARDWARE ERROR, WRITE ERROR: what was acknowledged is lost.
    private const int LostWrites = 0x40C00;

    /// <summary>Writes behind a handler's cache, flushes, and handlers that die in between.</summary>
    private void Cache(WireInitiator initiator, WireUnit unit, SimulatedRing ring)
    {
        switch (World.Between(0, 9))
        {
            case < 5: Write(initiator, unit); break;
            case < 9: Flush(initiator, unit); break;
            default: ring.Misfortune(); break;
        }
    }

    public void Flush(WireInitiator initiator, WireUnit unit)
    {
        WireCommand command = null!;
        command = new WireCommand
        {
            Name = "SYNCHRONIZE CACHE", Unit = unit, Cdb = Cdb16(0x91, 0, 0), Attribute = simulation.IsFair ? TaskAttribute.Simple : Attribute(),
            WhenGood = () =>
            {
                if (unit.Deceived.TryGetValue(initiator.ToString(), out long since) && command.Start > since)
                    throw new SimulationException($"{command} succeeds, and what {initiator} had written before is lost since {since}");
                CheckDurable(unit, "SYNCHRONIZE CACHE", 0, unit.Blocks, command.Start);
                unit.History.Flushed(command.Start);
            },
            WhenAnswered = status =>
            {
                if (command.Sense == LostWrites && status == ScsiStatus.CheckCondition) unit.Deceived.Remove(initiator.ToString());
            },
        };
        Send(initiator, command);
    }

    /// <summary>What was acknowledged before <paramref name="since"/> survives a power loss now.</summary>
    private void CheckDurable(WireUnit unit, string what, int first, int count, long since, SeenWrite? write = null)
    {
        for (int block = first; block < first + count; block++)
            unit.History.ReadMedium(block, unit.Disk.Durable(block), since, World.Step + 1, what, write);
    }

    private void SetWriteCache(WireInitiator initiator, WireUnit unit, bool on)
    {
        byte[] list = new byte[24];
        if (unit.Block is null) return;
        unit.Unit.ModePages.Find(0x08, 0)!.Current.CopyTo(list, 4);
        list[4] &= 0x3F;
        list[6] = (byte)(on ? list[6] | 0x04 : list[6] & ~0x04);
        WireCommand command = null!;
        command = new WireCommand
        {
            // Saved, or not: a reset goes back to what was saved.
            Name = $"MODE SELECT WCE={(on ? 1 : 0)}", Unit = unit, Cdb = [0x15, (byte)(World.Chance(0.3) ? 0x11 : 0x10), 0, 0, 24, 0],
                DataOut = list, Writes = true, Expected = 24,
            WhenOver = () => unit.ModeChangesUnderWay--,
            WhenGood = () =>
            {
                if (!on) CheckDurable(unit, "MODE SELECT that switches the cache off", 0, unit.Blocks, command.Start);
            },
        };
        if (!Send(initiator, command)) return;
        unit.ModeChanges++;
        unit.ModeChangesUnderWay++;
    }
}
