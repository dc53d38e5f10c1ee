using LunKit.Iscsi.Pdus;
using LunKit.Iscsi;
using LunKit.Scsi;
using LunKit.Tests.Backstores.Filters;

namespace LunKit.Tests.Iscsi;

/// <summary>Connections that go by steps, and what only an exact order of events shows.</summary>
public class StepTests
{
    private static byte[] Pattern(int length) => [.. Enumerable.Range(0, length).Select(i => (byte)(i * 7 + i / 512))];

    /// <summary>Takes the power-on unit attention; the next CmdSN is 2.</summary>
    private static void Begin(SteppedInitiator initiator)
    {
        initiator.Command(0x100, 1, new byte[6]);
        initiator.Step();
        Assert.Equal((byte)ScsiStatus.CheckCondition, initiator.Receive().Status);
    }

    [Fact]
    public void LoginWriteAndReadGoByStepsAlone()
    {
        var initiator = new SteppedTarget().LogIn();
        Begin(initiator);
        var data = Pattern(4096);
        initiator.Command(2, 2, Cdbs.Write16(8, 8), write: 4096, immediate: data);
        initiator.Command(3, 3, Cdbs.Read16(8, 8), read: 4096);
        initiator.Step();
        Assert.Equal((byte)ScsiStatus.Good, initiator.Receive().Status);
        var read = initiator.Receive();
        Assert.True(read.HasStatus && read.Data.AsSpan().SequenceEqual(data));
        Assert.False(initiator.Connection.Step());
        initiator.Streams.Close();
        initiator.Step();
        Assert.True(initiator.Connection.HasEnded && initiator.Streams.TargetHasClosed);
        Assert.True(initiator.Connection.Ended.IsCompletedSuccessfully);
    }

    [Fact]
    public void TimeIsTheClocks()
    {
        var target = new SteppedTarget(new IscsiLimits { NopInIntervalSeconds = 10, NopInTimeoutSeconds = 5, LoginTimeoutSeconds = 3 });
        var initiator = target.LogIn();
        Pass(target, initiator, 12);
        Assert.Equal(PduOpcode.NopIn, initiator.Receive().Opcode);
        Assert.False(initiator.Connection.HasEnded);
        Pass(target, initiator, 6);
        Assert.True(initiator.Connection.HasEnded);
        var silent = target.Connect();
        Assert.False(silent.Connection.Step());
        Pass(target, silent, 4);
        Assert.True(silent.Connection.HasEnded);
    }

    private static void Pass(SteppedTarget target, SteppedInitiator initiator, int seconds)
    {
        for (int i = 0; i < seconds; i++)
        {
            target.Clock.Advance(TimeSpan.FromSeconds(1));
            initiator.Step();
        }
    }

    /// <summary>
    /// Long reads in one segment to an initiator that reads slowly: all are answered, and it need not send anything more.
    /// </summary>
    [Fact]
    public void WhatWasReceivedIsServedWhenTheOutputDrains()
    {
        const int Reads = 40, Each = 64 * 1024;
        var initiator = new SteppedTarget(new IscsiLimits { MaxPendingOutputBytes = 256 * 1024 }).LogIn(capacity: 96 * 1024);
        Begin(initiator);
        for (uint i = 0; i < Reads; i++) initiator.Command(i, 2 + i, Cdbs.Read16(0, Each / 512), read: Each);
        int got = 0, bytes = 0;
        for (int i = 0; i < 10 * Reads && bytes < Reads * (Each + Bhs.Length); i++)
        {
            initiator.Step();
            bytes += initiator.Streams.Receive(32 * 1024).Length;
            got = bytes / (Each + Bhs.Length);
        }
        Assert.Equal(Reads, got);
    }

    /// <summary>A task that another thread ends while the function is being received is answered before it, or never.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task NothingFollowsTheResponseToAFunction(bool reset)
    {
        var store = HangingDisk.Create();
        var initiator = new SteppedTarget(store: store).LogIn();
        Begin(initiator);
        initiator.Command(2, 2, Cdbs.Read16(0, 1), read: 512);
        initiator.Step();
        Assert.Equal(1, store.Hanging);
        var function = reset ? TaskManagementFunction.LogicalUnitReset : TaskManagementFunction.AbortTask;
        initiator.Manage(function, 3, 3, reset ? Bhs.ReservedTag : 2, 2);
        initiator.Streams.Receiving = store.Open;
        var first = await initiator.AwaitAsync();
        Assert.Equal((PduOpcode.DataIn, 2u), (first.Opcode, first.Tag));
        var second = await initiator.AwaitAsync();
        var expected = reset ? TaskManagementResult.Complete : TaskManagementResult.TaskDoesNotExist;
        Assert.Equal((PduOpcode.TaskManagementResponse, (byte)expected), (second.Opcode, second.Response));
        await Task.Delay(50);
        initiator.Step();
        Assert.Equal(0, initiator.Streams.Waiting);
    }

