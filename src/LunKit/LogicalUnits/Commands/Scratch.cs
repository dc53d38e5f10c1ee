using System.Buffers;

namespace LunKit.LogicalUnits.Commands;

/// <summary>Memory that a command needs beside its data, in bounded pieces; returned with its disposal.</summary>
internal readonly struct Scratch : IDisposable
{
    private readonly byte[] _array;
    private readonly int _length;

    private Scratch(int length)
    {
        _array = ArrayPool<byte>.Shared.Rent(length);
        _length = length;
    }

    public static Scratch Rent(ScsiCommand command, int length) => new(length);

    public Memory<byte> Memory => _array.AsMemory(0, _length);

    public void Dispose() => ArrayPool<byte>.Shared.Return(_array);
}
