using LunKit.Iscsi.Login;
using LunKit.Iscsi.Pdus;
using LunKit.Scsi;

namespace LunKit.Iscsi.Sessions;

/// <summary>Receiving: batches of PDUs from one buffer, long data segments straight into their tasks' memory.</summary>
internal sealed partial class IscsiConnection
{
    private const int RoomWanted = 64 * 1024;

    // A data segment shorter than this is waited for in the buffer; a longer one goes to its destination as it comes.
    private const int DirectThreshold = 16 * 1024;

    // What follows a long direct segment is likely one more: only its header comes with it, so that its data need not be moved.
    private const int LongSegment = 128 * 1024;
    private const int AfterDirect = 512;

    // Answers to long writes that may wait for each other.
    private const int MaxHeldBack = 4;

    // Answers leave in pieces of this size or number, so that the initiator works on them while the rest of the batch is served.
    private const int FlushBytes = 256 * 1024, FlushPdus = 16;

    private readonly byte[] _directHeader = new byte[Bhs.Length];
    private ReceiveBuffer _rx = new();
    private int _rxStart;
    private int _rxEnd;
    private IscsiTask? _directTask;
    private byte[]? _directHeld;
    private bool _directActive;
    private Memory<byte> _direct;
    private Memory<byte> _directRest;
    private int _directSkip;
    private int _directTrailer;
    private int _longWritesUnanswered;
    private uint _directCrc;
    private int _unflushed;
    private bool _outputBlocked;

    private bool HasHeaderDigest => IsFullFeature && _negotiation.Parameters.HeaderDigest;
    private bool HasDataDigest => IsFullFeature && _negotiation.Parameters.DataDigest;

    /// <summary>Receives what is there: byte count, 0 at the end, -1 for nothing now.</summary>
    private int ReceiveMore()
    {
        MakeRoom();
        var room = _rx.Array.AsSpan(_rxEnd);
        if (_directActive && !_directRest.IsEmpty && _rxStart == _rxEnd)
        {
            if (_direct.Length >= LongSegment) room = room[..Math.Min(room.Length, AfterDirect)];
            int got = _stream.Receive(_directRest.Span, room);
            if (got <= 0) return got;
            int direct = Math.Min(got, _directRest.Length);
            _directRest = _directRest[direct..];
            _rxEnd += got - direct;
            return got;
        }
        int n = _stream.Receive(room);
        if (n > 0) _rxEnd += n;
        return n;
    }

    private void MakeRoom()
    {
        if (_rxStart == _rxEnd && !_rx.IsShared) _rxStart = _rxEnd = 0;
        if (_rx.Array.Length - _rxEnd >= RoomWanted) return;
        var left = _rx.Array.AsSpan(_rxStart, _rxEnd - _rxStart);
        if (_rx.IsShared)
        {
            var fresh = _server.RentReceiveBuffer();
            left.CopyTo(fresh.Array);
            // The commands whose data lies in it keep it.
            _memory.Charge(ReceiveBuffer.Size);
            _rx.Release();
            _rx = fresh;
        }
        else
        {
            left.CopyTo(_rx.Array);
        }
        _rxEnd = left.Length;
        _rxStart = 0;
    }

    /// <summary>
    /// Whether the answers to long writes wait a little: each send wakes the initiator, which costs as much as a tenth of the write,
    /// and as long as the next two writes are here already nobody waits for it to send more.
    /// </summary>
    private bool MayHoldBack()
    {
        if (_longWritesUnanswered is > 0 and < MaxHeldBack && Output.Pending < MaxHeldBack * 2 * Bhs.Length && !_closeAfterFlush &&
            _stream.Available > 2 * new Bhs(_directHeader).DataLength) return true;
        _longWritesUnanswered = 0;
        return false;
    }

    private void FlushEarly()
    {
        _unflushed = 0;
        _outputBlocked = !Output.Flush(_stream);
    }

