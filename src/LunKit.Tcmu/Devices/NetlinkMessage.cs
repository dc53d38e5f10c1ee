using System.Runtime.InteropServices;
using System.Text;

namespace LunKit.Tcmu.Devices;

/// <summary>
/// One netlink message (linux/netlink.h, host byte order): a header of 16 bytes, for generic netlink a command header of 4 more, then
/// attributes of type and length, each padded to 4 bytes. A view; every length is checked before it is followed.
/// </summary>
internal readonly ref struct NetlinkMessage
{
    public const int HeaderLength = 16, GenericHeaderLength = 4, AttributeHeaderLength = 4;
    public const ushort TypeError = 2;

    private readonly ReadOnlySpan<byte> _bytes;

    private NetlinkMessage(ReadOnlySpan<byte> bytes) => _bytes = bytes;

    public ushort Type => MemoryMarshal.Read<ushort>(_bytes[4..]);
    public uint Sequence => MemoryMarshal.Read<uint>(_bytes[8..]);
    public byte Command => _bytes.Length > HeaderLength ? _bytes[HeaderLength] : (byte)0;

    /// <summary>For <see cref="TypeError"/>: 0 for an acknowledgement, or an errno, negative.</summary>
    public int Error => _bytes.Length >= HeaderLength + 4 ? MemoryMarshal.Read<int>(_bytes[HeaderLength..]) : 0;

    public Attributes Payload => new(_bytes.Length < HeaderLength + GenericHeaderLength ? default : _bytes[(HeaderLength + GenericHeaderLength)..]);

    /// <summary>Takes the first message off <paramref name="bytes"/>; false at the end, or when what is left is no message.</summary>
    public static bool TryTake(scoped ref ReadOnlySpan<byte> bytes, out NetlinkMessage message)
    {
        message = default;
        if (bytes.Length < HeaderLength) return false;
        uint length = MemoryMarshal.Read<uint>(bytes);
        if (length < HeaderLength || length > (uint)bytes.Length) return false;
        message = new NetlinkMessage(bytes[..(int)length]);
        bytes = bytes[Math.Min(bytes.Length, Padded((int)length))..];
        return true;
    }

    public static int Padded(int length) => length + 3 & ~3;

    /// <summary>A run of attributes.</summary>
    public ref struct Attributes(ReadOnlySpan<byte> bytes)
    {
        private ReadOnlySpan<byte> _rest = bytes;

        public ushort Type { get; private set; }
        public ReadOnlySpan<byte> Value { get; private set; }

        public readonly uint UInt32 => Value.Length >= 4 ? MemoryMarshal.Read<uint>(Value) : 0;
        public readonly ulong UInt64 => Value.Length >= 8 ? MemoryMarshal.Read<ulong>(Value) : 0;
        public readonly ushort UInt16 => Value.Length >= 2 ? MemoryMarshal.Read<ushort>(Value) : (ushort)0;
        public readonly byte Byte => Value.IsEmpty ? (byte)0 : Value[0];
        public readonly string Text => Encoding.UTF8.GetString(Value.IndexOf((byte)0) is var end && end >= 0 ? Value[..end] : Value);
        public readonly Attributes Nested => new(Value);

        /// <summary>Goes to the next attribute; false at the end, or at one that is longer than what is left.</summary>
        public bool Next()
        {
            if (_rest.Length < AttributeHeaderLength) return false;
            int length = MemoryMarshal.Read<ushort>(_rest);
            if (length < AttributeHeaderLength || length > _rest.Length) return false;
            // The two highest bits of the type are flags.
            Type = (ushort)(MemoryMarshal.Read<ushort>(_rest[2..]) & 0x3FFF);
            Value = _rest[AttributeHeaderLength..length];
            _rest = _rest[Math.Min(_rest.Length, Padded(length))..];
            return true;
        }
    }
}

/// <summary>Writes a generic netlink request.</summary>
internal ref struct NetlinkWriter
{
    private readonly Span<byte> _buffer;
    private int _length;

    public NetlinkWriter(Span<byte> buffer, ushort type, ushort flags, uint sequence, byte command, byte version)
    {
        _buffer = buffer;
        _length = NetlinkMessage.HeaderLength + NetlinkMessage.GenericHeaderLength;
        buffer[.._length].Clear();
        MemoryMarshal.Write(buffer[4..], type);
        MemoryMarshal.Write(buffer[6..], flags);
        MemoryMarshal.Write(buffer[8..], sequence);
        buffer[NetlinkMessage.HeaderLength] = command;
        buffer[NetlinkMessage.HeaderLength + 1] = version;
    }

    public void Add(ushort type, scoped ReadOnlySpan<byte> value)
    {
        int length = NetlinkMessage.AttributeHeaderLength + value.Length, padded = NetlinkMessage.Padded(length);
        var attribute = _buffer.Slice(_length, padded);
        attribute.Clear();
        MemoryMarshal.Write(attribute, (ushort)length);
        MemoryMarshal.Write(attribute[2..], type);
        value.CopyTo(attribute[NetlinkMessage.AttributeHeaderLength..]);
        _length += padded;
    }

    public void Add(ushort type, uint value) => Add(type, MemoryMarshal.AsBytes(new ReadOnlySpan<uint>(in value)));

    public void Add(ushort type, ulong value) => Add(type, MemoryMarshal.AsBytes(new ReadOnlySpan<ulong>(in value)));

    public readonly ReadOnlySpan<byte> Finish()
    {
        MemoryMarshal.Write(_buffer, (uint)_length);
        return _buffer[.._length];
    }
}
