using LunKit.Linux;

namespace LunKit.Backstores;

/// <summary>
/// Byte-addressed memory that costs nothing where nothing but zeroes was ever written: a two-level table of 64 KiB chunks.
/// Thread safe; overlapping writes leave whole blocks, a read beside a write sees any of both.
/// </summary>
internal sealed class SparseMemory
{
    public const int ChunkBytes = 64 * 1024;
    private const int ChunkBits = 16, LeafBits = 12, LeafChunks = 1 << LeafBits, WritingLocks = 64;

    // For the chunks that have the number of their index in common. Not the chunks themselves: the head of one is a cache line that nobody else
    // wants, and waiting for it costs more than copying a block.
    private readonly Lock[] _writing = [.. Enumerable.Range(0, WritingLocks).Select(static _ => new Lock())];
    private readonly byte[]?[]?[] _leaves;
    private long _allocatedChunks;

    public SparseMemory(long length) =>
        _leaves = new byte[]?[]?[(int)(((length + ChunkBytes - 1 >> ChunkBits) + LeafChunks - 1) >> LeafBits)];

    /// <summary>Bytes of memory in use for data.</summary>
    public long AllocatedBytes => Volatile.Read(ref _allocatedChunks) * ChunkBytes;

    /// <summary>The chunk that holds a byte offset, or null when it is all zeroes.</summary>
    public byte[]? Find(long offset)
    {
        long chunk = offset >> ChunkBits;
        var leaf = _leaves[chunk >> LeafBits];
        return leaf?[chunk & (LeafChunks - 1)];
    }

    /// <summary>The chunk that holds a byte offset, made if need be.</summary>
    public byte[] FindOrAllocate(long offset) => Find(offset) ?? Allocate(offset >> ChunkBits);

    public void Read(long offset, Span<byte> destination)
    {
        while (!destination.IsEmpty)
        {
            int start = (int)(offset & (ChunkBytes - 1)), count = Math.Min(ChunkBytes - start, destination.Length);
            var chunk = Find(offset);
            if (chunk is null) destination[..count].Clear();
            else View(chunk, start, count).CopyTo(destination);
            destination = destination[count..];
            offset += count;
        }
    }

    public void Write(long offset, ReadOnlySpan<byte> source)
    {
        while (!source.IsEmpty)
        {
            int start = (int)(offset & (ChunkBytes - 1)), count = Math.Min(ChunkBytes - start, source.Length);
            var chunk = FindOrAllocate(offset);
            // Of two writes at once one is there as a whole, block by block, as on a disk.
            lock (WritingOf(offset)) source[..count].CopyTo(View(chunk, start, count));
            source = source[count..];
            offset += count;
        }
    }

    /// <summary>Makes a range read as zeroes; whole chunks are given back.</summary>
    public void Discard(long offset, long length)
    {
        while (length > 0)
        {
            int start = (int)(offset & (ChunkBytes - 1)), count = (int)Math.Min(ChunkBytes - start, length);
            if (count == ChunkBytes) Release(offset >> ChunkBits);
            else if (Find(offset) is { } chunk) lock (WritingOf(offset)) View(chunk, start, count).Clear();
            offset += count;
            length -= count;
            if (length >= ChunkBytes) SkipAbsentLeaves(ref offset, ref length);
        }
    }

    private void SkipAbsentLeaves(ref long offset, ref long length)
    {
        const long leafBytes = (long)ChunkBytes << LeafBits;
        while ((offset & (leafBytes - 1)) == 0 && length >= leafBytes && _leaves[offset / leafBytes] is null)
        {
            offset += leafBytes;
            length -= leafBytes;
        }
    }

    private Lock WritingOf(long offset) => _writing[offset >> ChunkBits & (WritingLocks - 1)];

    // Every chunk has ChunkBytes bytes: Allocate is the only place that makes one.
    private static Span<byte> View(byte[] chunk, int start, int count) => FixedArray.View(chunk, ChunkBytes, start, count);

    private byte[] Allocate(long chunk)
    {
        ref var leafSlot = ref _leaves[chunk >> LeafBits];
        var leaf = leafSlot;
        if (leaf is null)
        {
            var made = new byte[]?[LeafChunks];
            leaf = Interlocked.CompareExchange(ref leafSlot, made, null) ?? made;
        }
        ref var slot = ref leaf[chunk & (LeafChunks - 1)];
        var fresh = GC.AllocateArray<byte>(ChunkBytes, pinned: true);
        var winner = Interlocked.CompareExchange(ref slot, fresh, null);
        if (winner is not null) return winner;
        Interlocked.Increment(ref _allocatedChunks);
        return fresh;
    }

    private void Release(long chunk)
    {
        var leaf = _leaves[chunk >> LeafBits];
        if (leaf is null) return;
        if (Interlocked.Exchange(ref leaf[chunk & (LeafChunks - 1)], null) is not null) Interlocked.Decrement(ref _allocatedChunks);
    }
}
