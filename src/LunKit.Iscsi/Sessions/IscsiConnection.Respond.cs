using LunKit.Backstores;
using LunKit.Iscsi.Pdus;
using LunKit.LogicalUnits;
using LunKit.Scsi;

namespace LunKit.Iscsi.Sessions;

/// <summary>Answers: Data-In with or without status, SCSI Response, headers and digests.</summary>
internal sealed partial class IscsiConnection
{
    private uint _statSn;
    private int _headerAt;
    private Memory<byte>[] _copySegments = [];

    /// <summary>What was sent and not acknowledged; null at error recovery level 0.</summary>
    private SentResponses? _sent;
    private SentResponse? _keptLast;

    /// <summary>Sends the answer of a task and ends it. An aborted task gets none (RFC 7143 4.2.3.3), unless TAS asks for one.</summary>
    private void Respond(IscsiTask task, CommandResult result)
    {
        bool silent = task.IsAborted && !task.ReportAborted;
        if (task.IsAborted && task.ReportAborted) result = CommandResult.TaskAborted;
        if (!silent) Answer(task, result);
        else ReleaseDataIn(task);
        Free(task);
    }

    private void Answer(IscsiTask task, CommandResult result)
    {
        if (result.Status == ScsiStatus.CheckCondition && result.DataInLength > 0 && task is { Reads: true, DataInChunk: not null, HasLentDataIn: false })
        {
            AnswerWithBoth(task, result);
            return;
        }
        bool hasData = result.Status == ScsiStatus.Good && result.DataInLength > 0 && task.Reads && task.ExpectedLength > 0;
        var (flags, residual) = Residual(task, result);
        if (!hasData)
        {
            ReleaseDataIn(task);
            SendResponse(task, result, flags, residual);
            return;
        }
        // Fewer bytes may be expected than were produced: as many as are expected go out (RFC 7143 11.4.5.1).
        int length = (int)Math.Min(task.ExpectedLength, (uint)result.DataInLength);
        if (task.Scratch is { } scratch)
        {
            SendCopy(task, new DataBuffer(scratch.AsMemory(0, length)), flags, residual);
            return;
        }
        if (task.HasLentDataIn)
        {
            // What is sent from where it lies has no digest of its own making, and is not there to be sent again.
            if (task.IsLentLong(DataInLayout) && !HasDataDigest && _sent is null) SendLent(task, length, flags, residual);
            else SendCopy(task, task.LentDataIn.Slice(0, length), flags, residual);
            return;
        }
        SendDataIn(task, flags, residual, withStatus: true);
    }

    /// <summary>Sends data from where the unit has put it. Returns the number of PDUs.</summary>
    private uint SendDataIn(IscsiTask task, byte flags, uint residual, bool withStatus)
    {
        uint count = WriteDataIn(task.DataInLayout, task.InitiatorTaskTag, task.DataInChunk!.Array, task.DataInStart, task.DataInLength, flags, residual, withStatus);
        if (!task.IsDataInInline) Output.Append(task.DataInChunk, task.DataInStart, task.DataInEnd);
        task.DataInChunk = null;
        return count;
    }

    /// <summary>Data, and then a status of its own, whose sense says what is with the data.</summary>
    private void AnswerWithBoth(IscsiTask task, CommandResult result)
    {
        var (flags, residual) = Residual(task, result);
        SendResponse(task, result, flags, residual, SendDataIn(task, flags, residual, withStatus: false));
    }

    /// <summary>Sends data that lies elsewhere: copies it between its headers.</summary>
    private void SendCopy(IscsiTask task, DataBuffer data, byte flags, uint residual)
    {
        int at = Output.Reserve(DataInLayout.TotalLength(data.Length));
        if (_copySegments.Length == 0) _copySegments = new Memory<byte>[4];
        data.CopyTo(DataInLayout.Slices(Output.Current.Array, at, data.Length, ref _copySegments));
        WriteDataIn(DataInLayout, task.InitiatorTaskTag, Output.Current.Array, at, data.Length, flags, residual);
    }

