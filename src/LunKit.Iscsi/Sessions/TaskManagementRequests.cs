using LunKit.Iscsi.Pdus;
using LunKit.LogicalUnits;
using LunKit.Scsi;

namespace LunKit.Iscsi.Sessions;

/// <summary>
/// Task management (RFC 7143 11.5, SAM-6 7). The unit's task manager ends the commands that it knows; those that have not had their
/// turn yet, on any connection of the session, lose it here. A function is answered when every command that it ended has left its
/// unit, and the answers that other connections of the session had queued before have left them. Only the connection's thread uses
/// it.
/// </summary>
internal sealed class TaskManagementRequests(FullFeaturePhase phase)
{
    /// <summary>A function whose commands have not all left.</summary>
    private sealed class Pending(uint tag, Task over, bool closesTarget)
    {
        public uint Tag => tag;
        public Task Over => over;
        public bool ClosesTarget => closesTarget;

        /// <summary>What other connections of the session had queued when the commands had left.</summary>
        public List<(IscsiConnection Connection, long Mark)>? Marks;
    }

    // Far longer than it takes.
    private static readonly TimeSpan s_handover = TimeSpan.FromMilliseconds(100);

    private readonly List<Pending> _pending = [];

    private IscsiSession Session => phase.Session;
    private IscsiServer Server => phase.Connection.Server;

    /// <summary>Whether functions wait for what other connections have queued.</summary>
    public bool AwaitsOthers { get; private set; }

    public void Handle(Bhs header)
    {
        // Functions that wait hold memory, and are outside the command window.
        if (_pending.Count >= phase.Connection.Limits.MaxImmediateCommands)
        {
            phase.Sender.Reject(header, RejectReason.TooManyImmediateCommands);
            return;
        }
        var pdu = new TaskManagementPdu(header.Bytes);
        var function = (TaskManagementFunction)pdu.Function;
        int lun = LunAddress.Decode(header.Lun);
        LogMessages.TaskManagement(Server.Log, Session.Nexus.InitiatorPort, function.ToString(), lun);
        // Tasks that other threads have ended are answered before the function takes effect.
        phase.Tasks.TakeCompletions();
        // Also those that this connection has taken over; their keeper hands an answer on within moments.
        if (phase.Custody is { } custody)
        {
            SpinWait.SpinUntil(() => !Session.Custody.IsAnswering, s_handover);
            custody.TakeAdopted();
        }
        switch (function)
        {
            case TaskManagementFunction.AbortTask or TaskManagementFunction.AbortTaskSet or TaskManagementFunction.ClearTaskSet
                or TaskManagementFunction.LogicalUnitReset:
                if (lun >= 0 && Session.Nexus.Luns.Find(lun) is { } nexus) ManageUnit(header, function, nexus);
                else Respond(header.InitiatorTaskTag, TaskManagementResult.LunDoesNotExist);
                break;
            case TaskManagementFunction.TargetWarmReset:
                ResetTarget(header, closes: false);
                break;
            // It ends the sessions of all initiators: the operator says whether one of them may (RFC 7143 11.5.1).
            case TaskManagementFunction.TargetColdReset when Server.Options.AllowsTargetColdReset && Session.Target is not null:
                ResetTarget(header, closes: true);
                break;
            case TaskManagementFunction.TaskReassign:
                Reassign(header, pdu);
                break;
            default:
                Respond(header.InitiatorTaskTag, TaskManagementResult.NotSupported);
                break;
        }
    }

    private void ManageUnit(Bhs header, TaskManagementFunction function, UnitNexus nexus)
    {
        var manager = nexus.Unit.TaskManager;
        if (function == TaskManagementFunction.AbortTask)
        {
            AbortTask(header, nexus);
            return;
        }
        if (!Session.Window.TryFence(header.CmdSn, nexus.Lun))
        {
            Respond(header.InitiatorTaskTag, TaskManagementResult.Rejected);
            return;
        }
        Await(header, function switch
        {
            TaskManagementFunction.AbortTaskSet => manager.AbortTaskSet(nexus, LaterThan(header.CmdSn)),
            TaskManagementFunction.ClearTaskSet => manager.ClearTaskSet(nexus),
            _ => manager.Reset(nexus, Sense.BusDeviceResetOccurred),
        });
    }

