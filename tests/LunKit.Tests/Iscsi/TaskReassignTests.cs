using LunKit.Iscsi.Pdus;
using LunKit.Scsi;
using LunKit.Tests.Backstores.Filters;

namespace LunKit.Tests.Iscsi;

/// <summary>Tasks of a lost connection that another one has taken over (error recovery level 2).</summary>
public class TaskReassignTests
{
    /// <summary>The time that unclaimed tasks are kept is no limit for one that was claimed and still runs.</summary>
    [Fact]
    public async Task WhatWasClaimedIsAnsweredHoweverLongItTakes()
    {
        var store = HangingDisk.Create();
        var target = new SteppedTarget(store: store);
        var lost = target.LogIn(keys: new() { ["ErrorRecoveryLevel"] = "2", ["DefaultTime2Wait"] = "0", ["DefaultTime2Retain"] = "10" });
        lost.Command(0x100, 1, new byte[6]);
        lost.Step();
        Assert.Equal((byte)ScsiStatus.CheckCondition, lost.Receive().Status);
        lost.Command(2, 2, Cdbs.Read16(0, 1), read: 512);
        lost.Command(3, 3, Cdbs.Read16(1, 1), read: 512);
        lost.Step();
        Assert.Equal(2, store.Hanging);
        lost.Streams.Close();
        lost.Step();
        var next = target.LogIn(lost.Tsih, cmdSn: 4);
        next.Manage(TaskManagementFunction.TaskReassign, 9, 4, referencedTag: 2, refCmdSn: 2);
        next.Step();
        var granted = next.Receive();
        Assert.Equal((9u, (byte)TaskManagementResult.Complete), (granted.Tag, granted.Response));
        for (int second = 0; second < 25; second++)
        {
            target.Clock.Advance(TimeSpan.FromSeconds(1));
            lost.Step();
            next.Step();
            while (next.Streams.Waiting > 0) Assert.Equal(PduOpcode.NopIn, next.Receive().Opcode);
        }
        store.Open();
        for (int i = 0; next.Streams.Waiting == 0; i++)
        {
            Assert.True(i < 2000, "the claimed task is not answered");
            lost.Step();
            next.Step();
            await Task.Delay(1, TestContext.Current.CancellationToken);
        }
        var answer = next.Receive();
        Assert.Equal((2u, 512), (answer.Tag, answer.Data.Length));
        var status = next.Receive();
        Assert.Equal((2u, (byte)ScsiStatus.Good), (status.Tag, status.Status));
        // Nobody has claimed the other, and nobody keeps it.
        next.Manage(TaskManagementFunction.TaskReassign, 10, 4, referencedTag: 3, refCmdSn: 3);
        var refused = await next.AwaitAsync();
        Assert.Equal((10u, (byte)TaskManagementResult.TaskDoesNotExist), (refused.Tag, refused.Response));
        lost.Step();
        Assert.True(lost.Connection.HasEnded);
        Assert.Equal(0, target.Unit.Tasks.Count);
    }
}