    /// <summary>What another connection of the session has queued before leaves it before the function is answered.</summary>
    [Fact]
    public async Task AnswersOfOtherConnectionsComeBeforeTheResponse()
    {
        var target = new SteppedTarget();
        var first = target.LogIn(capacity: 1024 * 1024);
        Begin(first);
        var second = target.LogIn(first.Tsih, cid: 2, capacity: 1024);
        second.Command(5, 2, Cdbs.Read16(0, 8), read: 4096);
        second.Step();
        Assert.Equal(1024, second.Streams.Waiting);
        first.Manage(TaskManagementFunction.LogicalUnitReset, 6, 3);
        await Task.Delay(50);
        first.Step();
        Assert.Equal(0, first.Streams.Waiting);
        for (int left = Bhs.Length + 4096; left > 0; second.Step()) left -= second.Streams.Receive().Length;
        Assert.Equal(PduOpcode.TaskManagementResponse, (await first.AwaitAsync()).Opcode);
    }

    /// <summary>Data-Out that was asked for and does not come ends the connection at error recovery level 0.</summary>
    [Fact]
    public void MissingDataOutEndsTheConnection()
    {
        var target = new SteppedTarget(new IscsiLimits { NopInIntervalSeconds = 0, DataOutDeadlineSeconds = 10 });
        var initiator = target.LogIn();
        Begin(initiator);
        initiator.Command(2, 2, Cdbs.Write16(0, 8), write: 4096);
        initiator.Step();
        Assert.Equal(PduOpcode.ReadyToTransfer, initiator.Receive().Opcode);
        Pass(target, initiator, 9);
        Assert.False(initiator.Connection.HasEnded);
        Pass(target, initiator, 3);
        Assert.True(initiator.Connection.HasEnded);
        Assert.Equal((0, 0L), (target.Unit.Tasks.Count, target.Server.Memory.Bytes));
    }

    /// <summary>A command before its turn does not run on the part of its data that has come.</summary>
    [Fact]
    public void HeldCommandWaitsForItsData()
    {
        var target = new SteppedTarget();
        var first = target.LogIn();
        Begin(first);
        var second = target.LogIn(first.Tsih, cid: 2);
        var data = Pattern(32 * 1024);
        second.Command(3, 3, Cdbs.Write16(0, 64), write: data.Length, immediate: data, cut: 20_000);
        second.Step();
        first.Command(2, 2, new byte[6]);
        first.Step();
        Assert.Equal((byte)ScsiStatus.Good, first.Receive().Status);
        second.Step();
        Assert.Equal(0, second.Streams.Waiting);
        second.Streams.Send(data.AsSpan(20_000));
        second.Step();
        Assert.Equal((byte)ScsiStatus.Good, second.Receive().Status);
        first.Command(4, 4, Cdbs.Read16(0, 64), read: data.Length);
        first.Step();
        Assert.Equal(data, first.Receive().Data);
    }

    /// <summary>Another initiator's reset does not wait for the rest of a segment.</summary>
    [Fact]
    public async Task ResetDoesNotWaitForASegment()
    {
        var target = new SteppedTarget();
        var (slow, other) = (target.LogIn(), target.LogIn(isid: 0x8000_0000_0002));
        Begin(slow);
        Begin(other);
        slow.Command(2, 2, Cdbs.Write16(0, 64), write: 32 * 1024);
        slow.Step();
        var r2t = slow.Receive();
        var (pdu, data) = (new byte[Bhs.Length], Pattern(32 * 1024));
        DataOutPdu.Write(pdu, 0, 2, r2t.TransferTag, data.Length, 0, 0, final: true);
        slow.Send(pdu, data, cut: 20_000);
        slow.Step();
        other.Manage(TaskManagementFunction.LogicalUnitReset, 9, 2);
        other.Step();
        slow.Step();
        Assert.Equal(PduOpcode.TaskManagementResponse, (await other.AwaitAsync()).Opcode);
        // Its initiator is told (TAS = 1), the rest is read and dropped, and the connection goes on.
        var aborted = await slow.AwaitAsync();
        Assert.Equal((2u, (byte)ScsiStatus.TaskAborted), (aborted.Tag, aborted.Header[3]));
        slow.Streams.Send(data.AsSpan(20_000));
        slow.Command(3, 3, new byte[6]);
        Assert.Equal(3u, (await slow.AwaitAsync()).Tag);
        Assert.Equal(0, slow.Streams.Waiting);
    }

