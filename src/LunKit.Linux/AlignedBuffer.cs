using System.Buffers;
using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;
using System.Runtime.InteropServices;

namespace LunKit.Linux;

/// <summary>
/// Memory outside the managed heap that begins at a page boundary, as O_DIRECT asks for. Owned by whoever rented it, who gives it
/// back with <see cref="AlignedBufferPool.Return"/>.
/// </summary>
public sealed unsafe class AlignedBuffer : MemoryManager<byte>
{
    /// <summary>Alignment in bytes: what every block device and file system takes.</summary>
    public const int Alignment = 4096;

    private void* _start;

    /// <summary>Its bytes.</summary>
    public int Length { get; }

    internal AlignedBuffer(int length)
    {
        Length = length;
        _start = NativeMemory.AlignedAlloc((nuint)length, Alignment);
        // Its first reader must not see what another owner left there.
        NativeMemory.Clear(_start, (nuint)length);
    }

    /// <inheritdoc/>
    public override Span<byte> GetSpan()
    {
        ObjectDisposedException.ThrowIf(_start is null, this);
        // SAFETY: the memory has this length and lives until Dispose, after which the pointer is null.
        return new Span<byte>(_start, Length);
    }

    /// <inheritdoc/>
    public override MemoryHandle Pin(int elementIndex = 0)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)elementIndex, (uint)Length);
        ObjectDisposedException.ThrowIf(_start is null, this);
        // SAFETY: native memory does not move.
        return new MemoryHandle((byte*)_start + elementIndex);
    }

    /// <inheritdoc/>
    public override void Unpin()
    {
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        NativeMemory.AlignedFree(_start);
        _start = null;
    }
}

/// <summary>
/// Aligned buffers of a few sizes, powers of two, of which some are kept: a short transfer takes no long buffer. Thread safe.
/// </summary>
public sealed class AlignedBufferPool
{
    private readonly int _smallest, _largest;
    private readonly Shelf[] _shelves;

    /// <summary>Makes a pool.</summary>
    /// <param name="smallest">Bytes of the smallest buffer; a power of two, and a multiple of <see cref="AlignedBuffer.Alignment"/>.</param>
    /// <param name="largest">Bytes of the largest; a power of two.</param>
    /// <param name="keptBytes">Bytes of each size that are kept for the next renter, but not more than <paramref name="kept"/> buffers.</param>
    /// <param name="kept">Buffers of each size that are kept at most.</param>
    public AlignedBufferPool(int smallest, int largest, int keptBytes, int kept)
    {
        (_smallest, _largest) = (smallest, largest);
        int sizes = int.Log2(largest) - int.Log2(smallest) + 1;
        _shelves = [.. Enumerable.Range(0, sizes).Select(i => new Shelf(Math.Clamp(keptBytes / (smallest << i), 1, kept)))];
    }

    /// <summary>Bytes of the buffers that are kept now.</summary>
    internal long KeptBytes => _shelves.Select((shelf, i) => (long)shelf.Count * (_smallest << i)).Sum();

    /// <summary>A buffer of at least so many bytes, or of the largest size; its bytes are what its last renter left.</summary>
    public AlignedBuffer Rent(int length)
    {
        int index = IndexOf(length);
        return _shelves[index].TryTake(out var buffer) ? buffer : new AlignedBuffer(_smallest << index);
    }

    private int IndexOf(int length) => int.Log2((int)System.Numerics.BitOperations.RoundUpToPowerOf2((uint)Math.Clamp(length, _smallest, _largest))) - int.Log2(_smallest);

    /// <summary>Takes a buffer back, which its renter no longer uses.</summary>
    public void Return(AlignedBuffer buffer)
    {
        if (!_shelves[IndexOf(buffer.Length)].TryPut(buffer)) ((IDisposable)buffer).Dispose();
    }

    /// <summary>Buffers of one size.</summary>
    private sealed class Shelf(int limit)
    {
        private readonly ConcurrentBag<AlignedBuffer> _free = [];
        private int _count;

        public int Count => Volatile.Read(ref _count);

        public bool TryTake([NotNullWhen(true)] out AlignedBuffer? buffer)
        {
            if (!_free.TryTake(out buffer)) return false;
            Interlocked.Decrement(ref _count);
            return true;
        }

        public bool TryPut(AlignedBuffer buffer)
        {
            if (Interlocked.Increment(ref _count) > limit)
            {
                Interlocked.Decrement(ref _count);
                return false;
            }
            _free.Add(buffer);
            return true;
        }
    }
}
