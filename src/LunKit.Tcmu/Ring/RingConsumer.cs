using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace LunKit.Tcmu.Ring;

/// <summary>
/// The handler's side of a TCMU command ring, over the shared region. Reads entries in order, completes commands in any order, and never
/// believes a length or an offset before it has checked its own copy of it. One thread at a time reads and completes. Allocates
/// nothing per command.
/// </summary>
/// <remarks>
/// A completion is written into the oldest slot that is not answered, whatever command it is for (out-of-order completion; where the
/// producer cannot bear that, completions wait for their turn), and so over another command's request: that is why <see cref="TryRead"/>
/// copies all of a command that decides. What the slots are is
/// remembered here and not read again.
/// </remarks>
internal sealed class RingConsumer
{
    public const int SupportedVersion = 2;

    private const int MaxIovecs = 65536, CommandHeader = 48, TaskManagementHeader = 32;

    private readonly record struct Waiting(CompletionFlags Flags, byte Status, byte[] Sense, uint ReadLength);

    private readonly RingMemoryView _region;
    private readonly int _ringOffset;
    private readonly int _ringSize;
    private readonly Slots _slots = new();
    private readonly Dictionary<ushort, Waiting> _waiting = [];
    private int _cursor;
    private int _tail;
    private int _published;

    /// <summary>Attaches to a ring; reading begins at the tail, where a consumer before this one left off.</summary>
    /// <exception cref="RingException">The region holds no ring that this side can use.</exception>
    public RingConsumer(Memory<byte> region)
    {
        _region = new RingMemoryView(region);
        if (region.Length < Marshal.SizeOf<MailboxAbi>()) throw new RingException($"a region of {region.Length} bytes holds no mailbox");
        ref var mailbox = ref Mailbox;
        if (mailbox.Version != SupportedVersion)
            throw new RingException($"the mailbox has version {mailbox.Version}; LunKit knows version {SupportedVersion} (Linux 4.2 or later)");
        uint offset = mailbox.RingOffset, size = mailbox.RingSize, tail = mailbox.Tail;
        if (offset < 128 || size < 256 || (ulong)offset + size > (ulong)region.Length || (offset | size) % EntryHeaderAbi.Alignment != 0)
            throw new RingException($"the mailbox says that the ring is {size} bytes at {offset}, in a region of {region.Length}");
        if (tail >= size || tail % EntryHeaderAbi.Alignment != 0) throw new RingException($"the tail {tail} is no place in a ring of {size} bytes");
        Flags = mailbox.Flags;
        _ringOffset = (int)offset;
        _ringSize = (int)size;
        _cursor = _tail = _published = (int)tail;
    }

    /// <summary>What the producer can do.</summary>
    public MailboxFlags Flags { get; }

    /// <summary>Commands that were read and are not completed.</summary>
    public int Outstanding => _slots.Commands;

    private ref MailboxAbi Mailbox => ref MemoryMarshal.AsRef<MailboxAbi>(_region.Span);

    /// <summary>Whether everything that the producer has published was read.</summary>
    public bool IsDrained => (int)Volatile.Read(ref Mailbox.Head) == _cursor;

