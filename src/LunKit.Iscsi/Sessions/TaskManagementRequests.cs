using LunKit.Iscsi.Pdus;
using LunKit.LogicalUnits;
using LunKit.Scsi;

namespace LunKit.Iscsi.Sessions;

/// <summary>
/// Task management (RFC 7143 11.5, SAM-6 7). A function is answered when every command that it ended has really ended, so that none
/// of them can still write behind the answer. Only the connection's thread uses it.
/// </summary>
internal sealed class TaskManagementRequests(FullFeaturePhase phase)
{
    private readonly record struct Pending(uint Tag, IReadOnlyList<LogicalUnit> Units, Func<ScsiCommand, bool> Affected, bool CloseTarget);

    private readonly List<Pending> _pending = [];

    private IscsiSession Session => phase.Session;
    private IscsiServer Server => phase.Connection.Server;

    /// <summary>Whether functions wait for commands to end.</summary>
    public bool IsPending => _pending.Count > 0;

    public void Handle(Bhs header)
    {
        var pdu = new TaskManagementPdu(header.Bytes);
        var function = (TaskManagementFunction)pdu.Function;
        int lun = LunAddress.Decode(header.Lun);
        var nexus = lun < 0 ? null : Session.Nexus.Luns.Find(lun);
        bool needsLun = function is TaskManagementFunction.AbortTask or TaskManagementFunction.AbortTaskSet or
            TaskManagementFunction.ClearTaskSet or TaskManagementFunction.LogicalUnitReset;
        if (needsLun && nexus is null)
        {
            Respond(header.InitiatorTaskTag, TaskManagementResult.LunDoesNotExist);
            return;
        }
        LogMessages.TaskManagement(Server.Log, Session.Nexus.InitiatorPort, function.ToString(), lun);
        switch (function)
        {
            case TaskManagementFunction.AbortTask:
                AbortTask(header, pdu, nexus!);
                break;
            case TaskManagementFunction.AbortTaskSet:
                Manage(header, [nexus!.Unit], c => c.UnitNexus == nexus, _ => false);
                break;
            case TaskManagementFunction.ClearTaskSet:
                ClearTaskSet(header, nexus!);
                break;
            case TaskManagementFunction.LogicalUnitReset:
                nexus!.Unit.Reset(nexus, Sense.BusDeviceResetOccurred);
                Manage(header, [nexus.Unit], c => c.IsAborted, _ => false);
                break;
            case TaskManagementFunction.TargetWarmReset:
            case TaskManagementFunction.TargetColdReset:
                var units = Session.Nexus.Luns.Entries.Values.Select(e => e.Unit).ToList();
                foreach (var unit in units) unit.Reset(null, Sense.PowerOnOrReset);
                Manage(header, units, c => c.IsAborted, _ => false, function == TaskManagementFunction.TargetColdReset);
                break;
            case TaskManagementFunction.TaskReassign:
                Reassign(header, pdu);
                break;
            default:
                Respond(header.InitiatorTaskTag, TaskManagementResult.NotSupported);
                break;
        }
    }

    private void Reassign(Bhs header, TaskManagementPdu pdu)
    {
        KeptTask? taken = null;
        Respond(header.InitiatorTaskTag, phase.Custody?.Reassign(pdu.ReferencedTaskTag, pdu.ExpDataSn, out taken)
            ?? TaskManagementResult.ReassignmentNotSupported);
        if (taken is not null) phase.Custody?.Adopt(taken);
    }

    private void AbortTask(Bhs header, TaskManagementPdu pdu, UnitNexus nexus)
    {
        uint tag = pdu.ReferencedTaskTag;
        // A tag that is not here has ended: its response is before this one in the stream (RFC 7143 11.6.1).
        bool Selects(ScsiCommand c) => c is IscsiTask t && t.InitiatorTaskTag == tag && c.UnitNexus == nexus;
        bool exists = nexus.Unit.Tasks.Any(Selects);
        if (!exists)
        {
            bool seen = SerialNumber.IsBefore(pdu.RefCmdSn, Session.Window.ExpCmdSn);
            Respond(header.InitiatorTaskTag, seen ? TaskManagementResult.TaskDoesNotExist : TaskManagementResult.Complete);
            return;
        }
        Manage(header, [nexus.Unit], Selects, _ => false);
    }

    private void ClearTaskSet(Bhs header, UnitNexus nexus)
    {
        var unit = nexus.Unit;
        bool tas = unit.ModePages.Bit(0x0A, 0, 5, 0x40);
        // Other nexuses whose commands end here are told, by status (TAS) or by unit attention.
        foreach (var other in unit.Nexuses.ToArray())
            if (other != nexus && !tas && unit.Tasks.Any(c => c.UnitNexus == other)) other.Attend(Sense.CommandsClearedByAnotherInitiator);
        Manage(header, [unit], _ => true, c => tas && c.UnitNexus != nexus);
    }

    private void Manage(
        Bhs header, IReadOnlyList<LogicalUnit> units, Func<ScsiCommand, bool> affected, Func<ScsiCommand, bool> reports, bool closeTarget = false)
    {
        foreach (var unit in units) unit.Tasks.Abort(affected, reports);
        phase.Tasks.SweepAborted();
        // Tasks of other connections that were still collecting data are swept by their own threads.
        Server.WakeAll();
        _pending.Add(new(header.InitiatorTaskTag, units, c => c.IsAborted && affected(c), closeTarget));
        Check();
    }

    /// <summary>Answers the functions whose commands have ended.</summary>
    public bool Check()
    {
        bool any = false;
        for (int i = 0; i < _pending.Count; i++)
        {
            var pending = _pending[i];
            if (pending.Units.Any(u => u.Tasks.Any(pending.Affected))) continue;
            _pending.RemoveAt(i--);
            Respond(pending.Tag, TaskManagementResult.Complete);
            any = true;
            if (!pending.CloseTarget) continue;
            // TARGET COLD RESET ends all sessions of the target (RFC 7143 11.5.1).
            Server.CloseSessions(Session.Target!, except: phase.Connection);
            phase.Connection.CloseWhenFlushed("target cold reset", endsTasks: true);
        }
        return any;
    }

    private void Respond(uint tag, TaskManagementResult result)
    {
        TaskManagementPdu.WriteResponse(phase.Sender.NextHeader(), tag, result);
        phase.Sender.FinishPdu(advanceStatSn: true);
    }
}
