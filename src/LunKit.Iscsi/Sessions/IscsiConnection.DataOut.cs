using LunKit.Backstores;
using LunKit.Iscsi.Pdus;
using LunKit.LogicalUnits;
using LunKit.Scsi;

namespace LunKit.Iscsi.Sessions;

/// <summary>Data from the initiator: immediate, unsolicited, solicited by R2T, and what becomes of a burst with a fault.</summary>
internal sealed partial class IscsiConnection
{
    private readonly List<IscsiTask> _waitingForCredit = [];
    private long _solicited;
    private uint _nextTransferTag = 1;

    private bool CanRetry => Session!.Parameters.ErrorRecoveryLevel > 0;

    /// <summary>Memory for what comes unasked; the rest follows when it is solicited.</summary>
    private Memory<byte> RoomForUnsolicited(IscsiTask task) =>
        task.EnsureRoom(Math.Min(task.CollectLength, Session!.Parameters.FirstBurstLength), _memory);

    /// <summary>The immediate data is in place: the command is known to its unit, and more data or execution follows.</summary>
    private void StartCollecting(IscsiTask task, int immediate, bool final)
    {
        Register(task);
        task.UnitNexus!.Unit.Arrive(task);
        task.Received = Math.Min(immediate, task.CollectLength);
        task.Solicited = immediate;
        task.LastData = _lastReceived;
        if (!final)
        {
            if (Session!.Parameters.InitialR2T) throw new IscsiProtocolException("unsolicited data although InitialR2T=Yes");
            RoomForUnsolicited(task);
            task.ExpectsUnsolicited = true;
            return;
        }
        GoOn(task);
    }

    /// <summary>What comes next for a command whose bursts so far have ended: its end, its execution, or more R2Ts.</summary>
    private void GoOn(IscsiTask task)
    {
        if (task.IsAborted)
        {
            Drop(task);
            return;
        }
        if (task.Fault is { } fault)
        {
            // The response waits for the data that was asked for (RFC 7143 7.8).
            if (task.R2Ts.Count == 0) Respond(task, CommandResult.CheckCondition(fault));
            return;
        }
        if (task.Received >= task.CollectLength && task.R2Ts.Count == 0)
        {
            task.UseCollected();
            Execute(task, false);
            return;
        }
        var parameters = Session!.Parameters;
        task.Solicited = Math.Max(task.Solicited, task.Received);
        while (task.Solicited < task.CollectLength && task.R2Ts.Count < parameters.MaxOutstandingR2T)
        {
            int length = Math.Min(parameters.MaxBurstLength, task.CollectLength - task.Solicited);
            // One command of a connection can always go on.
            if (_solicited > 0 && (_solicited + length > _limits.MaxSolicitedBytesPerConnection || _memory.IsExhausted))
            {
                if (!_waitingForCredit.Contains(task)) _waitingForCredit.Add(task);
                return;
            }
            task.EnsureRoom(task.CollectLength, _memory);
            SendR2T(task, task.Solicited, length);
            task.Solicited += length;
        }
    }

    private void SendR2T(IscsiTask task, int offset, int length)
    {
        _solicited += length;
        var r2t = new OutstandingR2T { TransferTag = NewTransferTag(), R2tSn = task.R2tSn++, Offset = offset, Length = length };
        task.R2Ts.Add(r2t);
        task.LastData = _lastReceived;
        WriteR2T(task, r2t);
    }

    private void WriteR2T(IscsiTask task, OutstandingR2T r2t)
    {
        ReadyToTransferPdu.Write(NextHeader(), task.Lun, task.InitiatorTaskTag, r2t.TransferTag, r2t.R2tSn, (uint)r2t.Offset, (uint)r2t.Length);
        // An R2T carries the next StatSN without using it (RFC 7143 11.8.3).
        FinishHeader(advanceStatSn: false, 0);
    }

    private uint NewTransferTag() => _nextTransferTag++ == Bhs.ReservedTag ? _nextTransferTag++ : _nextTransferTag - 1;

    /// <summary>Goes on with the writes that waited for solicited bytes of others to arrive, or for memory.</summary>
    private void SolicitWaiting()
    {
        while (_waitingForCredit.Count > 0 && (_solicited == 0 || _solicited < _limits.MaxSolicitedBytesPerConnection && !_memory.IsExhausted))
        {
            var task = _waitingForCredit[0];
            _waitingForCredit.RemoveAt(0);
            GoOn(task);
            // Still no room for its next burst: it waits on, and so does everyone behind it.
            if (_waitingForCredit.Contains(task)) return;
        }
    }

    private void HandleDataOut(Bhs header, ReadOnlySpan<byte> data)
    {
        if (CheckDataOut(header, data.Length, out int offset) is not { } task)
        {
            if (_held.Follow(header, data.Length) is { } held) data.CopyTo(held.AsSpan(Bhs.Length));
            return;
        }
        if (offset < task.CollectLength) data[..Math.Min(data.Length, task.CollectLength - offset)].CopyTo(task.Collected.Span[offset..]);
        FinishDataOut(task, header, data.Length);
    }

