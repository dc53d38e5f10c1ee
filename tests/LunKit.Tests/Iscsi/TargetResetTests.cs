using LunKit.Iscsi.Pdus;
using LunKit.Scsi;

namespace LunKit.Tests.Iscsi;

/// <summary>TARGET WARM RESET ends what the target has, and is answered when that is over.</summary>
public class TargetResetTests
{
    /// <summary>Also the commands of others at a LUN that is not there any more: they still change the disk behind it.</summary>
    [Fact]
    public async Task ItWaitsForWhatOthersHadAtALunThatWasTakenAway()
    {
        var store = new GatedBackstore();
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
        Assert.Equal(1, store.Waiting);
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
}