    /// <summary>The end of a connection does not wait for a disk that hangs; its memory does.</summary>
    [Fact]
    public async Task ConnectionEndsBesideADiskThatHangs()
    {
        var store = HangingDisk.Create();
        var target = new SteppedTarget(store: store);
        var initiator = target.LogIn();
        Begin(initiator);
        initiator.Command(2, 2, Cdbs.Read16(0, 200), read: 200 * 512);
        initiator.Command(3, 3, Cdbs.Write16(0, 1), write: 512, immediate: new byte[512]);
        initiator.Step();
        Assert.Equal(2, store.Hanging);
        initiator.Streams.Close();
        initiator.Step();
        Assert.True(initiator.Connection.HasEnded);
        Assert.Equal((0, 0), (target.Server.ConnectionCount, target.Server.SessionCount));
        Assert.InRange(target.Server.Memory.Bytes, 200 * 512, 1 << 20);
        Assert.Equal(2, target.Unit.Tasks.Count);
        store.Open();
        for (int i = 0; i < 200 && target.Unit.Tasks.Count > 0; i++) await Task.Delay(10);
        Assert.Equal((0, 0L), (target.Unit.Tasks.Count, target.Server.Memory.Bytes));
    }

    /// <summary>The answer of a command shows the place in the window that it frees.</summary>
    [Fact]
    public async Task AnswerOpensTheWindow()
    {
        var store = HangingDisk.Create();
        var initiator = new SteppedTarget(new IscsiLimits { QueueDepth = 1 }, store).LogIn();
        Begin(initiator);
        initiator.Command(2, 2, Cdbs.Read16(0, 1), read: 512);
        initiator.Step();
        store.Open();
        var answer = await initiator.AwaitAsync();
        var header = new Bhs(answer.Header);
        Assert.Equal((3u, 3u), (header.ExpCmdSn, header.MaxCmdSn));
    }

    /// <summary>A write that waited for credit, and whose own data brought it on before its turn, runs once.</summary>
    [Fact]
    public void WriteThatWaitedForCreditRunsOnce()
    {
        var store = HangingDisk.Create();
        var limits = new IscsiLimits { MaxSolicitedBytesPerConnection = 1024 };
        var initiator = new SteppedTarget(limits, store).LogIn(outstandingR2T: 4);
        Begin(initiator);
        initiator.Command(2, 2, Cdbs.Write16(0, 3), write: 3 * 512);
        initiator.Step();
        var (first, second) = (initiator.Receive(), initiator.Receive());
        Assert.Equal(0, initiator.Streams.Waiting);
        void Data(Pdu r2t, int offset)
        {
            var pdu = new byte[Bhs.Length];
            DataOutPdu.Write(pdu, 0, 2, r2t.TransferTag, 512, 0, (uint)offset, final: true);
            initiator.Send(pdu, Pattern(512));
        }
        Data(first, 0);
        initiator.Step();
        var third = initiator.Receive();
        Data(second, 512);
        Data(third, 1024);
        initiator.Step();
        Assert.Equal(1, store.Hanging);
        store.Open();
        initiator.Step();
        var answer = initiator.Receive();
        Assert.Equal((2u, (byte)ScsiStatus.Good), (answer.Tag, answer.Status));
        Assert.Equal(0, initiator.Streams.Waiting);
    }

    /// <summary>A LUN that was taken away, and perhaps put back: its old commands are of it for task management, until they have ended.</summary>
    [Theory]
    [InlineData(TaskManagementFunction.AbortTask, true)]
    [InlineData(TaskManagementFunction.AbortTaskSet, true)]
    [InlineData(TaskManagementFunction.LogicalUnitReset, true)]
    [InlineData(TaskManagementFunction.TargetWarmReset, true)]
    [InlineData(TaskManagementFunction.TargetWarmReset, false)]
    public async Task FunctionWaitsForCommandsOfALunThatWasTakenAway(TaskManagementFunction function, bool isBack)
    {
        var store = HangingDisk.Create();
        var target = new SteppedTarget(store: store);
        var initiator = target.LogIn();
        Begin(initiator);
        initiator.Command(2, 2, Cdbs.Read16(0, 1), read: 512);
        initiator.Step();
        Assert.Equal(1, store.Hanging);
        target.SetLun(false);
        if (isBack) target.SetLun(true);
        initiator.Manage(function, 3, 3, function == TaskManagementFunction.AbortTask ? 2 : Bhs.ReservedTag, 2);
        await Task.Delay(20);
        initiator.Step();
        Assert.Equal(0, initiator.Streams.Waiting);
        store.Open();
        // Whoever took the LUN away ended the command: its initiator is told.
        var first = await initiator.AwaitAsync();
        Assert.Equal((2u, (byte)ScsiStatus.TaskAborted), (first.Tag, first.Status));
        var second = await initiator.AwaitAsync();
        Assert.Equal((PduOpcode.TaskManagementResponse, (byte)TaskManagementResult.Complete), (second.Opcode, second.Response));
        initiator.Step();
        Assert.Equal(0, initiator.Streams.Waiting);
    }

