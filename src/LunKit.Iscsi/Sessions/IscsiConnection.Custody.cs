using System.Diagnostics;
using LunKit.Iscsi.Pdus;
using LunKit.LogicalUnits;

namespace LunKit.Iscsi.Sessions;

/// <summary>
/// Connection recovery (RFC 7143 7.2, error recovery level 2): the thread of a connection that was lost looks after its tasks until
/// another connection of the session has claimed them by TASK REASSIGN, or the time for that is over.
/// </summary>
internal sealed partial class IscsiConnection
{
    private readonly TaskCompletionSource _released = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private List<KeptTask>? _adopted = [];

    /// <summary>Completes when the connection is gone for the network: it has ended, or only keeps tasks.</summary>
    public Task Released => _released.Task;

    /// <summary>Whether the initiator knows that the connection is lost, so that its tasks may be reassigned.</summary>
    public bool IsLoggedOutForRecovery { get; private set; }

    /// <summary>The initiator has given the connection up, by a logout or by logging in with its identifier again. Any thread.</summary>
    public void LogOutForRecovery(string reason)
    {
        IsLoggedOutForRecovery = true;
        Abort(reason, endsTasks: false);
    }

    /// <summary>Hands over a task whose execution has ended. Any thread; false when this connection has ended itself.</summary>
    private bool Deliver(KeptTask task)
    {
        lock (_completionGate)
        {
            if (_adopted is null) return false;
            _adopted.Add(task);
        }
        Wake();
        return true;
    }

    private void Reassign(Bhs header, TaskManagementPdu pdu)
    {
        var session = Session!;
        if (session.Parameters.ErrorRecoveryLevel < 2)
        {
            SendManagementResponse(header.InitiatorTaskTag, TaskManagementResult.ReassignmentNotSupported);
            return;
        }
        uint tag = pdu.ReferencedTaskTag;
        var claim = session.Custody.Claim(tag, this, pdu.ExpDataSn, out var task);
        bool isElsewhere = claim == Reassignment.NoSuchTask && IsElsewhere(session, tag);
        // Its connection may have put it into custody between the two looks; it does that before it leaves the session's connections.
        if (claim == Reassignment.NoSuchTask && !isElsewhere) claim = session.Custody.Claim(tag, this, pdu.ExpDataSn, out task);
        bool allegiant = isElsewhere || claim == Reassignment.StillAllegiant;
        SendManagementResponse(header.InitiatorTaskTag, claim == Reassignment.Granted ? TaskManagementResult.Complete
            : allegiant ? TaskManagementResult.TaskStillAllegiant : TaskManagementResult.TaskDoesNotExist);
        if (task is not null) Adopt(task);
    }

    /// <summary>Whether a task executes, or its answer is not acknowledged, on a connection that nobody has given up yet.</summary>
    private bool IsElsewhere(IscsiSession session, uint tag) =>
        session.Nexus.Luns.Entries.Values.Any(e => e.Unit.Tasks.Any(c => c is IscsiTask t && t.InitiatorTaskTag == tag && c.UnitNexus == e)) ||
        session.Connections.Any(c => c != this && c._sent?.Holds(tag) == true);

    private void TakeAdopted()
    {
        List<KeptTask> adopted;
        lock (_completionGate)
        {
            if (_adopted!.Count == 0) return;
            (adopted, _adopted) = (_adopted, []);
        }
        foreach (var task in adopted) Adopt(task);
    }

    private void Adopt(KeptTask kept)
    {
        if (kept.Response is { } response) AdoptResponse(response, kept.ExpDataSn);
        else AdoptCollecting(kept.Task!, kept.ExpDataSn);
    }

    /// <summary>Sends what the initiator lacks: its data from ExpDataSN on, cut for this connection, and the status.</summary>
    private void AdoptResponse(SentResponse response, uint expDataSn)
    {
        response.StatSn = _statSn++;
        if (response.Layout is not null && !response.IsForgotten)
        {
            uint dataSn = response.FirstDataSn;
            int offset = response.FirstOffset;
            for (; dataSn < expDataSn && offset < response.Data!.Length; dataSn++) offset += response.Layout.SegmentLength(offset, response.Data.Length);
            (response.FirstDataSn, response.FirstOffset, response.Layout) = (dataSn, offset, DataInLayout);
            // A response of its own when all data is there: the status needs a PDU that carries it.
            response.Header = new byte[Bhs.Length];
            ScsiResponsePdu.Write(response.Header, response.Tag, 0, response.ResidualFlags, response.Residual, DataInCount(response));
        }
        else if (response.IsForgotten)
        {
            response.Header = new byte[Bhs.Length];
            ScsiResponsePdu.Write(response.Header, response.Tag, (byte)Scsi.ScsiStatus.Busy, 0, 0, 0);
            response.Layout = null;
        }
        if (response.Header is { } header) _ = new Bhs(header) { TargetTransferTag = 0 };
        _sent!.Add(response);
        if (response.Layout is not null) SendDataInAgain(response, response.FirstDataSn, uint.MaxValue);
        SendPduAgain(response);
    }

