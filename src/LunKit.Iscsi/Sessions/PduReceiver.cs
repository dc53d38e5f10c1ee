using System.Buffers;
using System.Buffers.Binary;
using LunKit.Fabrics;
using LunKit.Iscsi.Pdus;
using LunKit.Linux;

namespace LunKit.Iscsi.Sessions;

/// <summary>
/// Bytes to PDUs: batches of them from one buffer, long data segments straight into their tasks' memory; digests. Only the
/// connection's thread uses it.
/// </summary>
internal sealed class PduReceiver
{
    /// <summary>Nothing is there to be received.</summary>
    public const int Nothing = -1;

    // A data segment shorter than this is waited for in the buffer; a longer one goes to its destination as it comes.
    private const int DirectThreshold = 16 * 1024;

    // What follows a long direct segment is likely one more: only its header comes with it, so that its data need not be moved.
    private const int LongSegment = 128 * 1024;
    private const int AfterDirect = 512;

    // Answers to long writes that may wait for each other.
    private const int MaxHeldBack = 4;

    // Answers leave in pieces of this size or number, so that the initiator works on them while the rest of the batch is served.
    private const int FlushBytes = 256 * 1024, FlushPdus = 16;

    private readonly IscsiConnection _connection;
    private readonly IByteStream _stream;
    private readonly OutputQueue _output;
    private readonly IscsiLimits _limits;
    private readonly byte[] _directHeader = new byte[Bhs.Length];
    private ReceiveBuffer _buffer;
    private int _start;
    private int _end;
    private FullFeaturePhase? _phase;
    private bool _headerDigest;
    private bool _dataDigest;
    private bool _directActive;
    private DirectSegment _target;
    private Memory<byte> _direct;
    private Memory<byte> _directRest;
    private int _directSkip;
    private int _directTrailer;
    private uint _directCrc;
    private int _longWritesUnanswered;
    private int _unflushed;
    private bool _outputBlocked;

    public PduReceiver(IscsiConnection connection, IByteStream stream, OutputQueue output)
    {
        _connection = connection;
        _stream = stream;
        _output = output;
        _limits = connection.Limits;
        _buffer = new ReceiveBuffer(ReceiveBuffer.LoginSize);
    }

    /// <summary>Where what was received last lies.</summary>
    public ReceiveBuffer Buffer => _buffer;

    /// <summary>The task into whose memory a segment is being received: it cannot be dropped now.</summary>
    public IscsiTask? DirectTask => _target.Task;

    /// <summary>The held copy of a PDU that is being received.</summary>
    public byte[]? DirectHeld => _target.Held;

    /// <summary>
    /// Whether PDUs are here that were not served, for the output was full or <see cref="AwaitsRoom"/>: nothing more is received
    /// before them.
    /// </summary>
    public bool IsStalled { get; private set; }

    /// <summary>Whether a command before its turn waits for room to be held in.</summary>
    public bool AwaitsRoom { get; private set; }

    /// <summary>
    /// The login has been answered: what follows goes to <paramref name="phase"/>, and has the digests that were agreed on.
    /// </summary>
    public void EnterFullFeature(FullFeaturePhase phase)
    {
        _phase = phase;
        var left = _buffer.Array.AsSpan(_start, _end - _start);
        var full = _connection.Server.Buffers.RentBuffer();
        left.CopyTo(full.Array);
        (_start, _end, _buffer) = (0, left.Length, full);
        _headerDigest = phase.Parameters.HeaderDigest;
        _dataDigest = phase.Parameters.DataDigest;
    }

    /// <summary>Receives what is there: byte count, 0 at the end, <see cref="Nothing"/> for nothing now.</summary>
    public int Receive()
    {
        MakeRoom();
        var room = _buffer.Array.AsSpan(_end);
        if (_directActive && !_directRest.IsEmpty && _start == _end)
        {
            if (_direct.Length >= LongSegment) room = room[..Math.Min(room.Length, AfterDirect)];
            int got = _stream.Receive(_directRest.Span, room);
            if (got <= 0) return got;
            int direct = Math.Min(got, _directRest.Length);
            _directRest = _directRest[direct..];
            _end += got - direct;
            return got;
        }
        int n = _stream.Receive(room);
        if (n > 0) _end += n;
        return n;
    }

