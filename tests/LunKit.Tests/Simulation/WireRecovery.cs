using LunKit.Iscsi.Pdus;
using LunKit.Scsi;

namespace LunKit.Tests.Simulation;

/// <summary>
/// Connection recovery of an initiator with error recovery level 2 (RFC 7143 7.2): a connection of the same CID takes the place of a lost one, and
/// its tasks over, one by one. What the target has never got is aborted.
/// </summary>
internal sealed class WireRecovery(WireInitiator initiator)
{
    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(12);

    private readonly HashSet<WireConnection> _awaited = [];

    private SimulatedWorld World => initiator.World;

    /// <summary>A connection is lost: it comes back, or its session is given up.</summary>
    public void Begin(WireSession session, WireConnection lost)
    {
        World.Note($"{lost} is to be recovered");
        _awaited.Add(lost);
        World.After(TimeSpan.FromMilliseconds(World.Between(0, 3000)), () => Try(session, lost));
        World.After(s_limit, () =>
        {
            // Before the target gives its tasks up by itself.
            if (!session.IsOver && NeedsRecovery(session, lost.Cid) && initiator.Session == session) initiator.DropSession();
        });
    }

    private static bool NeedsRecovery(WireSession session, ushort cid) =>
        !session.Connections.Exists(c => c.Cid == cid && c.IsLoggedIn) || session.Open.Exists(c => c.Connection.IsLost && c.Connection.Cid == cid);

    private void Try(WireSession session, WireConnection lost)
    {
        if (session.IsOver || initiator.Session != session || session.Connections.Exists(c => c.Cid == lost.Cid)) return;
        initiator.Join(session, lost.Cid);
    }

    /// <summary>A connection is in the place of those of its CID that were lost: their tasks are asked for.</summary>
    public void Joined(WireSession session, WireConnection connection)
    {
        foreach (var command in session.Open.Where(c => c.Connection != connection && c.Connection.Cid == connection.Cid).ToList())
        {
            if (!Reassign(session, connection, command))
            {
                initiator.DropSession();
                return;
            }
        }
        // Those of others are given up, unless their connection comes back.
        foreach (var command in session.Open.Where(c => c.Connection.IsLost && c.Connection.Cid != connection.Cid && !_awaited.Contains(c.Connection)).ToList())
        {
            if (initiator.Simulation.Operations.Abort(connection, command)) continue;
            initiator.DropSession();
            return;
        }
        initiator.FillOthers(session, connection);
    }

    private bool Reassign(WireSession session, WireConnection connection, WireCommand command)
    {
        // The target may have them all by now.
        if (session.Functions.Exists(f => f.Command == command) || session.NewTag(ofFunction: true) is not { } tag) return false;
        initiator.Simulation.Operations.Manage(connection, tag, new WireFunction
        {
            Function = TaskManagementFunction.TaskReassign, Connection = connection, Tag = tag, Unit = command.Unit, Command = command, Covered = [],
            Fenced = [], Time = World.Now,
        }, command.Tag, command.IsImmediate ? session.CmdSn : command.CmdSn, immediate: true, command.Reads ? command.DataSn : command.R2tSn);
        return true;
    }

    /// <summary>TASK REASSIGN is answered.</summary>
    public void Reassigned(WireFunction function, TaskManagementResult result)
    {
        var (command, connection) = (function.Command!, function.Connection);
        if (command.IsConcluded)
        {
            // A function has ended it meanwhile; its number is still missing where it never came.
            if (result != TaskManagementResult.Complete && !command.IsImmediate && !command.Session.HasPassed(command.CmdSn)
                && !initiator.Simulation.Operations.Abort(connection, command.CmdSn)) initiator.DropSession();
            // Its answer had been sent before that, over the lost connection, and is sent again.
            if (result == TaskManagementResult.Complete) command.Adopt(connection);
            return;
        }
        switch (result)
        {
            case TaskManagementResult.Complete:
                command.Adopt(connection);
                break;
            case TaskManagementResult.TaskDoesNotExist or TaskManagementResult.LunDoesNotExist:
            // A logout or a function has ended it, and it still runs: nobody hands it over.
            case TaskManagementResult.TaskStillAllegiant:
                if (!initiator.Simulation.Operations.Abort(connection, command)) initiator.DropSession();
                break;
            default:
                throw new SimulationException($"{function} is answered {result}");
        }
    }
}