    /// <summary>Goes on with a write whose data was still to come; what is missing is asked for anew, from R2TSN ExpDataSN on.</summary>
    private void AdoptCollecting(IscsiTask task, uint expDataSn)
    {
        task.Owner = this;
        _memory.Charge(task.Collected.Length);
        task.IsRegistered = true;
        _tasks[task.InitiatorTaskTag] = task;
        task.R2tSn = expDataSn;
        var missing = task.R2Ts.ToList();
        task.R2Ts.Clear();
        foreach (var r2t in missing) SendR2T(task, r2t.Offset + r2t.Received, r2t.Length - r2t.Received);
        if (task.ExpectsUnsolicited) EndDamagedBurst(task, -1);
        else GoOn(task);
    }

    /// <summary>Puts the tasks into custody. From here on other connections may take those that wait for data or are answered.</summary>
    private void BeginCustody(IscsiSession session)
    {
        List<KeptTask> undelivered;
        lock (_completionGate)
        {
            undelivered = _adopted!;
            _adopted = null;
        }
        session.Custody.Forget(this);
        // What was never acknowledged is sent again on the new connection, its data and its status.
        foreach (var response in _sent!.Unacknowledged.Where(r => r.Tag != Bhs.ReservedTag && (r.Header is null || new Bhs(r.Header).Opcode == PduOpcode.ScsiResponse)))
            session.Custody.Keep(new KeptTask(response.Tag, this) { Response = response, IsReady = true });
        foreach (var other in undelivered) session.Custody.Keep(new KeptTask(other.Tag, this) { Response = other.Response, IsReady = true });
        foreach (var task in _tasks.Values.ToList())
        {
            if (!task.IsExecuting)
            {
                foreach (var r2t in task.R2Ts) _solicited -= r2t.Length;
                _memory.Refund(task.Collected.Length);
                _tasks.Remove(task.InitiatorTaskTag);
            }
            session.Custody.Keep(new KeptTask(task.InitiatorTaskTag, this) { Task = task, IsReady = !task.IsExecuting });
        }
        _waitingForCredit.Clear();
    }

    /// <summary>Looks after the kept tasks until all are claimed, the session ends, or the time is over; ends those that are left.</summary>
    private void KeepTasks(IscsiSession session)
    {
        var parameters = session.Parameters;
        long deadline = Stopwatch.GetTimestamp() + (parameters.DefaultTime2Wait + parameters.DefaultTime2Retain) * Stopwatch.Frequency;
        while (!session.IsClosed && _stopRequested == 0 && Stopwatch.GetTimestamp() < deadline)
        {
            AnswerKept(session);
            SweepKept(session);
            if (session.Custody.Of(this).Count == 0 && session.Connections.Count > 0) break;
            Interlocked.Exchange(ref _sleeping, 1);
            if (!HasCompletions()) _stream.Wait(false, false, 100);
            Volatile.Write(ref _sleeping, 0);
        }
        foreach (var kept in session.Custody.Of(this))
        {
            if (!session.Custody.Withdraw(kept) || kept.Task is not { IsExecuting: false } task) continue;
            Return(task);
            Drop(task);
        }
    }

    /// <summary>Tasks whose execution has ended are answered as ever; nobody reads the output, but what was sent is remembered.</summary>
    private void AnswerKept(IscsiSession session)
    {
        lock (_completionGate)
        {
            if (_completions.Count == 0) return;
            (_completions, _completionsInWork) = (_completionsInWork, _completions);
        }
        foreach (var task in _completionsInWork)
        {
            _executing--;
            var kept = session.Custody.Of(this).Find(k => k.Task == task);
            task.IsExecuting = false;
            Respond(task, task.Result);
            Output.Discard();
            if (kept is null) continue;
            var adopter = session.Custody.Answered(kept, _sent!.FindTask(kept.Tag));
            if (adopter is null || adopter.Deliver(kept)) continue;
            kept.Adopter = null;
            session.Custody.Keep(kept);
        }
        _completionsInWork.Clear();
    }

    /// <summary>Ends the tasks that were aborted while they waited for data.</summary>
    private void SweepKept(IscsiSession session)
    {
        foreach (var kept in session.Custody.Of(this))
        {
            if (kept.Task is not { IsExecuting: false, IsAborted: true } task || !session.Custody.Withdraw(kept)) continue;
            Return(task);
            Drop(task);
        }
    }

    private void Return(IscsiTask task)
    {
        // Its memory is this connection's again.
        _memory.Charge(task.Collected.Length);
        task.R2Ts.Clear();
    }
}