    private void MakeRoom()
    {
        if (_start == _end && !_buffer.IsShared) _start = _end = 0;
        if (_buffer.Array.Length - _end >= _buffer.Array.Length / 4) return;
        var left = _buffer.Array.AsSpan(_start, _end - _start);
        if (_buffer.IsShared)
        {
            var fresh = _connection.Server.Buffers.RentBuffer();
            left.CopyTo(fresh.Array);
            LeaveBuffer();
            _buffer = fresh;
        }
        else
        {
            left.CopyTo(_buffer.Array);
        }
        _end = left.Length;
        _start = 0;
    }

    /// <summary>
    /// The commands whose data lies in the buffer keep it, on the connection's account; <see cref="Release"/> takes it back.
    /// </summary>
    private void LeaveBuffer()
    {
        _connection.Memory.Charge(ReceiveBuffer.Size);
        Release(_buffer);
    }

    /// <summary>Gives up a reference of a buffer that a command kept. Any thread when the connection has ended, else its own.</summary>
    public void Release(ReceiveBuffer buffer)
    {
        if (!buffer.Release()) return;
        _connection.Memory.Refund(ReceiveBuffer.Size);
        _connection.Server.Buffers.Return(buffer);
    }

    /// <summary>
    /// Sends what waits, unless answers to long writes may wait a little: each send wakes the initiator, which costs as much as a
    /// tenth of the write, and as long as the next two writes are here already nobody waits for it to send more. True: nothing is
    /// left that could be sent.
    /// </summary>
    public bool Flush(bool isClosing)
    {
        bool done = MayHoldBack() && !isClosing;
        if (!done)
        {
            _longWritesUnanswered = 0;
            done = _output.Flush(_stream);
        }
        _outputBlocked = !done;
        _unflushed = 0;
        return done;
    }

    private bool MayHoldBack() =>
        _longWritesUnanswered is > 0 and < MaxHeldBack && _output.Pending < MaxHeldBack * 2 * Bhs.Length &&
        _stream.Available > 2 * new Bhs(_directHeader).DataLength;

    /// <summary>Handles every PDU that is complete, and begins the one that is not.</summary>
    public void Parse()
    {
        IsStalled = AwaitsRoom = false;
        while (!_connection.IsClosing)
        {
            if (_outputBlocked && _output.Pending >= _limits.MaxPendingOutputBytes)
            {
                IsStalled = true;
                return;
            }
            if (_directActive)
            {
                if (!ContinueDirect()) return;
                continue;
            }
            int available = _end - _start;
            if (available < Bhs.Length) return;
            var header = new Bhs(_buffer.Array.AsSpan(_start, Bhs.Length));
            int dataLength = header.DataLength, headerLength = Bhs.Length + header.AhsLength;
            if (dataLength > _limits.MaxRecvDataSegmentLength)
                throw new IscsiProtocolException($"a data segment of {dataLength} bytes, {_limits.MaxRecvDataSegmentLength} were declared");
            if (_phase is null && header.Opcode != PduOpcode.LoginRequest)
                throw new IscsiProtocolException($"{header.Opcode} before login");
            // Until it is negotiated the length is that of RFC 7143 13.12.
            if (_phase is null && dataLength > 8192) throw new IscsiProtocolException("a login request of more than 8192 bytes");
            int digest = _headerDigest ? 4 : 0;
            if (available < headerLength + digest) return;
            var bytes = _buffer.Array.AsSpan(_start, headerLength + digest);
            if (digest > 0 && !Crc32C.Matches(bytes[..headerLength], bytes[headerLength..]))
                throw new IscsiProtocolException("header digest error");
            if (_phase?.MustWait(header) == true)
            {
                IsStalled = AwaitsRoom = true;
                return;
            }
            int dataAt = _start + headerLength + digest;
            int trailer = dataLength == 0 ? 0 : Bhs.Padded(dataLength) - dataLength + (_dataDigest ? 4 : 0);
            if (available < headerLength + digest + dataLength + trailer)
            {
                if (dataLength < DirectThreshold || !BeginDirect(header, dataAt, dataLength, trailer)) return;
                continue;
            }
            int padded = Bhs.Padded(dataLength);
            bool damaged = dataLength > 0 && _dataDigest &&
                !Crc32C.Matches(_buffer.Array.AsSpan(dataAt, padded), _buffer.Array.AsSpan(dataAt + padded, 4));
            var ahs = _buffer.Array.AsSpan(_start + Bhs.Length, header.AhsLength);
            _start = dataAt + dataLength + trailer;
            var data = _buffer.Array.AsMemory(dataAt, dataLength);
            if (_phase is not { } phase) _connection.HandleLogin(header, data.Span);
            else if (damaged) phase.RefuseDamaged(header);
            else phase.Handle(header, ahs, data);
            if (!_outputBlocked && (_output.Pending >= FlushBytes || ++_unflushed >= FlushPdus && _output.Pending > 0)) FlushEarly();
        }
    }

