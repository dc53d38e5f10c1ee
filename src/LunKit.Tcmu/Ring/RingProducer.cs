using System.Runtime.InteropServices;

namespace LunKit.Tcmu.Ring;

/// <summary>How a completed command ended: what the consumer wrote, copied and checked.</summary>
/// <param name="Id">The command.</param>
/// <param name="Status">SCSI status.</param>
/// <param name="IsUnknown">The consumer did not know the kind of the entry.</param>
/// <param name="ReadLength">Bytes that were read, or -1: all of the buffer.</param>
/// <param name="KeepsBuffers">The consumer still uses the data: the id comes free later.</param>
internal readonly record struct RingCompletion(ushort Id, byte Status, bool IsUnknown, int ReadLength, bool KeepsBuffers);

/// <summary>
/// The target's side of a TCMU command ring, over the shared region, laid out and driven as the kernel's target_core_user does it. The
/// consumer is not trusted: lengths, opcodes and places are remembered here and never read back; what it wrote (tail, id, flags, read
/// length) is checked before it is believed. One thread at a time uses it.
/// </summary>
internal sealed class RingProducer
{
    public const int MailboxBytes = 128;

    private const int StatusOffset = 8, ReadLengthOffset = 12, CommandHeader = 48, TaskManagementHeader = 32, MinimumEntry = 112;

    // Up to two pieces of data, a CDB of 10 to 16 bytes: two lines of the processor's cache.
    private const int UsualEntry = MinimumEntry + 16;

    /// <summary>An entry: place, length and kind in one word, for the reason that <see cref="Slots"/> has.</summary>
    private readonly struct Slot(int at, int length, bool isCommand)
    {
        private readonly ulong _word = (uint)at | (isCommand ? 1u : 0) | (ulong)length << 32;

        public int At => (int)_word & ~1;
        public int Length => (int)(_word >> 32);
        public bool IsCommand => (_word & 1) != 0;
    }

    private enum IdState : byte { Free, Outstanding, Kept }

    private readonly RingMemoryView _region;
    private readonly int _size;
    private readonly IdState[] _ids;
    private readonly ushort[] _freeIds;
    private int _freeIdCount;
    // A queue over an array: from the oldest entry that is not cleaned to the newest.
    private Slot[] _slots = new Slot[64];
    private int _firstSlot;
    private int _slotCount;
    private readonly MailboxFlags _flags;
    private int _head;
    private int _published;
    private int _cleaned;
    // How far the consumer's completions are known to reach.
    private int _completed;

