using System.Buffers;
using LunKit.Backstores;

namespace LunKit.LogicalUnits;

/// <summary>Rented memory that a command works in, on the account of its fabric. Owned by whoever rented it; disposed once.</summary>
internal readonly struct Scratch : IDisposable
{
    private readonly ScsiCommand _command;
    private readonly byte[] _array;
    private readonly int _length;

    public Scratch(ScsiCommand command, int length)
    {
        _array = ArrayPool<byte>.Shared.Rent(length);
        (_command, _length) = (command, length);
        command.Charge(_array.Length);
    }

    public Memory<byte> Memory => _array.AsMemory(0, _length);

    public DataBuffer Data => new(Memory);

    public void Dispose()
    {
        _command.Charge(-_array.Length);
        ArrayPool<byte>.Shared.Return(_array);
    }
}
