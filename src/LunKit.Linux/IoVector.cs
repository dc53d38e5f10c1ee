using System.Buffers;
using System.Runtime.InteropServices;
using System.Runtime.Versioning;

namespace LunKit.Linux;

/// <summary>
/// A list of <c>struct iovec</c> for a library that works on the memory later: each piece stays pinned until <see cref="Clear"/>. Used over and
/// over; grows to the longest list. One thread at a time.
/// </summary>
[SupportedOSPlatform("linux")]
public sealed unsafe class IoVector : IDisposable
{
    private LibC.iovec* _vectors;
    private MemoryHandle[] _pins = [];
    private int _capacity;

    /// <summary>Pieces in the list.</summary>
    public int Count { get; private set; }

    /// <summary>Where the list is.</summary>
    public nint Address => (nint)_vectors;

    /// <summary>Appends a piece, and pins it.</summary>
    public void Add(Memory<byte> memory)
    {
        if (Count == _capacity) Grow();
        _pins[Count] = memory.Pin();
        // SAFETY: Count is below the capacity that was allocated; the piece is pinned until Clear.
        _vectors[Count] = new LibC.iovec { iov_base = _pins[Count].Pointer, iov_len = (nuint)memory.Length };
        Count++;
    }

    /// <summary>Where a piece is.</summary>
    public nint AddressOf(int index) => index < Count ? (nint)_vectors[index].iov_base : throw new ArgumentOutOfRangeException(nameof(index));

    private void Grow()
    {
        _capacity = Math.Max(8, 2 * _capacity);
        Array.Resize(ref _pins, _capacity);
        // SAFETY: the elements below Count are kept by realloc; the old block is not used afterwards.
        _vectors = (LibC.iovec*)NativeMemory.Realloc(_vectors, (nuint)_capacity * (nuint)sizeof(LibC.iovec));
    }

    /// <summary>Empties the list; nobody works on the memory any more.</summary>
    public void Clear()
    {
        for (int i = 0; i < Count; i++) _pins[i].Dispose();
        Count = 0;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Clear();
        NativeMemory.Free(_vectors);
        _vectors = null;
        _capacity = 0;
    }
}