    /// <summary>Handles every PDU that is complete, and begins the one that is not.</summary>
    private void Parse()
    {
        while (!_closeAfterFlush)
        {
            if (_directActive)
            {
                if (!ContinueDirect()) return;
                continue;
            }
            int available = _rxEnd - _rxStart;
            if (available < Bhs.Length) return;
            var header = new Bhs(_rx.Array.AsSpan(_rxStart, Bhs.Length));
            int dataLength = header.DataLength, headerLength = Bhs.Length + header.AhsLength;
            if (dataLength > _limits.MaxRecvDataSegmentLength)
                throw new IscsiProtocolException($"a data segment of {dataLength} bytes, more than the declared {_limits.MaxRecvDataSegmentLength}");
            if (!IsFullFeature && header.Opcode != PduOpcode.LoginRequest) throw new IscsiProtocolException($"{header.Opcode} before login");
            int digest = HasHeaderDigest ? 4 : 0;
            if (available < headerLength + digest) return;
            var bytes = _rx.Array.AsSpan(_rxStart, headerLength + digest);
            if (digest > 0 && !Crc32C.Matches(bytes[..headerLength], bytes[headerLength..]))
                throw new IscsiProtocolException("header digest error");
            int dataAt = _rxStart + headerLength + digest;
            int trailer = dataLength == 0 ? 0 : Bhs.Padded(dataLength) - dataLength + (HasDataDigest ? 4 : 0);
            if (available < headerLength + digest + dataLength + trailer)
            {
                if (dataLength < DirectThreshold || !BeginDirect(header, dataAt, dataLength, trailer)) return;
                continue;
            }
            int padded = Bhs.Padded(dataLength);
            bool damaged = dataLength > 0 && HasDataDigest &&
                !Crc32C.Matches(_rx.Array.AsSpan(dataAt, padded), _rx.Array.AsSpan(dataAt + padded, 4));
            var ahs = _rx.Array.AsSpan(_rxStart + Bhs.Length, header.AhsLength);
            _rxStart = dataAt + dataLength + trailer;
            _sent?.Acknowledge(header.ExpStatSn);
            if (damaged) RefuseDamaged(header);
            else Handle(header, ahs, _rx.Array.AsMemory(dataAt, dataLength));
            if (!_outputBlocked && (Output.Pending >= FlushBytes || ++_unflushed >= FlushPdus && Output.Pending > 0)) FlushEarly();
            if (_outputBlocked && Output.Pending >= _limits.MaxPendingOutputBytes) return;
        }
    }

    /// <summary>
    /// The segment of a write's immediate data or of a Data-Out is not here yet: the task gets its memory now and the bytes go
    /// there. False for other PDUs, which are waited for.
    /// </summary>
    private bool BeginDirect(Bhs header, int dataAt, int dataLength, int trailer)
    {
        if (header.Opcode is not (PduOpcode.ScsiCommand or PduOpcode.DataOut)) return false;
        header.Bytes.CopyTo(_directHeader);
        var target = header.Opcode == PduOpcode.ScsiCommand
            ? BeginCommand(header, _rx.Array.AsSpan(_rxStart + Bhs.Length, header.AhsLength), dataLength)
            : BeginDataOut(header, dataLength);
        _direct = target[..Math.Min(target.Length, dataLength)];
        _directRest = _direct;
        _directSkip = dataLength - _direct.Length;
        _directTrailer = trailer;
        _directCrc = Crc32C.Seed;
        _directActive = true;
        _rxStart = dataAt;
        return true;
    }

    /// <summary>Where a command's immediate data goes: its task, a held copy of the PDU, or nowhere.</summary>
    private Memory<byte> BeginCommand(Bhs header, Span<byte> ahs, int dataLength)
    {
        var order = header.IsImmediate ? CommandOrder.Now : Session!.Window.Look(header.CmdSn);
        if (order == CommandOrder.Now)
        {
            _directTask = NewTask(header, ahs, new ScsiCommandPdu(header.Bytes), dataLength);
            return _directTask.CollectLength == 0 ? default : RoomForUnsolicited(_directTask);
        }
        _directHeld = order == CommandOrder.Later ? _held.Add(header, ahs.Length + dataLength) : null;
        if (_directHeld is null) return default;
        ahs.CopyTo(_directHeld.AsSpan(Bhs.Length));
        return _directHeld.AsMemory(Bhs.Length + ahs.Length);
    }