    /// <summary>
    /// Reads the next command (<see cref="RingOpcode.Command"/>) or task management notification into <paramref name="entry"/>; null when there is
    /// nothing now. Entries of a kind that this side does not know are answered so.
    /// </summary>
    /// <exception cref="RingException">The ring is broken.</exception>
    public RingOpcode? TryRead(RingEntry entry)
    {
        var region = _region.Span;
        while (true)
        {
            // Acquire: the entries before the head are visible with it.
            uint head = Volatile.Read(ref MemoryMarshal.AsRef<MailboxAbi>(region).Head);
            if (head >= (uint)_ringSize || head % EntryHeaderAbi.Alignment != 0) throw BadHead(head);
            if ((int)head == _cursor) return null;
            int room = ((int)head > _cursor ? (int)head : _ringSize) - _cursor;
            int at = _cursor;
            // Each word once: the producer may change it meanwhile, and only what was checked is used.
            ref readonly var header = ref MemoryMarshal.AsRef<EntryHeaderAbi>(region[(_ringOffset + at)..]);
            uint word = header.LengthAndOpcode;
            ushort id = header.CommandId;
            uint unsignedLength = word & ~EntryHeaderAbi.OpcodeMask;
            if (unsignedLength < EntryHeaderAbi.Alignment || unsignedLength > (uint)room) throw BadLength(unsignedLength, room);
            int length = (int)unsignedLength;
            switch ((RingOpcode)(word & EntryHeaderAbi.OpcodeMask))
            {
                case RingOpcode.Pad:
                    if ((int)head > at || length != room) throw BadPad(length);
                    Take(at, length, Slots.NoCommand);
                    continue;
                case RingOpcode.Command:
                    ReadCommand(entry, region.Slice(_ringOffset + at, length), at, id);
                    Take(at, length, id);
                    return RingOpcode.Command;
                case RingOpcode.TaskManagement when (Flags & MailboxFlags.TaskManagement) != 0:
                    entry.TaskManagement = ReadTaskManagement(at, length);
                    Take(at, length, Slots.NoCommand);
                    return RingOpcode.TaskManagement;
                default:
                    Take(at, length, id);
                    Answer(id, CompletionFlags.UnknownOpcode, 0, default, 0);
                    continue;
            }
        }
    }