    private void FlushEarly()
    {
        _unflushed = 0;
        _outputBlocked = !_output.Flush(_stream);
    }

    /// <summary>
    /// A long data segment is not here yet: it gets its memory now and the bytes go there. False in the login phase, where none is long.
    /// </summary>
    private bool BeginDirect(Bhs header, int dataAt, int dataLength, int trailer)
    {
        if (_phase is not { } phase) return false;
        header.Bytes.CopyTo(_directHeader);
        _target = phase.BeginDirect(header, _buffer.Array.AsSpan(_start + Bhs.Length, header.AhsLength), dataLength);
        _direct = _target.Memory[..Math.Min(_target.Memory.Length, dataLength)];
        _directRest = _direct;
        _directSkip = dataLength - _direct.Length;
        _directTrailer = trailer;
        _directCrc = Crc32C.Seed;
        _directActive = true;
        _start = dataAt;
        return true;
    }

    /// <summary>Goes on with a data segment that is received directly; false when more bytes are needed.</summary>
    private bool ContinueDirect()
    {
        if (!_directRest.IsEmpty)
        {
            int count = Math.Min(_directRest.Length, _end - _start);
            _buffer.Array.AsSpan(_start, count).CopyTo(_directRest.Span);
            _directRest = _directRest[count..];
            _start += count;
            if (!_directRest.IsEmpty) return false;
        }
        if (_directCrc == Crc32C.Seed && _dataDigest) _directCrc = Crc32C.Append(_directCrc, _direct.Span);
        // Bytes that no command wants: read, digested, dropped.
        int skip = Math.Min(_directSkip, _end - _start);
        if (_dataDigest) _directCrc = Crc32C.Append(_directCrc, _buffer.Array.AsSpan(_start, skip));
        _directSkip -= skip;
        _start += skip;
        if (_directSkip > 0 || _end - _start < _directTrailer) return false;
        var trailer = _buffer.Array.AsSpan(_start, _directTrailer);
        bool damaged = _dataDigest &&
            ~Crc32C.Append(_directCrc, trailer[..^4]) != BinaryPrimitives.ReadUInt32LittleEndian(trailer[^4..]);
        _start += _directTrailer;
        _directActive = false;
        var target = _target;
        var header = new Bhs(_directHeader);
        _target = default;
        if (!damaged && target.Task is not null && header.DataLength >= LongSegment) _longWritesUnanswered++;
        _phase?.EndDirect(target, header, damaged);
        return true;
    }

    /// <summary>The task into whose memory a segment is being received has been aborted: what still comes is dropped.</summary>
    public void LeaveDirect()
    {
        var received = _direct[..(_direct.Length - _directRest.Length)];
        // When all of it is here its sum is there already.
        if (_dataDigest && _directCrc == Crc32C.Seed) _directCrc = Crc32C.Append(_directCrc, received.Span);
        _directSkip += _directRest.Length;
        _direct = _directRest = default;
        _target = default;
    }

    /// <summary>
    /// The connection is gone for the network: gives back what was being received. A task that was registered may be another connection's
    /// from here on.
    /// </summary>
    public void Disconnect()
    {
        // A command that has not been registered has no other owner.
        if (_target.Task is { IsRegistered: false } task) task.ReleaseData();
        _target.ReleaseControl(_connection.Memory);
        _target = default;
    }

    /// <summary>The connection has ended: gives the buffer back.</summary>
    public void Close() => LeaveBuffer();
}

/// <summary>
/// Where a data segment goes that is received directly: into a task, into a copy that is held, into memory for a control PDU, or
/// (with none of them) nowhere.
/// </summary>
internal readonly record struct DirectSegment
{
    public Memory<byte> Memory { get; init; }
    public IscsiTask? Task { get; init; }
    public byte[]? Held { get; init; }
    public byte[]? Control { get; init; }

    /// <summary>What a command is rejected with when all of it is here.</summary>
    public RejectReason? Refusal { get; init; }

    public static DirectSegment OfControl(int length, MemoryAccount account)
    {
        var memory = ArrayPool<byte>.Shared.Rent(length);
        account.Charge(memory.Length);
        return new() { Memory = memory, Control = memory };
    }

    public void ReleaseControl(MemoryAccount account)
    {
        if (Control is null) return;
        account.Refund(Control.Length);
        ArrayPool<byte>.Shared.Return(Control);
    }
}