    private Memory<byte> BeginDataOut(Bhs header, int dataLength)
    {
        _directTask = CheckDataOut(header, dataLength, out int offset);
        if (_directTask is not null)
        {
            var target = _directTask.Collected[..Math.Min(_directTask.CollectLength, _directTask.Collected.Length)];
            return target[Math.Min(offset, target.Length)..];
        }
        _directHeld = _held.Follow(header, dataLength);
        return _directHeld is null ? default : _directHeld.AsMemory(Bhs.Length);
    }

    /// <summary>Goes on with a data segment that is received directly; false when more bytes are needed.</summary>
    private bool ContinueDirect()
    {
        if (!_directRest.IsEmpty)
        {
            int count = Math.Min(_directRest.Length, _rxEnd - _rxStart);
            _rx.Array.AsSpan(_rxStart, count).CopyTo(_directRest.Span);
            _directRest = _directRest[count..];
            _rxStart += count;
            if (!_directRest.IsEmpty) return false;
        }
        if (_directCrc == Crc32C.Seed && HasDataDigest) _directCrc = Crc32C.Append(_directCrc, _direct.Span);
        // Bytes that no command wants: read, digested, dropped.
        int skip = Math.Min(_directSkip, _rxEnd - _rxStart);
        if (HasDataDigest) _directCrc = Crc32C.Append(_directCrc, _rx.Array.AsSpan(_rxStart, skip));
        _directSkip -= skip;
        _rxStart += skip;
        if (_directSkip > 0 || _rxEnd - _rxStart < _directTrailer) return false;
        var trailer = _rx.Array.AsSpan(_rxStart, _directTrailer);
        bool damaged = HasDataDigest &&
            ~Crc32C.Append(_directCrc, trailer[..^4]) != System.Buffers.Binary.BinaryPrimitives.ReadUInt32LittleEndian(trailer[^4..]);
        _rxStart += _directTrailer;
        _directActive = false;
        EndDirect(new Bhs(_directHeader), damaged);
        return true;
    }

    private void EndDirect(Bhs header, bool damaged)
    {
        var (task, held) = (_directTask, _directHeld);
        _directTask = null;
        _directHeld = null;
        _sent?.Acknowledge(header.ExpStatSn);
        if (damaged)
        {
            Reject(header, RejectReason.DataDigestError);
            if (held is not null) _held.Drop(held);
            if (task is null) return;
            if (header.Opcode == PduOpcode.ScsiCommand) Free(task);
            else DamageBurst(task, header, Sense.ProtocolServiceCrcError);
            return;
        }
        if (task is null) return;
        if (header.DataLength >= LongSegment) _longWritesUnanswered++;
        if (header.Opcode == PduOpcode.ScsiCommand) HandleDirectCommand(task, header);
        else FinishDataOut(task, header, header.DataLength);
    }

    private void Handle(Bhs header, Span<byte> ahs, Memory<byte> data)
    {
        switch (header.Opcode)
        {
            case PduOpcode.ScsiCommand:
                HandleCommand(header, ahs, data);
                break;
            case PduOpcode.DataOut:
                HandleDataOut(header, data.Span);
                break;
            case PduOpcode.LoginRequest:
                if (IsFullFeature) throw new IscsiProtocolException("login in full feature phase");
                HandleLogin(header, data.Span);
                break;
            case PduOpcode.NopOut or PduOpcode.TextRequest or PduOpcode.LogoutRequest or PduOpcode.TaskManagementRequest:
                HandleControl(header, data);
                break;
            case PduOpcode.SnackRequest:
                HandleSnack(header);
                break;
            default:
                Reject(header, RejectReason.CommandNotSupported);
                break;
        }
    }
}