    /// <summary>
    /// A function is about what its initiator sent before it. A later command that came first, on another connection, is waited for by its
    /// initiator, and goes on.
    /// </summary>
    [Fact]
    public async Task AbortTaskSetSparesLaterCommands()
    {
        var store = HangingDisk.Create();
        var target = new SteppedTarget(store: store);
        var first = target.LogIn();
        Begin(first);
        var second = target.LogIn(first.Tsih, cid: 2);
        second.Command(2, 2, Cdbs.Read16(0, 1), read: 512);
        second.Command(3, 3, Cdbs.Read16(1, 1), read: 512);
        second.Step();
        Assert.Equal(2, store.Hanging);
        // Sent when number 3 was the next.
        first.Manage(TaskManagementFunction.AbortTaskSet, 9, 3);
        first.Step();
        Assert.Equal(0, first.Streams.Waiting);
        store.Open();
        var read = await second.AwaitAsync();
        Assert.Equal((3u, true), (read.Tag, read.HasStatus));
        Assert.Equal(512, read.Data.Length);
        var done = await first.AwaitAsync();
        Assert.Equal((PduOpcode.TaskManagementResponse, (byte)TaskManagementResult.Complete), (done.Opcode, done.Response));
        second.Step();
        Assert.Equal(0, second.Streams.Waiting);
    }

    /// <summary>
    /// An early command for which there is no room does not keep what comes behind it from being served: that may be what its turn waits for.
    /// It is refused when it is its turn.
    /// </summary>
    [Fact]
    public async Task EarlyCommandWithoutRoomIsRefused()
    {
        var store = HangingDisk.Create();
        var target = new SteppedTarget(new IscsiLimits { MaxOutstandingBytesPerConnection = 4096 }, store);
        var first = target.LogIn();
        Begin(first);
        var second = target.LogIn(first.Tsih, cid: 2);
        // A read that the disk keeps has used the memory up; one early command can always be held.
        second.Command(2, 2, Cdbs.Read16(0, 200), read: 200 * 512);
        second.Command(4, 4, Cdbs.Write16(0, 1), write: 512, immediate: new byte[512]);
        second.Command(5, 5, Cdbs.Write16(1, 1), write: 512, immediate: new byte[512]);
        // The connection of number 3 is lost.
        second.Manage(TaskManagementFunction.AbortTask, 6, 6, referencedTag: 3, refCmdSn: 3);
        second.Step();
        var response = second.Receive();
        Assert.Equal((6u, (byte)TaskManagementResult.Complete), (response.Tag, response.Response));
        for (uint tag = 4; tag <= 5; tag++)
        {
            var full = second.Receive();
            Assert.Equal((tag, (byte)ScsiStatus.TaskSetFull), (full.Tag, full.Status));
        }
        store.Open();
        // Its data comes in two PDUs.
        for (int i = 0; i < 2; i++) Assert.Equal(2u, (await second.AwaitAsync()).Tag);
        second.Command(7, 6, Cdbs.Write16(0, 1), write: 512, immediate: new byte[512]);
        var good = await second.AwaitAsync();
        Assert.Equal((7u, (byte)ScsiStatus.Good), (good.Tag, good.Status));
        Assert.Equal(0, target.Server.Memory.Bytes);
    }

    /// <summary>What fails while a connection ends keeps nothing of it in the session, in the units, or on the account.</summary>
    [Fact]
    public void AFaultInTheEndOfAConnectionLeavesNothingBehind()
    {
        var target = new SteppedTarget();
        var initiator = target.LogIn();
        Begin(initiator);
        // Its data is still to come.
        initiator.Command(2, 2, Cdbs.Write16(8, 8), write: 4096);
        initiator.Step();
        Assert.Equal(1, target.Unit.Tasks.Count);
        initiator.Streams.Receiving = () => throw new InsufficientMemoryException("no memory for what comes");
        initiator.Streams.Closing = () => throw new IOException("nor for the end");
        initiator.Step();
        Assert.True(initiator.Connection.HasEnded && initiator.Connection.Ended.IsCompletedSuccessfully);
        Assert.True(initiator.Streams.TargetHasClosed);
        Assert.Equal(0, target.Unit.Tasks.Count);
        Assert.Equal(0, target.Server.SessionCount);
        Assert.Equal(0, target.Server.Memory.Bytes);
    }
}
