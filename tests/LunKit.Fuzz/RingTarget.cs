using LunKit.Tcmu.Ring;

namespace LunKit.Fuzz;

/// <summary>
/// A ring of any bytes: input is what a lying producer wrote from the mailbox on. The consumer reads, completes and publishes, or says
/// that the ring is broken; it touches nothing outside of the region, and ends.
/// </summary>
internal sealed class RingTarget() : FuzzTarget("ring")
{
    private const int RingOffset = 128, RingBytes = 4096, DataBytes = 4096, MaxEntries = 2 * RingBytes / 8;

    public override void Run(byte[] input)
    {
        var region = new byte[RingOffset + RingBytes + DataBytes];
        input.AsSpan(0, Math.Min(input.Length, region.Length)).CopyTo(region);
        try
        {
            var ring = new RingConsumer(region);
            var entries = new List<ushort>();
            for (int i = 0; i < MaxEntries; i++)
            {
                var entry = new RingEntry();
                var opcode = ring.TryRead(entry);
                if (opcode is null) break;
                if (opcode == RingOpcode.TaskManagement) _ = entry.TaskManagement.CommandIds.Length;
                if (opcode != RingOpcode.Command) continue;
                // The data is where the region is: reading and clearing it proves that.
                entry.Data.Clear();
                entry.BidirectionalData.Clear();
                entries.Add(entry.Id);
                // Every other one in reverse order, as far as the ring lets it.
                if (i % 3 != 0) continue;
                entries.Reverse();
                foreach (ushort id in entries.Distinct()) ring.Complete(id, 2, new byte[18], i);
                entries.Clear();
                ring.Publish();
                // An honest producer moves its head no further than the tail: past it, what was completed would be read again.
                return;
            }
            ring.Publish();
        }
        catch (RingException)
        {
            // Said, and no harm done.
        }
    }
}
