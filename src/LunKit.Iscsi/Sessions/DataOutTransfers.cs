using LunKit.Fabrics;
using LunKit.Iscsi.Pdus;
using LunKit.LogicalUnits;
using LunKit.Scsi;

namespace LunKit.Iscsi.Sessions;

/// <summary>
/// Data from the initiator: immediate, unsolicited, solicited by R2T within a credit, and what becomes of a burst with a fault. Only the
/// connection's thread uses it.
/// </summary>
internal sealed class DataOutTransfers(FullFeaturePhase phase)
{
    private readonly List<IscsiTask> _waitingForCredit = [];
    private long _solicited;

    private IscsiLimits Limits => phase.Connection.Limits;
    private MemoryAccount Memory => phase.Connection.Memory;
    private bool CanRetry => phase.Session.Parameters.ErrorRecoveryLevel > 0;

    /// <summary>Whether writes wait for solicited bytes of others to arrive, or for memory.</summary>
    public bool AreWaiting => _waitingForCredit.Count > 0;

    /// <summary>Memory for what comes unasked; the rest follows when it is solicited.</summary>
    public Memory<byte> RoomForUnsolicited(IscsiTask task) =>
        task.EnsureRoom(Math.Min(task.CollectLength, phase.Session.Parameters.FirstBurstLength), Memory);

    /// <summary>The immediate data is in place: the command is known to its unit, and more data or execution follows.</summary>
    public void Start(IscsiTask task, int immediate, bool final)
    {
        phase.Tasks.Register(task);
        task.UnitNexus!.Unit.Arrive(task);
        // Who takes a unit away says so first, and ends its commands then: either finds this one.
        if (!task.IsAborted && phase.Tasks.RefuseAbsent(task)) return;
        task.Received = Math.Min(immediate, task.CollectLength);
        task.Solicited = immediate;
        task.LastData = phase.Connection.LastReceived;
        if (!final)
        {
            if (phase.Session.Parameters.InitialR2T) throw new IscsiProtocolException("unsolicited data although InitialR2T=Yes");
            RoomForUnsolicited(task);
            task.ExpectsUnsolicited = true;
            return;
        }
        GoOn(task);
    }

    /// <summary>What comes next for a command whose bursts so far have ended: its end, its execution, or more R2Ts.</summary>
    public void GoOn(IscsiTask task)
    {
        // Its own data may bring it on before its turn to wait for others' is over.
        if (_waitingForCredit.Count > 0) _waitingForCredit.Remove(task);
        if (task.IsAborted)
        {
            phase.Tasks.Respond(task, CommandResult.TaskAborted);
            return;
        }
        if (task.Fault is { } fault)
        {
            // The response waits for the data that was asked for (RFC 7143 7.8).
            if (task.R2Ts.Count == 0) phase.Tasks.Respond(task, CommandResult.CheckCondition(fault));
            return;
        }
        if (task.Received >= task.CollectLength && task.R2Ts.Count == 0)
        {
            task.UseCollected();
            phase.Tasks.Execute(task, false);
            return;
        }
        var parameters = phase.Session.Parameters;
        task.Solicited = Math.Max(task.Solicited, task.Received);
        while (task.Solicited < task.CollectLength && task.R2Ts.Count < parameters.MaxOutstandingR2T)
        {
            int length = Math.Min(parameters.MaxBurstLength, task.CollectLength - task.Solicited);
            // One command of a connection can always go on.
            if (_solicited > 0 && (_solicited + length > Limits.MaxSolicitedBytesPerConnection || Memory.IsExhausted))
            {
                _waitingForCredit.Add(task);
                return;
            }
            task.EnsureRoom(task.CollectLength, Memory);
            SendR2T(task, task.Solicited, length);
            task.Solicited += length;
        }
    }

