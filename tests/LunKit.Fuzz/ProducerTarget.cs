using LunKit.Tcmu.Ring;

namespace LunKit.Fuzz;

/// <summary>
/// A lying handler: each byte of the input posts commands, or writes something into the shared memory, or lets the producer take completions. The
/// producer answers each command at most once, never one that is not out, or says that the ring is broken.
/// </summary>
internal sealed class ProducerTarget() : FuzzTarget("producer")
{
    private const int RingBytes = 4096, DataBytes = 65536, MaxCommands = 16;

    public override void Run(byte[] input)
    {
        var region = new byte[RingBytes + DataBytes];
        var producer = new RingProducer(region, RingBytes, MaxCommands, (MailboxFlags)0xF | MailboxFlags.Origin | MailboxFlags.Watch);
        var outstanding = new HashSet<ushort>();
        var kept = new HashSet<ushort>();
        var sense = new byte[96];
        try
        {
            for (int at = 0; at + 2 < input.Length; at += 3)
            {
                int what = input[at] & 7, value = input[at + 1] | input[at + 2] << 8;
                switch (what)
                {
                    case 0 or 1:
                        var run = new DataRun(RingBytes, 1 + value % 4096);
                        if (producer.TryPost([0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], new ReadOnlySpan<DataRun>(in run)) is { } id && !outstanding.Add(id))
                            throw new InvalidOperationException("an id was given out twice");
                        if (kept.Overlaps(outstanding)) throw new InvalidOperationException("an id that is kept was given out");
                        break;
                    case 2:
                        producer.Publish();
                        break;
                    case 3:
                        // The tail of an honest consumer is a multiple of 8 inside of the ring; this one is anything.
                        BitConverter.TryWriteBytes(region.AsSpan(64), (input[at] & 8) != 0 ? value : value * 8 % (RingBytes - 128));
                        break;
                    case 4:
                        region[value % RingBytes] = input[at + 2];
                        break;
                    case 5:
                        BitConverter.TryWriteBytes(region.AsSpan(128 + value % (RingBytes - 192) / 8 * 8 + 4), (ushort)(input[at + 2] % (MaxCommands + 2) | (input[at] & 0xF8) << 8));
                        break;
                    case 6:
                        if (producer.FreeKept((ushort)(value % (MaxCommands + 2))) && !kept.Remove((ushort)(value % (MaxCommands + 2)))) throw new InvalidOperationException("a command that is not kept was given back");
                        break;
                    default:
                        while (producer.TryTake(sense, out var completion))
                        {
                            if (!outstanding.Remove(completion.Id)) throw new InvalidOperationException("a command that is not out was answered");
                            if (completion.KeepsBuffers) kept.Add(completion.Id);
                        }
                        break;
                }
            }
        }
        catch (RingException)
        {
            // Said; afterwards only a reset makes it usable.
            producer.Reset();
            if (producer.Outstanding != 0 || producer.TryPost([0, 0, 0, 0, 0, 0], []) is null) throw new InvalidOperationException("a reset ring is not empty");
        }
    }
}
