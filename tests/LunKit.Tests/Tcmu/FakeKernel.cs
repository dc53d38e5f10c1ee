using System.Buffers.Binary;
using System.Runtime.InteropServices;
using LunKit.Tcmu.Ring;

namespace LunKit.Tests.Tcmu;

/// <summary>
/// The kernel's side of a ring over an array, after the rules that target_core_user keeps: entries never wrap, a PAD fills the end, a
/// slot is free again when its completion was consumed, completions are taken slot by slot by the id that stands there.
/// </summary>
internal sealed class FakeKernel
{
    public const int RingOffset = 128;
    private readonly byte[] _region;
    private readonly int _size;
    private readonly SortedSet<ushort> _freeIds;
    private readonly Queue<(int At, int Length, bool IsCommand)> _slots = new();
    private readonly HashSet<ushort> _outstanding = [];
    private int _head;
    private int _cleaned;

    public FakeKernel(int ringSize, int dataSize, MailboxFlags flags = (MailboxFlags)0xF, int ids = 200, int startAt = 0)
    {
        _region = new byte[RingOffset + ringSize + dataSize];
        _size = ringSize;
        _head = _cleaned = startAt;
        _freeIds = [.. Enumerable.Range(1, ids).Select(i => (ushort)i)];
        BinaryPrimitives.WriteUInt16LittleEndian(_region, 2);
        BinaryPrimitives.WriteUInt16LittleEndian(_region.AsSpan(2), (ushort)flags);
        Set(4, RingOffset);
        Set(8, (uint)ringSize);
        Set(12, (uint)startAt);
        Set(64, (uint)startAt);
    }

    public byte[] Region => _region;
    public int DataOffset => RingOffset + _size;
    public int Head => _head;
    public int Outstanding => _outstanding.Count;

    /// <summary>Posts a command; its id, or null when there is no room.</summary>
    public ushort? Post(byte[] cdb, params (int Offset, int Length)[] iovecs)
    {
        if (_freeIds.Count == 0) return null;
        int start = Math.Max(48 + 16 * iovecs.Length, 112), length = start + (cdb.Length + 7 & ~7);
        if (Reserve(length) is not { } at) return null;
        ushort id = _freeIds.Min;
        _freeIds.Remove(id);
        _outstanding.Add(id);
        var entry = _region.AsSpan(RingOffset + at, length);
        entry.Clear();
        Header(entry, length, 1, id);
        BinaryPrimitives.WriteUInt32LittleEndian(entry[8..], (uint)iovecs.Length);
        BinaryPrimitives.WriteUInt64LittleEndian(entry[24..], (ulong)(RingOffset + at + start));
        for (int i = 0; i < iovecs.Length; i++)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(entry[(48 + 16 * i)..], (ulong)(DataOffset + iovecs[i].Offset));
            BinaryPrimitives.WriteUInt64LittleEndian(entry[(56 + 16 * i)..], (ulong)iovecs[i].Length);
        }
        cdb.CopyTo(entry[start..]);
        Advance(at, length, true);
        return id;
    }

    /// <summary>Tells of a task management function.</summary>
    public bool PostManagement(byte type, params ushort[] ids)
    {
        int length = 32 + (ids.Length * 2 + 7 & ~7);
        if (Reserve(length) is not { } at) return false;
        var entry = _region.AsSpan(RingOffset + at, length);
        entry.Clear();
        Header(entry, length, 2, 0);
        entry[8] = type;
        BinaryPrimitives.WriteUInt32LittleEndian(entry[12..], (uint)ids.Length);
        for (int i = 0; i < ids.Length; i++) BinaryPrimitives.WriteUInt16LittleEndian(entry[(32 + 2 * i)..], ids[i]);
        Advance(at, length, false);
        return true;
    }

    /// <summary>Posts an entry of an opcode that does not exist.</summary>
    public ushort? PostUnknown(int opcode)
    {
        if (_freeIds.Count == 0 || Reserve(64) is not { } at) return null;
        ushort id = _freeIds.Min;
        _freeIds.Remove(id);
        _outstanding.Add(id);
        var entry = _region.AsSpan(RingOffset + at, 64);
        entry.Clear();
        Header(entry, 64, opcode, id);
        Advance(at, 64, true);
        return id;
    }

    /// <summary>Takes the completions up to the tail: id, flags, status, read length, sense.</summary>
    public List<(ushort Id, byte Flags, byte Status, uint ReadLength, byte[] Sense)> Consume()
    {
        var done = new List<(ushort, byte, byte, uint, byte[])>();
        int tail = (int)Get(64);
        while (_cleaned != tail)
        {
            Assert.True(_slots.TryDequeue(out var slot), "the tail is past the head");
            Assert.Equal(_cleaned, slot.At);
            _cleaned = (slot.At + slot.Length) % _size;
            if (!slot.IsCommand) continue;
            var entry = _region.AsSpan(RingOffset + slot.At, slot.Length);
            ushort id = BinaryPrimitives.ReadUInt16LittleEndian(entry[4..]);
            Assert.True(_outstanding.Remove(id), $"the completion of {id}, which is not outstanding: the ring is broken");
            _freeIds.Add(id);
            done.Add((id, entry[7], entry[8], BinaryPrimitives.ReadUInt32LittleEndian(entry[12..]), slot.Length >= 112 ? entry[16..112].ToArray() : []));
        }
        return done;
    }

    private int? Reserve(int length)
    {
        int used = (_head - _cleaned + _size) % _size, toEnd = _size - _head;
        int needed = length <= toEnd ? length : toEnd + length;
        if (_size - used - 1 < needed) return null;
        if (length > toEnd)
        {
            Header(_region.AsSpan(RingOffset + _head), toEnd, 0, 0);
            Advance(_head, toEnd, false);
        }
        return _head;
    }

    private void Advance(int at, int length, bool isCommand)
    {
        _slots.Enqueue((at, length, isCommand));
        _head = (at + length) % _size;
        Set(12, (uint)_head);
    }

    private static void Header(Span<byte> entry, int length, int opcode, ushort id)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(entry, (uint)(length | opcode));
        BinaryPrimitives.WriteUInt16LittleEndian(entry[4..], id);
        entry[6] = entry[7] = 0;
    }

    /// <summary>As two processes see it: what was written before is visible with it.</summary>
    public void Set(int at, uint value) => Volatile.Write(ref MemoryMarshal.AsRef<uint>(_region.AsSpan(at)), value);

    public uint Get(int at) => Volatile.Read(ref MemoryMarshal.AsRef<uint>(_region.AsSpan(at)));
}
