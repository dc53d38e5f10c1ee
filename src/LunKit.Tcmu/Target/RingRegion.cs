using LunKit.Linux;
using LunKit.Tcmu.Ring;

namespace LunKit.Tcmu.Target;

/// <summary>
/// The shared memory of one device: mailbox, ring, data area. A handler that broke its ring keeps it, and the device gets another; then
/// it is unmapped when nothing of it is lent any more. The lock of its <see cref="UserRing"/> guards it.
/// </summary>
internal sealed class RingRegion
{
    private readonly Stack<RingMemory> _free = new();
    private readonly UserRing _ring;
    private readonly DataAreaBudget _budget;
    private int _users = 1;

    public RingRegion(UserRing ring, string name, UserRingOptions options, DataAreaBudget budget)
    {
        (_ring, _budget) = (ring, budget);
        int bytes = options.RingBytes + options.DataAreaBytes;
        File = new MemoryFile(name, bytes);
        try
        {
            Mapped = new MappedRegion(File.Handle, bytes);
        }
        catch
        {
            File.Dispose();
            throw;
        }
        Producer = new RingProducer(Mapped.Memory, options.RingBytes, options.MaxCommands, (MailboxFlags)0xF | MailboxFlags.Origin | MailboxFlags.Watch);
        Area = new DataArea(options.RingBytes, options.DataAreaBytes);
    }

    public MemoryFile File { get; }
    public MappedRegion Mapped { get; }
    public RingProducer Producer { get; }
    public DataArea Area { get; }

    /// <summary>Whether so little is in use that memory may be lent to others than the handler, who may keep it for a while.</summary>
    public bool HasPlenty => Area.FreeBlocks > Area.Blocks / 2;

    /// <summary>Memory for some bytes, in one piece if that is asked for; null when there is none now.</summary>
    public RingMemory? TryRent(int bytes, bool inOnePiece)
    {
        var memory = _free.TryPop(out var free) ? free : new RingMemory(_ring, this);
        int highest = Area.HighestBlock;
        if (inOnePiece ? Area.TryTakePiece(bytes) is { } piece && memory.Take(piece) : Area.TryTake(bytes, memory.Runs))
        {
            // A device that has nothing out can wait for nobody.
            if (Area.HighestBlock == highest || _budget.TryTake((long)(Area.HighestBlock - highest) * DataArea.BlockBytes, must: _users == 1))
            {
                memory.Begin(bytes);
                _users++;
                return memory;
            }
            Area.Untake(memory.Runs, highest);
            memory.Runs.Clear();
        }
        _free.Push(memory);
        return null;
    }

    /// <summary>Nobody uses it any more.</summary>
    public void Return(RingMemory memory)
    {
        Area.Free(memory.Runs);
        memory.Runs.Clear();
        _free.Push(memory);
        Release();
    }

    /// <summary>The ring is done with it, or a piece of it was returned: the last one unmaps it.</summary>
    public void Release()
    {
        if (--_users > 0) return;
        _budget.Return((long)Area.HighestBlock * DataArea.BlockBytes);
        ((IDisposable)Mapped).Dispose();
        File.Dispose();
    }

    /// <summary>Gives memory of the data area that is not in use back to the system.</summary>
    /// <param name="keepBytes">So much stays, for a little load now and then.</param>
    public void GiveMemoryBack(int keepBytes)
    {
        int from = Math.Max(Area.UnusedFrom, Area.Start + keepBytes), to = Area.Start + Area.HighestBlock * DataArea.BlockBytes;
        if (to <= from) return;
        File.GiveBack(from, to - from);
        int highest = Area.HighestBlock;
        Area.HighestBlock = (from - Area.Start) / DataArea.BlockBytes;
        _budget.Return((long)(highest - Area.HighestBlock) * DataArea.BlockBytes);
    }
}
