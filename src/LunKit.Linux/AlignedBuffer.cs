using System.Buffers;
using System.Collections.Concurrent;
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

    private readonly int _length;
    private void* _start;

    internal AlignedBuffer(int length)
    {
        _length = length;
        _start = NativeMemory.AlignedAlloc((nuint)length, Alignment);
        // Its first reader must not see what another owner left there.
        NativeMemory.Clear(_start, (nuint)length);
    }

    /// <inheritdoc/>
    public override Span<byte> GetSpan()
    {
        ObjectDisposedException.ThrowIf(_start is null, this);
        // SAFETY: the memory has this length and lives until Dispose, after which the pointer is null.
        return new Span<byte>(_start, _length);
    }

    /// <inheritdoc/>
    public override MemoryHandle Pin(int elementIndex = 0)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)elementIndex, (uint)_length);
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

/// <summary>Aligned buffers of one size, of which some are kept. Thread safe.</summary>
/// <param name="length">Bytes of each buffer; a multiple of <see cref="AlignedBuffer.Alignment"/>.</param>
/// <param name="kept">Buffers to keep for the next renter.</param>
public sealed class AlignedBufferPool(int length, int kept)
{
    private readonly ConcurrentBag<AlignedBuffer> _free = [];

    /// <summary>A buffer; its bytes are what its last renter left.</summary>
    public AlignedBuffer Rent() => _free.TryTake(out var buffer) ? buffer : new AlignedBuffer(length);

    /// <summary>Takes a buffer back, which its renter no longer uses.</summary>
    public void Return(AlignedBuffer buffer)
    {
        if (_free.Count < kept) _free.Add(buffer);
        else ((IDisposable)buffer).Dispose();
    }
}