    /// <summary>Makes an empty ring at the beginning of <paramref name="region"/>.</summary>
    /// <param name="region">The shared memory: mailbox, ring, and the data area.</param>
    /// <param name="ringBytes">Bytes of the ring with the mailbox before it.</param>
    /// <param name="maxCommands">Commands that may be out at once, up to 65535.</param>
    /// <param name="flags">What the consumer may use.</param>
    public RingProducer(Memory<byte> region, int ringBytes, int maxCommands = 1024, MailboxFlags flags = (MailboxFlags)0xF)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(ringBytes, region.Length);
        ArgumentOutOfRangeException.ThrowIfLessThan(ringBytes, MailboxBytes + 1024);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(maxCommands, ushort.MaxValue);
        _region = new RingMemoryView(region);
        _size = ringBytes - MailboxBytes;
        _flags = flags;
        _ids = new IdState[maxCommands + 1];
        _freeIds = new ushort[maxCommands];
        Reset();
    }

    /// <summary>Commands that are out, those whose data is kept included.</summary>
    public int Outstanding => _freeIds.Length - _freeIdCount;

    private ref MailboxAbi Mailbox => ref MemoryMarshal.AsRef<MailboxAbi>(_region.Span);

    /// <summary>Empties the ring: all ids are free. The consumer must not be using it.</summary>
    public void Reset()
    {
        _firstSlot = _slotCount = _freeIdCount = 0;
        for (int id = _ids.Length - 1; id > 0; id--) Release((ushort)id);
        _head = _published = _cleaned = _completed = 0;
        _region.Span[..MailboxBytes].Clear();
        ref var mailbox = ref Mailbox;
        mailbox.RingOffset = MailboxBytes;
        mailbox.RingSize = (uint)_size;
        mailbox.Flags = _flags;
        mailbox.Version = RingConsumer.SupportedVersion;
    }

    /// <summary>
    /// Writes a command into the ring; <see cref="Publish"/> shows it to the consumer. Null when there is no room or no id now.
    /// </summary>
    /// <param name="cdb">The CDB, 1 to 260 bytes.</param>
    /// <param name="data">Its data: from the initiator, or for it; for a bidirectional command the first, then the second.</param>
    /// <param name="bidirectional">How many of them, at the end, are for the initiator of a bidirectional command.</param>
    /// <param name="origin">Where the command comes from, for consumers that want to know; see <see cref="CommandOriginAbi"/>.</param>
    public ushort? TryPost(ReadOnlySpan<byte> cdb, ReadOnlySpan<DataRun> data, int bidirectional, in CommandOriginAbi origin) => TryPost(cdb, data, bidirectional, in origin, tells: true);

    /// <summary>Likewise, without saying where the command comes from.</summary>
    public ushort? TryPost(ReadOnlySpan<byte> cdb, ReadOnlySpan<DataRun> data, int bidirectional = 0) => TryPost(cdb, data, bidirectional, default, tells: false);

    private ushort? TryPost(ReadOnlySpan<byte> cdb, ReadOnlySpan<DataRun> data, int bidirectional, in CommandOriginAbi origin, bool tells)
    {
        int iovecsEnd = CommandHeader + 16 * data.Length, start = Math.Max(iovecsEnd, MinimumEntry);
        int length = start + (cdb.Length + 7 & ~7), originAt = CommandOriginAbi.Place(iovecsEnd, start, cdb.Length);
        if (tells) length = Math.Max(length, originAt + CommandOriginAbi.Size);
        if (length > _size / 2) throw new ArgumentException($"{data.Length} pieces of data are too many for the ring", nameof(data));
        if (_freeIdCount == 0 || Reserve(length) is not { } at) return null;
        ushort id = _freeIds[--_freeIdCount];
        _ids[id] = IdState.Outstanding;
        var entry = _region.Span.Slice(MailboxBytes + at, length);
        // What is not written below is zero. A constant length takes a few instructions.
        if (length == UsualEntry) entry[..UsualEntry].Clear();
        else entry.Clear();
        ref var request = ref MemoryMarshal.AsRef<CommandRequestAbi>(entry);
        request.Header.LengthAndOpcode = (uint)(length | (int)RingOpcode.Command);
        request.Header.CommandId = id;
        request.IovecCount = (uint)(data.Length - bidirectional);
        request.BidirectionalIovecCount = (uint)bidirectional;
        request.CdbOffset = (ulong)(MailboxBytes + at + start);
        var iovecs = MemoryMarshal.Cast<byte, IovecAbi>(entry[CommandHeader..iovecsEnd]);
        for (int i = 0; i < data.Length; i++)
        {
            iovecs[i].Base = (ulong)data[i].Offset;
            iovecs[i].Length = (ulong)data[i].Length;
        }
        cdb.CopyTo(entry[start..]);
        if (tells) MemoryMarshal.AsRef<CommandOriginAbi>(entry[originAt..]).Set(in origin);
        Advance(at, length, isCommand: true);
        return id;
    }

    /// <summary>Tells the consumer of a task management function; false when there is no room now.</summary>
    public bool TryPostManagement(byte type, ReadOnlySpan<ushort> ids)
    {
        int length = TaskManagementHeader + (ids.Length * 2 + 7 & ~7);
        if (length > _size / 2 || Reserve(length) is not { } at) return false;
        var entry = _region.Span.Slice(MailboxBytes + at, length);
        entry.Clear();
        ref var notice = ref MemoryMarshal.AsRef<TaskManagementAbi>(entry);
        notice.Header.LengthAndOpcode = (uint)(length | (int)RingOpcode.TaskManagement);
        notice.Type = type;
        notice.CommandCount = (uint)ids.Length;
        ids.CopyTo(MemoryMarshal.Cast<byte, ushort>(entry[TaskManagementHeader..]));
        Advance(at, length, isCommand: false);
        return true;
    }

    /// <summary>Shows what was written to the consumer; true when it must be told so by a doorbell.</summary>
    public bool Publish()
    {
        if (_published == _head) return false;
        _published = _head;
        ref var mailbox = ref Mailbox;
        // Release: the entries are visible before the head.
        Volatile.Write(ref mailbox.Head, (uint)_head);
        // The consumer says that it sleeps, then looks at the head a last time; here the head is written, then looked whether it sleeps.
        Interlocked.MemoryBarrier();
        return Volatile.Read(ref mailbox.ConsumerWatch) != (uint)Watch.Looks;
    }

    /// <summary>Whether the consumer knows LunKit's own additions: then it says what it does.</summary>
    public bool ConsumerIsKnown => Volatile.Read(ref Mailbox.ConsumerWatch) != (uint)Watch.Unknown;

    /// <summary>Whether the consumer says that it left with nothing begun and not completed.</summary>
    public bool ConsumerHasLeft => Volatile.Read(ref Mailbox.ConsumerWatch) is (uint)Watch.HasLeft or (uint)Watch.HasLeftUnflushed;

    /// <summary>Whether its last flush has failed then.</summary>
    public bool ConsumerHasLeftUnflushed => Volatile.Read(ref Mailbox.ConsumerWatch) == (uint)Watch.HasLeftUnflushed;

    /// <summary>What the consumer says outlives it. It holds for all that it has completed.</summary>
    public Survival ConsumerSurvival => Survival.Of(Volatile.Read(ref Mailbox.ConsumerSurvival));

    /// <summary>
    /// Says whether this side looks for completions by itself. After <see cref="Watch.Sleeps"/> it must look at <see cref="HasCompletions"/>
    /// once more before it sleeps.
    /// </summary>
    public void Say(Watch watch)
    {
        Volatile.Write(ref Mailbox.ProducerWatch, (uint)watch);
        Interlocked.MemoryBarrier();
    }

    /// <summary>Whether the consumer has completed something that <see cref="TryTake"/> has not seen.</summary>
    public bool HasCompletions => Volatile.Read(ref Mailbox.Tail) != (uint)_cleaned;

    /// <summary>Takes the next completion; false when there is none now. Slots that want no answer are passed.</summary>
    /// <param name="sense">Room for 96 bytes of sense data, which is written when the status is CHECK CONDITION, and may be all 0.</param>
    /// <param name="completion">The completion.</param>
    /// <exception cref="RingException">The consumer broke the ring.</exception>
    public bool TryTake(Span<byte> sense, out RingCompletion completion)
    {
        completion = default;
        while (true)
        {
            if (_cleaned == _completed && !Advance()) return false;
            var slot = _slots[_firstSlot];
            _firstSlot = (_firstSlot + 1) & (_slots.Length - 1);
            _slotCount--;
            _cleaned = EndOf(slot);
            if (!slot.IsCommand) continue;
            completion = Read(slot, sense);
            return true;
        }
    }

    /// <summary>Follows the consumer's tail, if it has moved to the end of an entry that was shown to it: nothing before that is believed.</summary>
    private bool Advance()
    {
        // Acquire: the completions before the tail are visible with it.
        uint tail = Volatile.Read(ref Mailbox.Tail);
        if (tail == (uint)_cleaned) return false;
        int at = _cleaned;
        // What comes behind the published ones is not shown yet.
        for (int i = 0; i < _slotCount && at != _published; i++)
        {
            at = EndOf(_slots[(_firstSlot + i) & (_slots.Length - 1)]);
            if (at != tail) continue;
            _completed = at;
            return true;
        }
        throw Broken($"the tail {tail} is not at an entry's end");
    }

    private int EndOf(Slot slot) => slot.At + slot.Length == _size ? 0 : slot.At + slot.Length;

    private RingCompletion Read(Slot slot, Span<byte> sense)
    {
        var entry = _region.Span.Slice(MailboxBytes + slot.At, slot.Length);
        var header = MemoryMarshal.Read<EntryHeaderAbi>(entry);
        byte status = entry[StatusOffset];
        uint readLength = MemoryMarshal.Read<uint>(entry[ReadLengthOffset..]);
        // Only CHECK CONDITION has any.
        if (status == 2) entry.Slice(CommandResponseAbi.SenseOffset, CommandResponseAbi.SenseLength).CopyTo(sense);
        ushort id = header.CommandId;
        if (id >= _ids.Length || _ids[id] != IdState.Outstanding) throw Broken($"a completion of the command {id}, which is not out");
        bool keeps = (header.UserFlags & CompletionFlags.KeepBuffers) != 0 && (_flags & MailboxFlags.KeepBuffers) != 0;
        if (keeps) _ids[id] = IdState.Kept;
        else Release(id);
        bool unknown = (header.UserFlags & CompletionFlags.UnknownOpcode) != 0;
        // A length of 0 cannot be told: it means that none was given.
        bool hasLength = (header.UserFlags & CompletionFlags.ReadLength) != 0 && (_flags & MailboxFlags.ReadLength) != 0 && readLength != 0;
        return new RingCompletion(id, unknown ? (byte)2 : status, unknown, hasLength ? (int)Math.Min(readLength, int.MaxValue) : -1, keeps);
    }

    /// <summary>The consumer gives back a command that it kept; false when it did not keep it.</summary>
    public bool FreeKept(ushort id)
    {
        if (id == 0 || id >= _ids.Length || _ids[id] != IdState.Kept) return false;
        Release(id);
        return true;
    }

    private void Release(ushort id)
    {
        _ids[id] = IdState.Free;
        _freeIds[_freeIdCount++] = id;
    }

    /// <summary>Where an entry goes, behind a pad if it does not fit before the end; null when there is no room.</summary>
    private int? Reserve(int length)
    {
        // For a pad and the entry: nothing is begun that lacks the memory to be ended.
        if (_slotCount + 2 > _slots.Length) Grow();
        int used = _head - _cleaned + (_head < _cleaned ? _size : 0), toEnd = _size - _head;
        int needed = length <= toEnd ? length : toEnd + length;
        // One byte stays free: a full ring is not an empty one.
        if (_size - used - 1 < needed) return null;
        if (length > toEnd)
        {
            var pad = new EntryHeaderAbi { LengthAndOpcode = (uint)toEnd | (uint)RingOpcode.Pad };
            MemoryMarshal.Write(_region.Span[(MailboxBytes + _head)..], pad);
            Advance(_head, toEnd, isCommand: false);
        }
        return _head;
    }

    private void Advance(int at, int length, bool isCommand)
    {
        _slots[(_firstSlot + _slotCount++) & (_slots.Length - 1)] = new Slot(at, length, isCommand);
        _head = at + length == _size ? 0 : at + length;
    }

    private void Grow()
    {
        var larger = new Slot[_slots.Length * 2];
        for (int i = 0; i < _slotCount; i++) larger[i] = _slots[(_firstSlot + i) & (_slots.Length - 1)];
        (_slots, _firstSlot) = (larger, 0);
    }

    private RingException Broken(string what) => new($"the handler broke the ring at {_cleaned}: {what}");
}
