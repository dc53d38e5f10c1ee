using LunKit.Iscsi.Pdus;
using LunKit.LogicalUnits;
using LunKit.Scsi;

namespace LunKit.Iscsi.Sessions;

/// <summary>
/// Task management (RFC 7143 11.5, SAM-6 7). A function is answered when every command that it ended has really ended, so that none
/// of them can still write behind the answer.
/// </summary>
internal sealed partial class IscsiConnection
{
    private readonly record struct PendingManagement(uint Tag, Task Over, bool CloseTarget);

    private readonly List<PendingManagement> _pendingManagement = [];

    private void HandleTaskManagement(Bhs header)
    {
        var pdu = new TaskManagementPdu(header.Bytes);
        var function = (TaskManagementFunction)pdu.Function;
        int lun = LunAddress.Decode(header.Lun);
        var nexus = lun < 0 ? null : Session!.Nexus.Luns.Find(lun);
        bool needsLun = function is TaskManagementFunction.AbortTask or TaskManagementFunction.AbortTaskSet or
            TaskManagementFunction.ClearTaskSet or TaskManagementFunction.LogicalUnitReset;
        if (needsLun && nexus is null)
        {
            SendManagementResponse(header.InitiatorTaskTag, TaskManagementResult.LunDoesNotExist);
            return;
        }
        LogMessages.TaskManagement(_server.Log, Session!.Nexus.InitiatorPort, function.ToString(), lun);
        // Tasks that other threads have ended are answered before, or not at all.
        TakeCompletions();
        switch (function)
        {
            case TaskManagementFunction.AbortTask:
                AbortTask(header, pdu, nexus!);
                break;
            case TaskManagementFunction.AbortTaskSet:
                Await(header, nexus!.Unit.TaskManager.AbortTaskSet(nexus));
                break;
            case TaskManagementFunction.ClearTaskSet:
                Await(header, nexus!.Unit.TaskManager.ClearTaskSet(nexus));
                break;
            case TaskManagementFunction.LogicalUnitReset:
                Await(header, nexus!.Unit.TaskManager.Reset(nexus, Sense.BusDeviceResetOccurred));
                break;
            case TaskManagementFunction.TargetWarmReset:
            case TaskManagementFunction.TargetColdReset:
                var units = Session.Nexus.Luns.Entries.Values.Select(e => e.Unit).ToList();
                Await(header, Task.WhenAll(units.Select(u => u.TaskManager.Reset(null, Sense.PowerOnOrReset))), function == TaskManagementFunction.TargetColdReset);
                break;
            case TaskManagementFunction.TaskReassign:
                Reassign(header, pdu);
                break;
            default:
                SendManagementResponse(header.InitiatorTaskTag, TaskManagementResult.NotSupported);
                break;
        }
    }

    private void AbortTask(Bhs header, TaskManagementPdu pdu, UnitNexus nexus)
    {
        uint tag = pdu.ReferencedTaskTag;
        // A tag that is not here has ended: its response is before this one in the stream (RFC 7143 11.6.1).
        bool Selects(ScsiCommand c) => c is IscsiTask t && t.InitiatorTaskTag == tag && c.UnitNexus == nexus;
        if (nexus.Unit.TaskManager.AbortTask(nexus, Selects) is { } over)
        {
            Await(header, over);
            return;
        }
        bool seen = SerialNumber.IsBefore(pdu.RefCmdSn, Session!.Window.ExpCmdSn);
        SendManagementResponse(header.InitiatorTaskTag, seen ? TaskManagementResult.TaskDoesNotExist : TaskManagementResult.Complete);
    }

    private void Await(Bhs header, Task over, bool closeTarget = false)
    {
        SweepAborted();
        _pendingManagement.Add(new(header.InitiatorTaskTag, over, closeTarget));
        if (!over.IsCompleted) over.GetAwaiter().UnsafeOnCompleted(Wake);
        CheckTaskManagement();
    }

    private void CheckTaskManagement()
    {
        for (int i = 0; i < _pendingManagement.Count; i++)
        {
            var pending = _pendingManagement[i];
            if (!pending.Over.IsCompleted) continue;
            _pendingManagement.RemoveAt(i--);
            SendManagementResponse(pending.Tag, TaskManagementResult.Complete);
            if (!pending.CloseTarget) continue;
            // TARGET COLD RESET ends all sessions of the target (RFC 7143 11.5.1).
            _server.CloseSessions(Session!.Target!, except: this);
            _endReason ??= "target cold reset";
            _endsTasks = true;
            _closeAfterFlush = true;
        }
    }

    private void SendManagementResponse(uint tag, TaskManagementResult result)
    {
        TaskManagementPdu.WriteResponse(NextHeader(), tag, result);
        FinishHeader(advanceStatSn: true, 0);
    }
}
