using System.Buffers;
using System.Runtime.InteropServices;
using System.Runtime.Versioning;

namespace LunKit.Linux;

/// <summary>
/// A shared mapping of a file or device. Its owner disposes it when nobody uses its memory any more: a span that outlives it would point
/// nowhere, so the owner first ends everything that has one.
/// </summary>
[SupportedOSPlatform("linux")]
public sealed unsafe class MappedRegion : MemoryManager<byte>
{
    private readonly int _length;
    private void* _start;

    /// <summary>Maps the first <paramref name="length"/> bytes for reading and writing. Throws <see cref="LinuxException"/>.</summary>
    public MappedRegion(SafeHandle file, int length)
    {
        using var fd = new OpenDescriptor(file);
        // SAFETY: a new mapping that the kernel places.
        void* start = LibC.mmap(null, (nuint)length, LibC.PROT_READ | LibC.PROT_WRITE, LibC.MAP_SHARED, fd.Number, 0);
        if ((nint)start == -1) throw new LinuxException("mmap", LibC.Errno);
        _start = start;
        _length = length;
    }

    /// <summary>All of it; cheaper than through <see cref="MemoryManager{T}.Memory"/>.</summary>
    public Span<byte> Span
    {
        get
        {
            ObjectDisposedException.ThrowIf(_start is null, this);
            // SAFETY: the mapping has this length and lives until Dispose, after which the pointer is null.
            return new Span<byte>(_start, _length);
        }
    }

    /// <inheritdoc/>
    public override Span<byte> GetSpan() => Span;

    /// <inheritdoc/>
    public override MemoryHandle Pin(int elementIndex = 0)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)elementIndex, (uint)_length);
        ObjectDisposedException.ThrowIf(_start is null, this);
        // SAFETY: a mapping does not move.
        return new MemoryHandle((byte*)_start + elementIndex);
    }

    /// <inheritdoc/>
    public override void Unpin()
    {
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (_start is null) return;
        // SAFETY: the mapping that the constructor made, once.
        _ = LibC.munmap(_start, (nuint)_length);
        _start = null;
    }
}
