using LunKit.Backstores;

namespace LunKit.Tests.Backstores;

/// <summary>Backstores that declare Concurrent and keep something between the parts of a call that all calls share.</summary>
internal sealed class UnsafeBackstore(string fault) : IBackstore
{
    private readonly byte[] _bytes = new byte[8 << 20], _scratch = new byte[16 << 20];
    private long _position;

    public BackstoreGeometry Geometry { get; } = new(8 << 20);

    public BackstoreFeatures Features => BackstoreFeatures.Concurrent;

    public ValueTask ReadAsync(long offset, DataBuffer data, CancellationToken cancellationToken)
    {
        switch (fault)
        {
            case "seeks and moves":
                Volatile.Write(ref _position, offset);
                foreach (var segment in data) _bytes.AsSpan(Take(segment), segment.Length).CopyTo(segment.Span);
                break;
            default:
                _bytes.AsSpan((int)offset, data.Length).CopyTo(_scratch);
                data.CopyFrom(_scratch);
                break;
        }
        return ValueTask.CompletedTask;
    }

    public ValueTask WriteAsync(long offset, DataBuffer data, WriteOptions options, CancellationToken cancellationToken)
    {
        switch (fault)
        {
            case "seeks and moves":
                Volatile.Write(ref _position, offset);
                foreach (var segment in data) segment.Span.CopyTo(_bytes.AsSpan(Take(segment)));
                break;
            default:
                data.CopyTo(_scratch);
                _scratch.AsSpan(0, data.Length).CopyTo(_bytes.AsSpan((int)offset));
                break;
        }
        return ValueTask.CompletedTask;
    }

    private int Take(Memory<byte> segment)
    {
        // The memory is looked at before it is known where it goes.
        _ = segment.Span;
        int at = (int)Volatile.Read(ref _position) & (_bytes.Length - 1);
        Volatile.Write(ref _position, at + segment.Length);
        return Math.Min(at, _bytes.Length - segment.Length);
    }

    public ValueTask FlushAsync(CancellationToken cancellationToken) => ValueTask.CompletedTask;
}
