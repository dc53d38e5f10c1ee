using LunKit.Iscsi.Pdus;

namespace LunKit.Iscsi.Sessions;

/// <summary>
/// Connection recovery (RFC 7143 7.2, error recovery level 2): a connection that was lost looks after its tasks until another
/// connection of the session has claimed them by TASK REASSIGN, or the time for that is over. Only the connection's thread uses it,
/// except <see cref="Deliver"/>.
/// </summary>
internal sealed class ConnectionCustody(FullFeaturePhase phase, SentResponses sent, Retransmission retransmission)
{
    private readonly Lock _gate = new();
    private List<KeptTask>? _adopted = [];
    private long _deadline;

    private TaskCustody Custody => phase.Session.Custody;
    private IscsiConnection Keeper => phase.Connection;

    /// <summary>Hands over a task whose execution has ended. Any thread; false when this connection has ended itself.</summary>
    public bool Deliver(KeptTask task)
    {
        lock (_gate)
        {
            if (_adopted is null) return false;
            _adopted.Add(task);
        }
        Keeper.Wake();
        return true;
    }

    /// <summary>
    /// TASK REASSIGN. The caller sends the result, and then goes on with <paramref name="taken"/> by <see cref="Adopt"/>.
    /// </summary>
    public TaskManagementResult Reassign(uint tag, uint expDataSn, out KeptTask? taken)
    {
        taken = null;
        // It would take the place of the one of this tag that this connection has itself.
        if (phase.Tasks.Find(tag) is not null) return TaskManagementResult.TaskStillAllegiant;
        var claim = Custody.Claim(tag, Keeper, expDataSn, out taken);
        bool isElsewhere = claim == Reassignment.NoSuchTask && IsElsewhere(tag);
        // Its connection may have put it into custody between the two looks; it does that before it leaves the session's connections.
        if (claim == Reassignment.NoSuchTask && !isElsewhere) claim = Custody.Claim(tag, Keeper, expDataSn, out taken);
        if (claim == Reassignment.Granted) return TaskManagementResult.Complete;
        bool isAllegiant = isElsewhere || claim == Reassignment.StillAllegiant;
        return isAllegiant ? TaskManagementResult.TaskStillAllegiant : TaskManagementResult.TaskDoesNotExist;
    }

    /// <summary>Whether a task executes, or its answer is not acknowledged, on a connection that nobody has given up yet.</summary>
    private bool IsElsewhere(uint tag) =>
        phase.Session.Nexus.Luns.Entries.Values.Any(
            e => e.Unit.Tasks.Any(c => c is IscsiTask t && t.InitiatorTaskTag == tag && c.UnitNexus == e)) ||
        phase.Session.Connections.Any(c => c != Keeper && c.Holds(tag));

    /// <summary>Whether tasks were handed over here with which it has not gone on yet. Any thread.</summary>
    public bool HasAdopted
    {
        get { lock (_gate) return _adopted is { Count: > 0 }; }
    }

    /// <summary>Goes on with the tasks that this connection has taken over.</summary>
    public void TakeAdopted()
    {
        List<KeptTask> adopted;
        lock (_gate)
        {
            if (_adopted is not { Count: > 0 }) return;
            (adopted, _adopted) = (_adopted, []);
        }
        foreach (var kept in adopted) Adopt(kept);
    }

    /// <summary>Goes on with a task that was taken over.</summary>
    public void Adopt(KeptTask kept)
    {
        if (kept.Response is { } response)
        {
            retransmission.SendAdopted(response, kept.ExpDataSn);
        }
        else if (kept.Task is { } task)
        {
            phase.Tasks.Adopt(task);
            phase.Transfers.Adopt(task, kept.ExpDataSn);
        }
    }

    /// <summary>The connection ends, and has no use for tasks that it has claimed: they may be claimed again.</summary>
    public void Leave()
    {
        lock (_gate) _adopted = null;
        Custody.Forget(Keeper);
    }