    /// <summary>Sends data from the unit's own memory, which it gets back when all is sent: headers from the queue, data from there.</summary>
    private void SendLent(IscsiTask task, int length, byte residualFlags, uint residual)
    {
        var layout = DataInLayout;
        var data = task.LentDataIn;
        var owner = task.TakeLentOwner()!;
        uint dataSn = 0;
        for (int offset = 0; offset < length;)
        {
            int segment = layout.SegmentLength(offset, length), end = offset + segment, pad = Bhs.Padded(segment) - segment;
            bool last = end == length;
            byte flags = (byte)((layout.EndsSequence(end, length) ? DataInPdu.Final : 0) | (last ? DataInPdu.HasStatus | residualFlags : 0));
            int at = Output.Reserve(layout.HeaderLength);
            SealHeader(Output.Current.Array.AsSpan(at, layout.HeaderLength), task.InitiatorTaskTag, segment, dataSn++, offset, flags, last ? _statSn : 0, last ? residual : 0);
            foreach (var piece in data.Slice(offset, segment)) Output.AppendLent(piece);
            if (pad > 0) Output.Append(pad).Clear();
            offset = end;
        }
        Output.ReleaseWhenSent(owner);
        _statSn++;
    }

    private static (byte Flags, uint Residual) Residual(IscsiTask task, CommandResult result)
    {
        long wanted = task.WantedLength > 0 ? task.WantedLength : result.DataInLength;
        long expected = task.Reads || task.Writes ? task.ExpectedLength : 0;
        // Data of the wrong direction is as good as none.
        if (task.WantedLength > 0 && !task.Writes || task.WantedLength == 0 && result.DataInLength > 0 && !task.Reads) expected = 0;
        if (wanted == expected) return (0, 0);
        return wanted > expected ? (ScsiResponsePdu.Overflow, (uint)(wanted - expected)) : (ScsiResponsePdu.Underflow, (uint)(expected - wanted));
    }

    /// <summary>
    /// Writes the headers between the data, and the status into the last one (phase collapse, RFC 7143 11.7.3). Returns the number of PDUs.
    /// </summary>
    private uint WriteDataIn(DataInLayout layout, uint tag, byte[] array, int start, int length, byte residualFlags, uint residual, bool withStatus = true)
    {
        // What error recovery may ask for again is kept as one run; what has a status of its own is not.
        var kept = !withStatus ? null : _sent?.Add(new SentResponse
        {
            StatSn = _statSn, Tag = tag, Data = new byte[length], Layout = layout, ResidualFlags = residualFlags, Residual = residual,
        });
        uint dataSn = 0;
        for (int offset = 0; offset < length;)
        {
            int segment = layout.SegmentLength(offset, length), end = offset + segment, total = layout.PduLength(segment);
            if (kept is not null) array.AsSpan(start + layout.HeaderLength, segment).CopyTo(kept.Data.AsSpan(offset));
            bool last = end == length && withStatus;
            byte flags = (byte)((layout.EndsSequence(end, length) ? DataInPdu.Final : 0) | (last ? DataInPdu.HasStatus | residualFlags : 0));
            SealDataIn(array.AsSpan(start, total), layout, tag, segment, dataSn++, offset, flags, last ? _statSn : 0, last ? residual : 0);
            start += total;
            offset = end;
        }
        if (withStatus) _statSn++;
        return dataSn;
    }

    /// <summary>Writes header, padding and digests around a segment that is in its place already.</summary>
    private void SealDataIn(
        Span<byte> pdu, DataInLayout layout, uint tag, int segment, uint dataSn, int offset, byte flags, uint statSn, uint residual)
    {
        SealHeader(pdu, tag, segment, dataSn, offset, flags, statSn, residual);
        int padded = Bhs.Padded(segment);
        var data = pdu.Slice(layout.HeaderLength, padded);
        data[segment..].Clear();
        if (HasDataDigest) Crc32C.Write(data, pdu[(layout.HeaderLength + padded)..]);
    }

    private void SealHeader(Span<byte> pdu, uint tag, int segment, uint dataSn, int offset, byte flags, uint statSn, uint residual)
    {
        var header = pdu[..Bhs.Length];
        DataInPdu.Write(header, tag, segment, dataSn, (uint)offset, flags);
        var bhs = new Bhs(header) { StatSn = statSn };
        bhs.Set(44, residual);
        bhs.ExpCmdSn = Session!.Window.ExpCmdSn;
        bhs.MaxCmdSn = Session.Window.MaxCmdSn;
        if (HasHeaderDigest) Crc32C.Write(header, pdu[Bhs.Length..]);
    }