    // What another connection brought before an immediate function that was sent first: its initiator does not count it as aborted, and waits for
    // its answer. On this connection everything before the function was sent before.
    private Func<ScsiCommand, bool> LaterThan(uint cmdSn) =>
        c => c is IscsiTask { IsImmediate: false } task && task.Owner != phase && !SerialNumber.IsBefore(task.CmdSn, cmdSn);

    private void ResetTarget(Bhs header, bool closes)
    {
        if (!Session.Window.TryFence(header.CmdSn, CommandWindow.NoLun))
        {
            Respond(header.InitiatorTaskTag, TaskManagementResult.Rejected);
            return;
        }
        var units = Session.Nexus.Luns.Entries.Values.Select(e => e.Unit).ToList();
        // Commands of a LUN that was taken away are of the target, too, whoever has sent them.
        var left = Server.Sessions.Of(Session.Target?.Name ?? "").Select(s => s.Nexus.WhenLeft());
        Await(header, Task.WhenAll(units.Select(u => u.TaskManager.Reset(null, Sense.PowerOnOrReset)).Concat(left)), closes);
    }

    private void Reassign(Bhs header, TaskManagementPdu pdu)
    {
        KeptTask? taken = null;
        Respond(header.InitiatorTaskTag, phase.Custody?.Reassign(pdu.ReferencedTaskTag, pdu.ExpDataSn, out taken)
            ?? TaskManagementResult.ReassignmentNotSupported);
        if (taken is not null) phase.Custody?.Adopt(taken);
    }

    private void AbortTask(Bhs header, UnitNexus nexus)
    {
        var pdu = new TaskManagementPdu(header.Bytes);
        uint tag = pdu.ReferencedTaskTag;
        if (nexus.Unit.TaskManager.AbortTask(nexus, c => c is IscsiTask t && t.InitiatorTaskTag == tag) is { } over)
        {
            Await(header, over);
            return;
        }
        // It has not come yet: its turn passes without it, and the function is complete. Otherwise it has been answered (RFC 7143 11.6.1).
        bool isMissing = SerialNumber.IsBefore(pdu.RefCmdSn, header.CmdSn) && Session.Window.Skip(pdu.RefCmdSn);
        // Connections that hold it, or what comes after it, go on.
        if (isMissing) Session.WakeOthers(phase.Connection);
        Respond(header.InitiatorTaskTag, isMissing ? TaskManagementResult.Complete : TaskManagementResult.TaskDoesNotExist);
    }

    private void Await(Bhs header, Task over, bool closesTarget = false)
    {
        phase.Tasks.SweepAborted();
        _pending.Add(new(header.InitiatorTaskTag, over, closesTarget));
        if (!over.IsCompleted) over.GetAwaiter().UnsafeOnCompleted(phase.Connection.Wake);
        Check();
    }

    /// <summary>Answers the functions whose commands have left.</summary>
    public bool Check()
    {
        if (_pending.Count == 0) return false;
        bool any = false;
        AwaitsOthers = false;
        for (int i = 0; i < _pending.Count; i++)
        {
            var pending = _pending[i];
            if (!pending.Over.IsCompleted) continue;
            if (pending.Marks is null && AllIsQueued()) pending.Marks = [.. Session.Connections.Where(c => c != phase.Connection).Select(c => (c, c.QueuedBytes))];
            if (pending.Marks?.Exists(m => !m.Connection.HasSent(m.Mark)) != false)
            {
                AwaitsOthers = true;
                continue;
            }
            _pending.RemoveAt(i--);
            Respond(pending.Tag, TaskManagementResult.Complete);
            any = true;
            if (!pending.ClosesTarget || Session.Target is not { } target) continue;
            // TARGET COLD RESET ends all sessions of the target (RFC 7143 11.5.1).
            Server.CloseSessions(target, except: phase.Connection);
            phase.Connection.CloseWhenFlushed("target cold reset", endsTasks: true);
        }
        return any;
    }

    /// <summary>Whether no answer of a task that has left its unit is on its way from a lost connection to another one.</summary>
    private bool AllIsQueued()
    {
        if (Session.Custody.IsAnswering) return false;
        phase.Custody?.TakeAdopted();
        return !Session.Connections.Any(c => c != phase.Connection && c.OwesAnswers);
    }

    private void Respond(uint tag, TaskManagementResult result)
    {
        TaskManagementPdu.WriteResponse(phase.Sender.NextHeader(), tag, result);
        phase.Sender.FinishPdu(advanceStatSn: true);
    }
}
