using System.Runtime.InteropServices;
using LunKit.Linux;

namespace LunKit.Tcmu.Ring;

/// <summary>
/// The memory that a ring is in. A mapping, as it is but in tests, gives its span without the virtual call and the checks of
/// <see cref="Memory{T}"/>, which a ring would pay several times for each command.
/// </summary>
internal readonly struct RingMemoryView
{
    private readonly MappedRegion? _mapping;

    public RingMemoryView(Memory<byte> memory)
    {
        Memory = memory;
        // A part of a mapping is none.
        if (MemoryMarshal.TryGetMemoryManager<byte, MappedRegion>(memory, out var mapping, out int start, out int length) && start == 0 && length == mapping.Span.Length) _mapping = mapping;
    }

    public Memory<byte> Memory { get; }

    public int Length => Memory.Length;

    public Span<byte> Span => _mapping is { } mapping ? mapping.Span : Memory.Span;

    public Memory<byte> Slice(int start, int length) => Memory.Slice(start, length);
}
