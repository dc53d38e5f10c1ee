using System.Buffers;
using LunKit.Backstores;
using LunKit.Tcmu.Ring;

namespace LunKit.Tcmu.Target;

/// <summary>
/// A piece of a device's data area, lent to a command: for the handler, and where it saves a copy for a fabric too, which receives into it or sends
/// from it. Counts who uses it; the last one's <see cref="Dispose"/> gives it back. Pooled by its region. Thread safe.
/// </summary>
internal sealed class RingMemory(UserRing ring, RingRegion region) : IMemoryOwner<byte>
{
    private Memory<byte>[] _segments = new Memory<byte>[2];
    private int _users;

    public RingRegion Region => region;

    /// <summary>Where it lies.</summary>
    public List<DataRun> Runs { get; } = [];

    public int Length { get; private set; }

    /// <summary>All of it, where it was rented in one piece.</summary>
    public Memory<byte> Memory => region.Mapped.Memory.Slice(Runs[0].Offset, Runs[0].Length);

    public bool Take(DataRun piece)
    {
        Runs.Add(piece);
        return true;
    }

    public void Begin(int length)
    {
        Length = length;
        _users = 1;
    }

    /// <summary>The first bytes of it. A view, one at a time.</summary>
    public DataBuffer View(int length)
    {
        if (_segments.Length < Runs.Count) _segments = new Memory<byte>[Runs.Count];
        for (int i = 0; i < Runs.Count; i++) _segments[i] = region.Mapped.Memory.Slice(Runs[i].Offset, Runs[i].Length);
        var all = new DataBuffer(_segments, Runs.Count);
        return length == all.Length ? all : all.Slice(0, length);
    }

    /// <summary>One more uses it.</summary>
    public void AddUser() => Interlocked.Increment(ref _users);

    public void Dispose()
    {
        if (Interlocked.Decrement(ref _users) == 0) ring.Return(this);
    }
}
