using LunKit.Backstores;
using LunKit.LogicalUnits;

namespace LunKit.Tcmu.Ring;

/// <summary>
/// A command as it was read from a ring: private copies of what decides (id, CDB, places of the data), a view of the data itself.
/// Filled by <see cref="RingConsumer"/>, reused by its owner.
/// </summary>
internal sealed class RingEntry
{
    private readonly byte[] _cdb = new byte[ScsiCommand.MaxCdbLength];
    private Memory<byte>[] _segments = new Memory<byte>[8];
    private Memory<byte>[] _bidirectional = new Memory<byte>[1];
    private DataBuffer _data;
    private bool _hasSegments, _hasBidirectionalData;
    private int _cdbLength;
    // The one piece of most commands: where it is in the ring's memory, which stays the same, so that no reference is written.
    private Memory<byte> _memory;
    private ulong _piece;
    private CommandOriginAbi _origin;

    /// <summary>Names the command toward the producer, 1 to 65535.</summary>
    public ushort Id { get; private set; }

    public ReadOnlySpan<byte> Cdb => _cdb.AsSpan(0, _cdbLength);

    /// <summary>Where it comes from, as far as the producer says that.</summary>
    public ref CommandOriginAbi Origin => ref _origin;

    /// <summary>The data of a command with one direction, or what a bidirectional one sends.</summary>
    public DataBuffer Data => _piece != 0 ? new DataBuffer(_memory.Slice((int)_piece, (int)(_piece >> 32))) : _hasSegments ? _data : default;

    /// <summary>What was read instead of a command, when it was a notification.</summary>
    public RingTaskManagement TaskManagement { get; set; }

    /// <summary>What a bidirectional command reads.</summary>
    public DataBuffer BidirectionalData { get; private set; }

    /// <param name="id">The command.</param>
    /// <param name="cdb">Its CDB, and what is behind it.</param>
    /// <param name="length">Bytes of the CDB.</param>
    public void Begin(ushort id, ReadOnlySpan<byte> cdb, int length)
    {
        Id = id;
        _cdbLength = length;
        // A copy of a constant length is two instructions; what is behind the CDB is not looked at.
        if (length <= 16 && cdb.Length >= 16) cdb[..16].CopyTo(_cdb);
        else cdb[..length].CopyTo(_cdb);
        if (_hasSegments || _hasBidirectionalData)
        {
            _hasSegments = _hasBidirectionalData = false;
            BidirectionalData = default;
        }
    }

    /// <summary>The data is one piece of memory, as it mostly is; or none, with a length of 0.</summary>
    public void SetPiece(Memory<byte> memory, int start, int length)
    {
        if (!_memory.Equals(memory)) _memory = memory;
        _piece = (uint)start | (ulong)length << 32;
    }

    /// <summary>Room for the segments of the data; filled by the caller and taken over by <see cref="SetData"/>.</summary>
    public Memory<byte>[] Segments(int count, bool bidirectional)
    {
        ref var segments = ref bidirectional ? ref _bidirectional : ref _segments;
        if (segments.Length < count) segments = new Memory<byte>[count];
        return segments;
    }

    public void SetData(int count, bool bidirectional)
    {
        if (count == 0) return;
        if (bidirectional) (BidirectionalData, _hasBidirectionalData) = (new DataBuffer(_bidirectional, count), true);
        else (_data, _hasSegments) = (new DataBuffer(_segments, count), true);
    }
}

/// <summary>A task management notification: what was done, and to which of the commands that are out.</summary>
/// <param name="Type">1 ABORT TASK, 5 LUN RESET, ... 128 LUN RESET by PERSISTENT RESERVE OUT.</param>
/// <param name="CommandIds">Ids of the commands that it ended; they are completed as ever.</param>
internal readonly record struct RingTaskManagement(byte Type, ushort[] CommandIds);
