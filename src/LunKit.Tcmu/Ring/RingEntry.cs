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
    private bool _hasData, _hasBidirectionalData;
    private int _cdbLength;

    /// <summary>Names the command toward the producer, 1 to 65535.</summary>
    public ushort Id { get; private set; }

    public ReadOnlySpan<byte> Cdb => _cdb.AsSpan(0, _cdbLength);

    /// <summary>Where it comes from, as far as the producer says that.</summary>
    public CommandOriginAbi Origin { get; set; }

    /// <summary>The data of a command with one direction, or what a bidirectional one sends.</summary>
    public DataBuffer Data => _hasData ? _data : default;

    /// <summary>What a bidirectional command reads.</summary>
    public DataBuffer BidirectionalData { get; private set; }

    public void Begin(ushort id, ReadOnlySpan<byte> cdb)
    {
        Id = id;
        _cdbLength = cdb.Length;
        cdb.CopyTo(_cdb);
        _hasData = false;
        if (_hasBidirectionalData) BidirectionalData = default;
        _hasBidirectionalData = false;
    }

    /// <summary>The data is one piece of memory, as it mostly is.</summary>
    public void SetPiece(Memory<byte> piece)
    {
        _data = new DataBuffer(piece);
        _hasData = true;
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
        else (_data, _hasData) = (new DataBuffer(_segments, count), true);
    }
}

/// <summary>A task management notification: what was done, and to which of the commands that are out.</summary>
/// <param name="Type">1 ABORT TASK, 5 LUN RESET, ... 128 LUN RESET by PERSISTENT RESERVE OUT.</param>
/// <param name="CommandIds">Ids of the commands that it ended; they are completed as ever.</param>
internal readonly record struct RingTaskManagement(byte Type, ushort[] CommandIds);
