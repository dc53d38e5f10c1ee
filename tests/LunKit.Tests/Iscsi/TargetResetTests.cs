using LunKit.Iscsi.Pdus;
using LunKit.Scsi;
using LunKit.Tests.Backstores.Filters;

namespace LunKit.Tests.Iscsi;

/// <summary>TARGET WARM RESET ends what the target has, and is answered when that is over.</summary>
public class TargetResetTests
{
    /// <summary>Also the commands of others at a LUN that is not there any more: they still change the disk behind it.</summary>
    [Fact]
    public async Task ItWaitsForWhatOthersHadAtALunThatWasTakenAway()
    {
        var store = HangingDisk.Create();
        var target = new SteppedTarget(store: store);
        var (resetter, other) = (target.LogIn(), target.LogIn(isid: 0x8000_0000_0002));
        foreach (var initiator in new[] { resetter, other })
        {
            initiator.Command(0x100, 1, new byte[6]);
            initiator.Step();
            Assert.Equal((byte)ScsiStatus.CheckCondition, initiator.Receive().Status);
        }
        other.Command(2, 2, Cdbs.Read16(0, 1), read: 512);
        other.Step();
        Assert.Equal(1, store.Hanging);
        target.SetLun(false);
        resetter.Manage(TaskManagementFunction.TargetWarmReset, 3, 2);
        await Task.Delay(20, TestContext.Current.CancellationToken);
        resetter.Step();
        Assert.Equal(0, resetter.Streams.Waiting);
        store.Open();
        var aborted = await other.AwaitAsync();
        Assert.Equal((2u, (byte)ScsiStatus.TaskAborted), (aborted.Tag, aborted.Status));
        var over = await resetter.AwaitAsync();
        Assert.Equal((PduOpcode.TaskManagementResponse, (byte)TaskManagementResult.Complete), (over.Opcode, over.Response));
    }

    /// <summary>A unit goes while a command's immediate data comes: the command is answered then, and not behind what ends all commands.</summary>
    [Fact]
    public void ACommandWhoseUnitGoesWhileItComesIsRefusedAtOnce()
    {
        var target = new SteppedTarget();
        var initiator = target.LogIn();
        initiator.Command(0x100, 1, new byte[6]);
        initiator.Step();
        Assert.Equal((byte)ScsiStatus.CheckCondition, initiator.Receive().Status);
        // More is to follow on request.
        var data = new byte[32 * 1024];
        initiator.Command(2, 2, Cdbs.Write16(0, 128), write: 64 * 1024, immediate: data, cut: 20_000);
        initiator.Step();
        target.SetLun(false);
        initiator.Streams.Send(data.AsSpan(20_000));
        initiator.Step();
        var answer = initiator.Receive();
        Assert.Equal((PduOpcode.ScsiResponse, 2u, (byte)ScsiStatus.CheckCondition), (answer.Opcode, answer.Tag, answer.Status));
        Assert.Equal((byte)SenseKey.IllegalRequest, answer.Data[4] & 0x0F);
        initiator.Manage(TaskManagementFunction.TargetWarmReset, 3, 3);
        initiator.Step();
        Assert.Equal((byte)TaskManagementResult.Complete, initiator.Receive().Response);
        Assert.Equal((0, 0L), (target.Unit.Tasks.Count, target.Server.Memory.Bytes));
    }
}