    /// <summary>
    /// The task of a Data-Out that is in its place. Null: data of a task that has ended (refused or aborted), of a command that is
    /// held, or of a burst with a fault; nothing of it is used. A wrong length ends the connection.
    /// </summary>
    private IscsiTask? CheckDataOut(Bhs header, int length, out int offset)
    {
        var pdu = new DataOutPdu(header.Bytes);
        offset = 0;
        if (pdu.BufferOffset > int.MaxValue) throw new IscsiProtocolException("a Data-Out past the expected length");
        offset = (int)pdu.BufferOffset;
        if (!_tasks.TryGetValue(header.InitiatorTaskTag, out var task) || task.IsExecuting) return null;
        task.LastData = _lastReceived;
        if (header.TargetTransferTag == Bhs.ReservedTag)
        {
            if (!task.ExpectsUnsolicited)
                return CanRetry ? null : throw new IscsiProtocolException("unsolicited data after its burst has ended");
            if (task.IsUnsolicitedDamaged || offset != task.Solicited || pdu.DataSn != task.NextUnsolicitedDataSn)
                return DamageBurst(task, header, Sense.DataPhaseError);
            if (offset + (long)length > Math.Min((uint)Session!.Parameters.FirstBurstLength, task.ExpectedLength))
                throw new IscsiProtocolException("unsolicited data past FirstBurstLength or the expected length");
            return task;
        }
        int index = FindR2T(task, header.TargetTransferTag);
        // A burst that was given up and asked for again may still come, late.
        if (index < 0)
            return CanRetry ? null : throw new IscsiProtocolException($"Data-Out with unknown target transfer tag {header.TargetTransferTag:x8}");
        var r2t = task.R2Ts[index];
        if (r2t.IsDamaged || offset != r2t.Offset + r2t.Received || pdu.DataSn != r2t.NextDataSn)
            return DamageBurst(task, header, Sense.DataPhaseError);
        if (length > r2t.Length - r2t.Received) throw new IscsiProtocolException("Data-Out past the solicited length");
        if (header.IsFinal && length < r2t.Length - r2t.Received) throw new IscsiProtocolException("a solicited burst that ends early");
        return task;
    }

    /// <summary>
    /// A PDU of a burst is missing, came twice, or came damaged: the rest of the burst is dropped. From error recovery level 1 on it
    /// is asked for again at the burst's end; at level 0 the command fails, at once when the order was wrong (what comes then has no
    /// certain end), at the burst's end when a digest was.
    /// </summary>
    private IscsiTask? DamageBurst(IscsiTask task, Bhs header, Sense fault)
    {
        bool unsolicited = header.TargetTransferTag == Bhs.ReservedTag;
        int index = unsolicited ? -1 : FindR2T(task, header.TargetTransferTag);
        if (!CanRetry)
        {
            if (fault == Sense.DataPhaseError && task.Fault is null)
            {
                Respond(task, CommandResult.CheckCondition(fault));
                return null;
            }
            task.Fault ??= fault;
        }
        if (unsolicited) task.IsUnsolicitedDamaged = true;
        else if (index >= 0) task.R2Ts[index] = task.R2Ts[index] with { IsDamaged = true };
        if (header.IsFinal) EndDamagedBurst(task, index);
        return null;
    }

    /// <summary>Asks for the rest of a burst again, or fails its command. Index -1: the unsolicited burst.</summary>
    private void EndDamagedBurst(IscsiTask task, int index)
    {
        if (index < 0)
        {
            task.ExpectsUnsolicited = false;
            task.Solicited = task.Received;
        }
        else
        {
            var r2t = task.R2Ts[index];
            task.R2Ts.RemoveAt(index);
            _solicited -= r2t.Length;
            // A recovery R2T: part of what an earlier one has asked for, under the next R2TSN (RFC 7143 11.8).
            if (CanRetry && !task.IsAborted) SendR2T(task, r2t.Offset + r2t.Received, r2t.Length - r2t.Received);
        }
        GoOn(task);
    }

    /// <summary>The rule for a PDU whose data digest is wrong (RFC 7143 7.8): it is rejected, and its data comes again or its command fails.</summary>
    private void RefuseDamaged(Bhs header)
    {
        Reject(header, RejectReason.DataDigestError);
        if (header.Opcode == PduOpcode.DataOut && CheckDataOut(header, header.DataLength, out _) is { } task)
            DamageBurst(task, header, Sense.ProtocolServiceCrcError);
    }

    /// <summary>Gives up bursts whose data does not come, and asks for them again (sequence reception time-out, RFC 7143 7.9).</summary>
    private void RetryStalledBursts(long now)
    {
        if (_tasks.Count == 0 || Session is null || !CanRetry) return;
        long limit = now - _limits.DataOutTimeoutSeconds * System.Diagnostics.Stopwatch.Frequency;
        foreach (var task in _tasks.Values.Where(t => !t.IsExecuting && t.LastData < limit && t != _directTask).ToList())
        {
            if (task.ExpectsUnsolicited) EndDamagedBurst(task, -1);
            else if (task.R2Ts.Count > 0) EndDamagedBurst(task, 0);
        }
    }

    private static int FindR2T(IscsiTask task, uint transferTag)
    {
        for (int i = 0; i < task.R2Ts.Count; i++)
            if (task.R2Ts[i].TransferTag == transferTag) return i;
        return -1;
    }

    private void FinishDataOut(IscsiTask task, Bhs header, int length)
    {
        if (header.TargetTransferTag == Bhs.ReservedTag)
        {
            task.NextUnsolicitedDataSn++;
            task.Solicited += length;
            task.Received = Math.Min(task.Solicited, task.CollectLength);
            if (!header.IsFinal) return;
            task.ExpectsUnsolicited = false;
            GoOn(task);
            return;
        }
        int index = FindR2T(task, header.TargetTransferTag);
        var r2t = task.R2Ts[index];
        r2t.Received += length;
        r2t.NextDataSn++;
        task.Received += length;
        task.R2Ts[index] = r2t;
        if (r2t.Received < r2t.Length) return;
        task.R2Ts.RemoveAt(index);
        _solicited -= r2t.Length;
        GoOn(task);
    }
}