    private void SendResponse(IscsiTask task, CommandResult result, byte flags, uint residual, uint dataPdus = 0)
    {
        int senseLength = 0;
        Span<byte> sense = stackalloc byte[SenseData.MaxLength];
        if (result.Status == ScsiStatus.CheckCondition)
        {
            bool descriptor = task.UnitNexus?.Unit.ModePages.Bit(0x0A, 0, 2, 0x04) ?? false;
            senseLength = SenseData.Write(sense, result.Detail, descriptor);
        }
        int data = senseLength == 0 ? 0 : 2 + senseLength;
        ScsiResponsePdu.Write(NextHeader(data), task.InitiatorTaskTag, (byte)result.Status, flags, residual, dataPdus > 0 ? dataPdus : task.R2tSn);
        var payload = FinishHeader(advanceStatSn: true, data);
        if (data == 0) return;
        payload[0] = 0;
        payload[1] = (byte)senseLength;
        sense[..senseLength].CopyTo(payload[2..]);
        FinishData(data);
    }

    /// <summary>Takes back the memory of a read that will not be sent.</summary>
    private void ReleaseDataIn(IscsiTask task)
    {
        if (task.DataInChunk is null) return;
        if (task.IsDataInInline) Output.Unreserve(task.DataInStart);
        else Output.Return(task.DataInChunk);
        task.DataInChunk = null;
    }

    /// <summary>The header of the next PDU to send, with room for its digests and <paramref name="dataLength"/> bytes after it.</summary>
    private Span<byte> NextHeader(int dataLength = 0)
    {
        int total = Bhs.Length + (HasHeaderDigest ? 4 : 0) + Bhs.Padded(dataLength) + (dataLength > 0 && HasDataDigest ? 4 : 0);
        _headerAt = Output.Reserve(total);
        return Output.Current.Array.AsSpan(_headerAt, Bhs.Length);
    }

    /// <summary>
    /// Numbers the header that <see cref="NextHeader"/> gave and seals it with its digest; returns where its data goes. The data is
    /// followed by <see cref="FinishData"/>.
    /// </summary>
    private Span<byte> FinishHeader(bool advanceStatSn, int dataLength, uint? statSn = null)
    {
        var header = Output.Current.Array.AsSpan(_headerAt, Bhs.Length);
        var bhs = new Bhs(header) { DataLength = dataLength, StatSn = statSn ?? _statSn };
        _keptLast = null;
        if (advanceStatSn)
        {
            _keptLast = _sent?.Add(new SentResponse { StatSn = _statSn, Tag = bhs.InitiatorTaskTag, Header = header.ToArray() });
            _statSn++;
        }
        if (Session is { } session)
        {
            bhs.ExpCmdSn = session.Window.ExpCmdSn;
            bhs.MaxCmdSn = session.Window.MaxCmdSn;
        }
        int dataAt = _headerAt + Bhs.Length;
        if (HasHeaderDigest)
        {
            Crc32C.Write(header, Output.Current.Array.AsSpan(dataAt));
            dataAt += 4;
        }
        return Output.Current.Array.AsSpan(dataAt, dataLength);
    }

    private void FinishData(int dataLength)
    {
        int at = _headerAt + Bhs.Length + (HasHeaderDigest ? 4 : 0), padded = Bhs.Padded(dataLength);
        var array = Output.Current.Array;
        if (_keptLast is not null) _sent!.SetSegment(_keptLast, array.AsSpan(at, dataLength));
        array.AsSpan(at + dataLength, padded - dataLength).Clear();
        if (HasDataDigest) Crc32C.Write(array.AsSpan(at, padded), array.AsSpan(at + padded));
    }

    /// <summary>Refuses a PDU and shows which (RFC 7143 11.17).</summary>
    private void Reject(Bhs rejected, RejectReason reason)
    {
        RejectPdu.Write(NextHeader(Bhs.Length), reason, Bhs.Length);
        rejected.Bytes.CopyTo(FinishHeader(advanceStatSn: true, Bhs.Length));
        FinishData(Bhs.Length);
        LogMessages.Rejected(_server.Log, Remote.ToString(), (byte)rejected.Opcode, reason.ToString());
    }
}