    private void SendR2T(IscsiTask task, int offset, int length)
    {
        _solicited += length;
        var r2t = new OutstandingR2T
        {
            TransferTag = phase.Connection.NewTransferTag(), R2tSn = task.R2tSn++, Offset = offset, Length = length,
        };
        task.R2Ts.Add(r2t);
        task.LastData = phase.Connection.LastReceived;
        WriteR2T(task, r2t);
    }

    public void WriteR2T(IscsiTask task, OutstandingR2T r2t)
    {
        ReadyToTransferPdu.Write(
            phase.Sender.NextHeader(), task.Lun, task.InitiatorTaskTag, r2t.TransferTag, r2t.R2tSn, (uint)r2t.Offset, (uint)r2t.Length);
        // An R2T carries the next StatSN without using it (RFC 7143 11.8.3).
        phase.Sender.FinishPdu(advanceStatSn: false);
    }

    /// <summary>Goes on with the writes that waited for solicited bytes of others to arrive, or for memory.</summary>
    public bool SolicitWaiting()
    {
        bool any = false;
        while (_waitingForCredit.Count > 0 &&
            (_solicited == 0 || _solicited < Limits.MaxSolicitedBytesPerConnection && !Memory.IsExhausted))
        {
            var task = _waitingForCredit[0];
            _waitingForCredit.RemoveAt(0);
            GoOn(task);
            // Still no room for its next burst: it waits on, and so does everyone behind it.
            if (_waitingForCredit.Contains(task)) return any;
            any = true;
        }
        return any;
    }

    /// <summary>Takes the data of a Data-Out that is in its place.</summary>
    public void Take(IscsiTask task, Bhs header, int offset, ReadOnlySpan<byte> data)
    {
        if (offset < task.CollectLength) data[..Math.Min(data.Length, task.CollectLength - offset)].CopyTo(task.Collected.Span[offset..]);
        Finish(task, header, data.Length);
    }

    /// <summary>
    /// The task of a Data-Out that is in its place. Null: data of a task that has ended (refused or aborted), of a command that is
    /// held, or of a burst with a fault; nothing of it is used. A wrong length ends the connection.
    /// </summary>
    public IscsiTask? Find(Bhs header, int length, out int offset)
    {
        var pdu = new DataOutPdu(header.Bytes);
        offset = 0;
        if (pdu.BufferOffset > int.MaxValue) throw new IscsiProtocolException("a Data-Out past the expected length");
        offset = (int)pdu.BufferOffset;
        if (phase.Tasks.Find(header.InitiatorTaskTag) is not { IsExecuting: false } task) return null;
        task.LastData = phase.Connection.LastReceived;
        if (header.TargetTransferTag == Bhs.ReservedTag)
        {
            if (!task.ExpectsUnsolicited)
                return CanRetry ? null : throw new IscsiProtocolException("unsolicited data after its burst has ended");
            if (task.IsUnsolicitedDamaged || offset != task.Solicited || pdu.DataSn != task.NextUnsolicitedDataSn)
                return Misplaced(task, header);
            if (offset + (long)length > Math.Min((uint)phase.Session.Parameters.FirstBurstLength, task.ExpectedLength))
                throw new IscsiProtocolException("unsolicited data past FirstBurstLength or the expected length");
            return task;
        }
        int index = FindR2T(task, header.TargetTransferTag);
        // A burst that was given up and asked for again may still come, late.
        if (index < 0)
            return CanRetry ? null : throw new IscsiProtocolException($"Data-Out with unknown transfer tag {header.TargetTransferTag:x8}");
        var r2t = task.R2Ts[index];
        if (r2t.IsDamaged || offset != r2t.Offset + r2t.Received || pdu.DataSn != r2t.NextDataSn)
            return Misplaced(task, header);
        if (length > r2t.Length - r2t.Received) throw new IscsiProtocolException("Data-Out past the solicited length");
        if (header.IsFinal && length < r2t.Length - r2t.Received) throw new IscsiProtocolException("a solicited burst that ends early");
        return task;
    }

