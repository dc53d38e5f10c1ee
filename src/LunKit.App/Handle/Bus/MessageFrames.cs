using System.Buffers.Binary;

namespace LunKit.App.Handle.Bus;

/// <summary>Finds the beginnings of D-Bus messages in a stream of bytes, whatever the pieces in which they come.</summary>
internal sealed class MessageFrames
{
    public const byte MethodCall = 1, MethodReturn = 2, Error = 3;
    private const int HeaderSize = 16;
    private const uint MaxFields = 64 << 20, MaxMessage = 128 << 20;

    private readonly byte[] _header = new byte[HeaderSize];
    private int _have;

    /// <summary>The message's type, after <see cref="TryNext"/>.</summary>
    public byte Type => _header[1];

    /// <summary>Whether the sender of the message waits for an answer.</summary>
    public bool ExpectsReply => Type == MethodCall && (_header[2] & 1) == 0;

    /// <summary>The message's length in bytes.</summary>
    public long Length { get; private set; }

    /// <summary>How many bytes of the message are still to come.</summary>
    public long Remaining { get; private set; }

    /// <summary>Consumes bytes up to the end of the next message's fixed header; false when there is none in them.</summary>
    /// <exception cref="InvalidDataException">These are no messages.</exception>
    public bool TryNext(ref ReadOnlySpan<byte> bytes)
    {
        int skip = (int)Math.Min(Remaining, bytes.Length);
        bytes = bytes[skip..];
        Remaining -= skip;
        if (bytes.IsEmpty) return false;
        int take = Math.Min(HeaderSize - _have, bytes.Length);
        bytes[..take].CopyTo(_header.AsSpan(_have));
        bytes = bytes[take..];
        _have += take;
        if (_have < HeaderSize) return false;
        _have = 0;
        Parse();
        return true;
    }

    private void Parse()
    {
        bool little = _header[0] == 'l';
        if ((!little && _header[0] != 'B') || Type == 0 || _header[3] != 1) throw new InvalidDataException("the bus sent something that is not a D-Bus message");
        uint body = Number(4), fields = Number(12);
        if (fields > MaxFields || body > MaxMessage) throw new InvalidDataException($"the bus sent a message of {body} and {fields} bytes, which the protocol forbids");
        Remaining = ((fields + 7) & ~7L) + body;
        Length = HeaderSize + Remaining;

        uint Number(int offset) => little ? BinaryPrimitives.ReadUInt32LittleEndian(_header.AsSpan(offset)) : BinaryPrimitives.ReadUInt32BigEndian(_header.AsSpan(offset));
    }
}
