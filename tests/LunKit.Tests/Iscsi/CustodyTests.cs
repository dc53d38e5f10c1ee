using LunKit.Iscsi.Pdus;
using LunKit.Scsi;
using LunKit.Tests.Backstores.Filters;

namespace LunKit.Tests.Iscsi;

/// <summary>Connections that are lost at error recovery level 2 (RFC 7143 7.2), and when what they keep is over.</summary>
public class CustodyTests
{
    private static SteppedInitiator Begin(SteppedTarget target)
    {
        var initiator = target.LogIn(keys: new() { ["ErrorRecoveryLevel"] = "2" });
        // Takes the power-on unit attention; the next CmdSN is 2.
        initiator.Command(0x100, 1, new byte[6]);
        initiator.Step();
        var answer = initiator.Receive();
        Assert.Equal((byte)ScsiStatus.CheckCondition, answer.Status);
        Acknowledge(initiator, answer);
        return initiator;
    }

    /// <summary>Tells by a NOP-Out that a response has come.</summary>
    private static void Acknowledge(SteppedInitiator initiator, Pdu answer)
    {
        var pdu = new byte[Bhs.Length];
        NopPdu.Write(pdu, PduOpcode.NopOut, 0, Bhs.ReservedTag, Bhs.ReservedTag, 0);
        _ = new Bhs(pdu) { IsImmediate = true, CmdSn = 2, ExpStatSn = answer.StatSn + 1 };
        initiator.Send(pdu, []);
        initiator.Step();
    }

    private static void Lose(SteppedInitiator initiator)
    {
        initiator.Streams.Close();
        initiator.Step();
    }

    /// <summary>Logs another connection of the session out for recovery, which has to see it.</summary>
    private static void GiveUp(SteppedInitiator initiator, ushort cid, uint cmdSn, SteppedInitiator other)
    {
        var pdu = new byte[Bhs.Length];
        LogoutPdu.WriteRequest(pdu, 2, 0x6000, cid);
        pdu[0] |= 0x40;
        new Bhs(pdu).CmdSn = cmdSn;
        initiator.Send(pdu, []);
        initiator.Step();
        other.Step();
        initiator.Step();
        Assert.Equal(PduOpcode.LogoutResponse, initiator.Receive().Opcode);
    }

    private static TaskManagementResult Reassign(SteppedInitiator initiator, uint tag, uint cmdSn)
    {
        initiator.Manage(TaskManagementFunction.TaskReassign, 0x7000 + tag, cmdSn, tag);
        initiator.Step();
        var answer = initiator.Receive();
        Assert.Equal(PduOpcode.TaskManagementResponse, answer.Opcode);
        return (TaskManagementResult)answer.Response;
    }

    /// <summary>A session whose only connection is lost, with nothing to be done, stays for the time that was agreed on, and goes on.</summary>
    [Fact]
    public void AnIdleSessionCanBeComeBackTo()
    {
        var target = new SteppedTarget();
        var first = Begin(target);
        Lose(first);
        target.Clock.Advance(TimeSpan.FromSeconds(20));
        first.Step();
        Assert.Equal(1, target.Server.SessionCount);
        var second = target.LogIn(first.Tsih, cid: 2, cmdSn: 2);
        second.Command(2, 2, new byte[6]);
        second.Step();
        // No unit attention: the nexus was not lost.
        Assert.Equal((byte)ScsiStatus.Good, second.Receive().Status);
        // The old one has nothing to keep any more.
        first.Step();
        Assert.True(first.Connection.HasEnded);
        Lose(second);
        target.Clock.Advance(TimeSpan.FromSeconds(60));
        second.Step();
        Assert.Equal(0, target.Server.SessionCount);
    }

    /// <summary>A connection is lost that waits for the end of a task of another: a third one can have it.</summary>
    [Fact]
    public async Task ATaskWhoseNewConnectionIsLostCanBeClaimedAgain()
    {
        var store = HangingDisk.Create();
        var target = new SteppedTarget(store: store);
        var first = Begin(target);
        first.Command(2, 2, Cdbs.Read16(0, 1), read: 512);
        first.Step();
        Lose(first);
        var second = target.LogIn(first.Tsih, cid: 2, cmdSn: 3);
        GiveUp(second, 1, 3, first);
        Assert.Equal(TaskManagementResult.Complete, Reassign(second, 2, 3));
        var third = target.LogIn(first.Tsih, cid: 3, cmdSn: 3);
        // It is the second's while that lives.
        Assert.Equal(TaskManagementResult.TaskStillAllegiant, Reassign(third, 2, 3));
        Lose(second);
        Assert.Equal(TaskManagementResult.Complete, Reassign(third, 2, 3));
        store.Open();
        first.Step();
        var data = await third.AwaitAsync();
        Assert.Equal((PduOpcode.DataIn, 2u, 512), (data.Opcode, data.Tag, data.Data.Length));
        Assert.Equal((byte)ScsiStatus.Good, (await third.AwaitAsync()).Status);
        Assert.Equal(0, target.Unit.Tasks.Count);
    }
}