    /// <summary>Puts the tasks into custody. From here on other connections may take those that wait for data or are answered.</summary>
    public void Begin()
    {
        List<KeptTask> undelivered;
        lock (_gate)
        {
            undelivered = _adopted ?? [];
            _adopted = null;
        }
        Custody.Forget(Keeper);
        // What was never acknowledged is sent again on the new connection, its data and its status.
        foreach (var response in sent.Unacknowledged.Where(r => r.IsOfTask))
            Custody.Keep(new KeptTask(response.Tag, Keeper) { Response = response, IsReady = true });
        sent.Surrender();
        foreach (var other in undelivered)
            Custody.Keep(new KeptTask(other.Tag, Keeper) { Task = other.Task, Response = other.Response, IsReady = true });
        foreach (var task in phase.Tasks.All.ToList())
        {
            if (!task.IsExecuting) phase.Tasks.GiveUp(task);
            Custody.Keep(new KeptTask(task.InitiatorTaskTag, Keeper) { Task = task, IsReady = !task.IsExecuting });
        }
        var parameters = phase.Session.Parameters;
        var clock = Keeper.Clock;
        _deadline = clock.GetTimestamp() + (parameters.DefaultTime2Wait + parameters.DefaultTime2Retain) * clock.TimestampFrequency;
    }

    /// <summary>Tasks in custody.</summary>
    public int Count => Custody.Of(Keeper).Count;

    /// <summary>
    /// One turn of looking after them; true when it is over: all are claimed and have ended, the session ends, or the time is over, also because the
    /// server stops. Tasks that were claimed in time are their connection's, however long they take.
    /// </summary>
    public bool IsOver()
    {
        if (phase.Session.IsClosed) return true;
        AnswerKept();
        SweepAborted();
        bool isLate = Keeper.IsStopping || Keeper.Clock.GetTimestamp() >= _deadline;
        if (isLate) EndAll(unclaimed: true);
        return Count == 0 && (isLate || phase.Session.Connections.Count > 0);
    }

    /// <summary>Ends all tasks.</summary>
    public void End() => EndAll(unclaimed: false);

    private void EndAll(bool unclaimed)
    {
        foreach (var kept in Custody.Of(Keeper)) Withdraw(kept, unclaimed);
    }

    /// <summary>Tasks whose execution has ended are answered as ever; nobody reads the output, but what was sent is remembered.</summary>
    private void AnswerKept()
    {
        if (!phase.Tasks.HaveCompleted) return;
        var completed = phase.Tasks.TakeCompleted();
        while (completed.TryTake(out var task))
        {
            Custody.BeginAnswer();
            try
            {
                Answer(task);
            }
            finally
            {
                Custody.EndAnswer();
            }
        }
    }

    private void Answer(IscsiTask task)
    {
        var kept = Custody.Of(Keeper).Find(k => k.Task == task);
        phase.Tasks.Respond(task, task.Result);
        phase.Sender.Output.Discard();
        if (kept is null) return;
        var response = sent.FindTask(kept.Tag);
        sent.Surrender();
        var adopter = Custody.Answered(kept, response);
        if (adopter is null || adopter.Deliver(kept)) return;
        kept.Adopter = null;
        Custody.Keep(kept);
    }

    /// <summary>Ends the tasks that were aborted while they waited for data.</summary>
    private void SweepAborted()
    {
        foreach (var kept in Custody.Of(Keeper))
            if (kept.Task is { IsExecuting: false, IsAborted: true }) Withdraw(kept, unclaimed: false);
    }

    private void Withdraw(KeptTask kept, bool unclaimed)
    {
        if (!Custody.Withdraw(kept, unclaimed) || kept.Task is not { IsExecuting: false } task) return;
        phase.Tasks.Adopt(task);
        // What it had solicited was forgotten when it was given into custody.
        task.R2Ts.Clear();
        phase.Tasks.Free(task);
    }
}