    private void Take(int at, int length, int commandId)
    {
        _slots.Add(at, length, commandId);
        _cursor = at + length == _ringSize ? 0 : at + length;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void ReadCommand(RingEntry entry, Span<byte> bytes, int at, ushort id)
    {
        int length = bytes.Length;
        if (length < CommandResponseSize) throw TooShort(length);
        // Each field once, as above.
        ref readonly var request = ref MemoryMarshal.AsRef<CommandRequestAbi>(bytes);
        uint forward = request.IovecCount, back = request.BidirectionalIovecCount;
        ulong cdbOffset = request.CdbOffset;
        long iovecs = (long)forward + back, cdbAt = CommandHeader + iovecs * 16;
        if (iovecs > MaxIovecs || cdbAt > length) throw BadIovecs(iovecs, length);
        // The CDB lies in the entry, behind the iovecs.
        ulong start = (ulong)(_ringOffset + at);
        if (cdbOffset < start + (ulong)cdbAt || cdbOffset >= start + (ulong)length) throw BadCdb(cdbOffset);
        var cdb = bytes[(int)(cdbOffset - start)..];
        int cdbLength = CdbLength(cdb);
        if (cdbLength > cdb.Length) throw BadCdbLength(cdbLength, cdb.Length);
        entry.Begin(id, cdb, cdbLength);
        // What the producer does not say, or has no room for, is all zero.
        int origin = CommandOriginAbi.Place((int)cdbAt, (int)(cdbOffset - start), cdbLength);
        bool told = (Flags & MailboxFlags.Origin) != 0 && origin + CommandOriginAbi.Size <= length;
        if (told) entry.Origin = MemoryMarshal.AsRef<CommandOriginAbi>(bytes[origin..]);
        else entry.Origin = default;
        var list = MemoryMarshal.Cast<byte, IovecAbi>(bytes[CommandHeader..(int)cdbAt]);
        if (forward == 1 && back == 0)
        {
            var (start1, length1) = Check(list[0].Base, list[0].Length);
            entry.SetPiece(_region.Memory, length1 > 0 ? start1 : 0, length1);
            return;
        }
        entry.SetPiece(_region.Memory, 0, 0);
        if (forward > 0) ReadIovecs(entry, list[..(int)forward], bidirectional: false);
        if (back > 0) ReadIovecs(entry, list[(int)forward..], bidirectional: true);
    }

    /// <summary>The CDB's length by its opcode's group, as Linux has it (groups 3, 6 and 7 are vendors').</summary>
    private static int CdbLength(ReadOnlySpan<byte> cdb)
    {
        if (cdb[0] == 0x7F) return cdb.Length < 8 ? int.MaxValue : 8 + cdb[7];
        ReadOnlySpan<byte> byGroup = [6, 10, 10, 12, 16, 12, 10, 10];
        return byGroup[cdb[0] >> 5];
    }

    private void ReadIovecs(RingEntry entry, ReadOnlySpan<IovecAbi> list, bool bidirectional)
    {
        var segments = entry.Segments(list.Length, bidirectional);
        int count = 0;
        long total = 0;
        foreach (var iovec in list)
        {
            var (start, length) = Check(iovec.Base, iovec.Length);
            total += length;
            if (total > int.MaxValue) throw Broken("more than 2 GiB of data in one command");
            if (length > 0) segments[count++] = _region.Slice(start, length);
        }
        entry.SetData(count, bidirectional);
    }

    /// <summary>A piece of data lies in the data area.</summary>
    private (int Start, int Length) Check(ulong start, ulong length)
    {
        ulong dataStart = (ulong)(_ringOffset + _ringSize), end = (ulong)_region.Length;
        if (start < dataStart || start > end || length > end - start) throw BadData(start, length);
        return ((int)start, (int)length);
    }

    private RingTaskManagement ReadTaskManagement(int at, int length)
    {
        if (length < TaskManagementHeader) throw Broken($"a task management entry of {length} bytes");
        var bytes = _region.Span.Slice(_ringOffset + at, length);
        var notice = MemoryMarshal.Read<TaskManagementAbi>(bytes);
        if (notice.CommandCount > (length - TaskManagementHeader) / 2) throw Broken($"{notice.CommandCount} command ids in an entry of {length} bytes");
        return new(notice.Type, MemoryMarshal.Cast<byte, ushort>(bytes[TaskManagementHeader..])[..(int)notice.CommandCount].ToArray());
    }

    private const int CommandResponseSize = CommandResponseAbi.SenseOffset + CommandResponseAbi.SenseLength;

    /// <summary>
    /// Answers a command. <paramref name="readLength"/>: bytes that the initiator gets, when fewer than its buffer has; used only if the
    /// producer can tell (<see cref="MailboxFlags.ReadLength"/>) and not 0, which the ABI cannot say.
    /// </summary>
    public void Complete(ushort id, byte status, ReadOnlySpan<byte> sense, int readLength = 0)
    {
        var flags = readLength > 0 && (Flags & MailboxFlags.ReadLength) != 0 ? CompletionFlags.ReadLength : CompletionFlags.None;
        Answer(id, flags, status, sense, flags == CompletionFlags.None ? 0 : (uint)readLength);
    }

    /// <summary>
    /// Answers a command while its data is still in use: the producer keeps its id and its data until they are given back. Only where the
    /// producer can (<see cref="MailboxFlags.KeepBuffers"/>). Not for a command whose work goes on.
    /// </summary>
    public void CompleteKept(ushort id, byte status) => Answer(id, CompletionFlags.KeepBuffers, status, default, 0);

    private void Answer(ushort id, CompletionFlags flags, byte status, ReadOnlySpan<byte> sense, uint readLength)
    {
        if ((Flags & MailboxFlags.OutOfOrderCompletion) != 0) Write(id, flags, status, sense, readLength);
        else AnswerInOrder(id, flags, status, sense, readLength);
    }

    /// <summary>For producers that know no other order; what this needs of the stack is not cleared for the others.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private void AnswerInOrder(ushort id, CompletionFlags flags, byte status, ReadOnlySpan<byte> sense, uint readLength)
    {
        if (_slots.OldestCommand != id)
        {
            if (!_waiting.TryAdd(id, new(flags, status, sense.ToArray(), readLength))) throw Broken($"two commands with the id {id}");
            return;
        }
        Write(id, flags, status, sense, readLength);
        while (_waiting.Count > 0 && _slots.OldestCommand is { } next && _waiting.Remove(next, out var w)) Write(next, w.Flags, w.Status, w.Sense, w.ReadLength);
    }

    private void Write(ushort id, CompletionFlags flags, byte status, ReadOnlySpan<byte> sense, uint readLength)
    {
        var (at, length) = _slots.TakeCommand();
        var bytes = _region.Span.Slice(_ringOffset + at, length);
        ref var header = ref MemoryMarshal.AsRef<EntryHeaderAbi>(bytes);
        header.CommandId = id;
        header.UserFlags = flags;
        _tail = at + length == _ringSize ? 0 : at + length;
        // An entry of an unknown kind may be shorter than a response, and needs none: its flag says all.
        if ((flags & CompletionFlags.UnknownOpcode) != 0) return;
        if (length < CommandResponseSize) throw NoRoom(length);
        ref var response = ref MemoryMarshal.AsRef<CommandResponseAbi>(bytes);
        response.StatusAndReadLength = status | (ulong)readLength << 32;
        // Cleared where there is none, too, which nobody reads: the producer writes sooner into lines that this side wrote last than into
        // lines that both have only read.
        var room = bytes.Slice(CommandResponseAbi.SenseOffset, CommandResponseAbi.SenseLength);
        room[..CommandResponseAbi.SenseLength].Clear();
        if (!sense.IsEmpty) sense[..Math.Min(sense.Length, room.Length)].CopyTo(room);
    }

    /// <summary>
    /// Says whether this side looks for commands by itself; does nothing where the producer does not ask. After
    /// <see cref="Watch.Sleeps"/> it must look at <see cref="IsDrained"/> once more before it sleeps.
    /// </summary>
    public void Say(Watch watch)
    {
        if ((Flags & MailboxFlags.Watch) == 0) return;
        Volatile.Write(ref Mailbox.ConsumerWatch, (uint)watch);
        Interlocked.MemoryBarrier();
    }

    /// <summary>Says what outlives this process, before it completes anything; does nothing where the producer does not ask.</summary>
    public void Say(Survival survival)
    {
        if ((Flags & MailboxFlags.Watch) != 0) Volatile.Write(ref Mailbox.ConsumerSurvival, survival.Word);
    }

    /// <summary>
    /// Gives all completions since the last call to the producer; true when there is something that it should be told of by a doorbell.
    /// Entries that want no answer are passed when nothing before them is open.
    /// </summary>
    public bool Publish()
    {
        if (_slots.SkipLeadingOthers() is { } end) _tail = end == _ringSize ? 0 : end;
        if (_tail == _published) return false;
        _published = _tail;
        // Release: what was written into the slots is visible before the tail.
        ref var mailbox = ref Mailbox;
        Volatile.Write(ref mailbox.Tail, (uint)_tail);
        if ((Flags & MailboxFlags.Watch) == 0) return true;
        Interlocked.MemoryBarrier();
        return Volatile.Read(ref mailbox.ProducerWatch) != (uint)Watch.Looks;
    }

    // In methods of their own: making the text costs the ones that throw them stack and time even when they do not.
    private RingException BadHead(uint head) => new($"the head {head} is no place in a ring of {_ringSize} bytes");
    private RingException BadLength(long length, int room) => Broken($"an entry of {length} bytes where {room} are");
    private RingException BadPad(long length) => Broken($"a pad of {length} bytes that does not end at the ring's end");
    private RingException NoRoom(int length) => Broken($"a command's answer would go into an entry of {length} bytes");
    private RingException TooShort(int length) => Broken($"a command entry of {length} bytes");
    private RingException BadIovecs(long iovecs, int length) => Broken($"{iovecs} iovecs in an entry of {length} bytes");
    private RingException BadCdb(ulong offset) => Broken($"a CDB at {offset}, outside of its entry");
    private RingException BadCdbLength(int length, int room) => Broken($"a CDB of {length} bytes with room for {room}");
    private RingException BadData(ulong start, ulong length) => Broken($"data of {length} bytes at {start}, outside of the data area");

    private RingException Broken(string what) => new($"the ring is broken at {_cursor}: {what}");
}