    private IscsiTask? Misplaced(IscsiTask task, Bhs header)
    {
        Damage(task, header, Sense.DataPhaseError);
        return null;
    }

    /// <summary>
    /// A PDU of a burst is missing, came twice, or came damaged: the rest of the burst is dropped. From error recovery level 1 on it
    /// is asked for again at the burst's end; at level 0 the command fails, at once when the order was wrong (what comes then has no
    /// certain end), at the burst's end when a digest was.
    /// </summary>
    public void Damage(IscsiTask task, Bhs header, Sense fault)
    {
        bool unsolicited = header.TargetTransferTag == Bhs.ReservedTag;
        int index = unsolicited ? -1 : FindR2T(task, header.TargetTransferTag);
        if (!CanRetry)
        {
            if (fault == Sense.DataPhaseError && task.Fault is null)
            {
                phase.Tasks.Respond(task, CommandResult.CheckCondition(fault));
                return;
            }
            task.Fault ??= fault;
        }
        if (unsolicited) task.IsUnsolicitedDamaged = true;
        else if (index >= 0) task.R2Ts[index] = task.R2Ts[index] with { IsDamaged = true };
        if (header.IsFinal) EndDamaged(task, index);
    }

    /// <summary>Asks for the rest of a burst again, or fails its command. Index -1: the unsolicited burst.</summary>
    private void EndDamaged(IscsiTask task, int index)
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

    /// <summary>
    /// Gives up bursts whose data does not come, and asks for them again where that is possible (sequence reception time-out, RFC 7143 7.9); the
    /// connection of one that has not come for long ends.
    /// </summary>
    public void RetryStalled(long now)
    {
        if (phase.Tasks.IsEmpty) return;
        long second = phase.Connection.Clock.TimestampFrequency, deadline = now - Limits.DataOutDeadlineSeconds * second;
        long limit = CanRetry ? Math.Max(deadline, now - Limits.DataOutTimeoutSeconds * second) : deadline;
        // What has not been asked for yet, and waits for credit, is not late.
        foreach (var task in phase.Tasks.All.Where(t => !t.IsExecuting && t.LastData < limit && t.AwaitsData).ToList())
        {
            if (task.LastData < deadline)
            {
                phase.Connection.Abort($"no data of a write for {Limits.DataOutDeadlineSeconds} s");
                return;
            }
            if (task.LastAsked >= limit || task == phase.Receiver.DirectTask) continue;
            long since = task.LastData;
            EndDamaged(task, task.ExpectsUnsolicited ? -1 : 0);
            // Asking again is no data.
            (task.LastData, task.LastAsked) = (since, now);
        }
    }

    private static int FindR2T(IscsiTask task, uint transferTag)
    {
        for (int i = 0; i < task.R2Ts.Count; i++)
            if (task.R2Ts[i].TransferTag == transferTag) return i;
        return -1;
    }

    /// <summary>A Data-Out that was in its place is here completely.</summary>
    public void Finish(IscsiTask task, Bhs header, int length)
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

    /// <summary>A task ends: what it solicited and did not get comes no more, or is dropped.</summary>
    public void Forget(IscsiTask task)
    {
        foreach (var r2t in task.R2Ts) _solicited -= r2t.Length;
        if (_waitingForCredit.Count > 0) _waitingForCredit.Remove(task);
    }

    /// <summary>
    /// Goes on with a write that was taken over; what is missing is asked for anew, from R2TSN <paramref name="r2tSn"/> on.
    /// </summary>
    public void Adopt(IscsiTask task, uint r2tSn)
    {
        task.R2tSn = r2tSn;
        var missing = task.R2Ts.ToList();
        task.R2Ts.Clear();
        foreach (var r2t in missing) SendR2T(task, r2t.Offset + r2t.Received, r2t.Length - r2t.Received);
        if (task.ExpectsUnsolicited) EndDamaged(task, -1);
        else GoOn(task);
    }
}
