using System.Buffers.Binary;

namespace LunKit.Scsi;

/// <summary>
/// Builds parameter data, big-endian. The full data is written to a buffer of its own; the command's allocation length cuts what
/// is sent (SPC-5 4.2.5.6), so no page knows about it.
/// </summary>
internal ref struct ParameterWriter(Span<byte> buffer)
{
    private readonly Span<byte> _buffer = buffer;

    public int Length { get; private set; }

    public readonly Span<byte> Written => _buffer[..Length];

    public void Byte(int value) => _buffer[Length++] = (byte)value;

    public void UInt16(int value)
    {
        BinaryPrimitives.WriteUInt16BigEndian(_buffer[Length..], (ushort)value);
        Length += 2;
    }

    public void UInt32(uint value)
    {
        BinaryPrimitives.WriteUInt32BigEndian(_buffer[Length..], value);
        Length += 4;
    }

    public void UInt64(ulong value)
    {
        BinaryPrimitives.WriteUInt64BigEndian(_buffer[Length..], value);
        Length += 8;
    }

    public void Bytes(ReadOnlySpan<byte> value)
    {
        value.CopyTo(_buffer[Length..]);
        Length += value.Length;
    }

    public void Zeroes(int count)
    {
        _buffer.Slice(Length, count).Clear();
        Length += count;
    }

    /// <summary>ASCII, left-aligned, filled with spaces to <paramref name="width"/> bytes (SPC-5 4.3.1).</summary>
    public void Ascii(string text, int width)
    {
        for (int i = 0; i < width; i++) Byte(i < text.Length && text[i] is >= ' ' and <= '~' ? text[i] : ' ');
    }

    /// <summary>Sets a two-byte length field at <paramref name="at"/> to the bytes that follow it.</summary>
    public readonly void PatchLength16(int at) => BinaryPrimitives.WriteUInt16BigEndian(_buffer[at..], (ushort)(Length - at - 2));

    /// <summary>Sets a four-byte length field at <paramref name="at"/> to the bytes that follow it.</summary>
    public readonly void PatchLength32(int at) => BinaryPrimitives.WriteUInt32BigEndian(_buffer[at..], (uint)(Length - at - 4));
}
