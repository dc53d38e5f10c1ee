using System.Net.Sockets;
using System.Net;
using LunKit.Backstores;
using LunKit.Iscsi.Initiator;
using LunKit.Iscsi.Pdus;
using LunKit.Iscsi.Sessions;
using LunKit.Iscsi;
using LunKit.LogicalUnits;
using LunKit.Scsi;
using LunKit.Targets;
using LunKit.Tests.Backstores.Filters;

namespace LunKit.Tests.Iscsi;

/// <summary>Commands before their turn, immediate commands, used tags: what the order of a session owes to each.</summary>
public class CommandOrderTests
{
    private static ScriptedInitiator Connect(TestTarget target, ushort tsih = 0, ushort cid = 1, uint cmdSn = 1)
    {
        var initiator = new ScriptedInitiator(target, tsih, cid, level: 0, cmdSn: cmdSn);
        if (tsih != 0) return initiator;
        initiator.Command(0x100, new byte[6]);
        initiator.Receive(PduOpcode.ScsiResponse);
        return initiator;
    }

    private static byte FirstByte(ScriptedInitiator initiator, uint tag)
    {
        initiator.Command(tag, Cdbs.Read16(7, 1), read: 512);
        return initiator.Receive(PduOpcode.DataIn).Data[0];
    }

    [Theory]
    [InlineData(TaskManagementFunction.AbortTask, false)]
    [InlineData(TaskManagementFunction.AbortTask, true)]
    [InlineData(TaskManagementFunction.AbortTaskSet, false)]
    [InlineData(TaskManagementFunction.AbortTaskSet, true)]
    [InlineData(TaskManagementFunction.ClearTaskSet, true)]
    [InlineData(TaskManagementFunction.LogicalUnitReset, true)]
    [InlineData(TaskManagementFunction.TargetWarmReset, false)]
    public async Task FunctionReachesCommandsBeforeTheirTurn(TaskManagementFunction function, bool onOtherConnection)
    {
        await using var target = new TestTarget();
        using var first = Connect(target);
        using var second = Connect(target, first.Tsih, cid: 2, cmdSn: first.CmdSn);
        first.Command(2, Cdbs.Write16(7, 1), write: 512, immediate: [.. Enumerable.Repeat((byte)'N', 512)]);
        first.Receive(PduOpcode.ScsiResponse);
        uint missing = first.CmdSn;
        var holder = onOtherConnection ? second : first;
        holder.Command(3, Cdbs.Write16(7, 1), write: 512, immediate: [.. Enumerable.Repeat((byte)'O', 512)], cmdSn: missing + 1);
        Assert.True(holder.IsQuiet(50));
        first.CmdSn = missing + 2;
        first.Manage(function, 4, function == TaskManagementFunction.AbortTask ? 3 : Bhs.ReservedTag, missing + 1);
        Assert.Equal((byte)TaskManagementResult.Complete, first.Receive(PduOpcode.TaskManagementResponse).Response);
        // The missing command comes: it had been aborted too, but for ABORT TASK, and the one behind it never runs.
        first.Command(5, new byte[6], cmdSn: missing);
        if (function == TaskManagementFunction.AbortTask) Assert.Equal(5u, first.Receive(PduOpcode.ScsiResponse).Tag);
        else Assert.True(first.IsQuiet(50));
        Assert.True(holder.IsQuiet(50));
        if (function is TaskManagementFunction.LogicalUnitReset or TaskManagementFunction.TargetWarmReset)
        {
            first.Command(6, new byte[6]);
            Assert.Equal((byte)ScsiStatus.CheckCondition, first.Receive(PduOpcode.ScsiResponse).Status);
        }
        Assert.Equal((byte)'N', FirstByte(first, 7));
    }

    /// <summary>ABORT TASK of a command that never comes closes the hole: what waited behind it runs.</summary>
    [Fact]
    public async Task AbortOfAMissingCommandLetsTheNextRun()
    {
        await using var target = new TestTarget();
        using var initiator = Connect(target);
        uint missing = initiator.CmdSn;
        initiator.Command(3, new byte[6], cmdSn: missing + 1);
        Assert.True(initiator.IsQuiet(50));
        initiator.CmdSn = missing + 2;
        initiator.Manage(TaskManagementFunction.AbortTask, 4, 2, missing);
        Assert.Equal((byte)TaskManagementResult.Complete, initiator.Receive(PduOpcode.TaskManagementResponse).Response);
        Assert.Equal(3u, initiator.Receive(PduOpcode.ScsiResponse).Tag);
        initiator.Manage(TaskManagementFunction.AbortTask, 5, 2, missing);
        Assert.Equal((byte)TaskManagementResult.TaskDoesNotExist, initiator.Receive(PduOpcode.TaskManagementResponse).Response);
    }

    /// <summary>Commands that come early and find no memory wait on the wire; none is lost.</summary>
    [Fact]
    public async Task EarlyCommandsWithoutRoomAreNotLost()
    {
        await using var target = new TestTarget(new IscsiLimits { MaxOutstandingBytesPerConnection = 3000, LogoutTimeoutSeconds = 1 });
        using var first = Connect(target);
        using var second = Connect(target, first.Tsih, cid: 2, cmdSn: first.CmdSn);
        uint missing = first.CmdSn;
        for (uint i = 1; i <= 6; i++)
            second.Command(0x10 + i, Cdbs.Write16(i * 8, 2), write: 1024, immediate: new byte[1024], cmdSn: missing + i);
        Assert.True(second.IsQuiet(100));
        first.Command(2, new byte[6]);
        Assert.Equal(2u, first.Receive(PduOpcode.ScsiResponse).Tag);
        for (uint i = 1; i <= 6; i++) Assert.Equal(0x10 + i, second.Receive(PduOpcode.ScsiResponse).Tag);
    }

    [Fact]
    public async Task ImmediateCommandsAreLimited()
    {
        var store = HangingDisk.Create();
        await using var target = new TestTarget(new IscsiLimits { MaxImmediateCommands = 3, LogoutTimeoutSeconds = 1 },
            stores: new Dictionary<int, IBackstore> { [0] = store });
        using var initiator = Connect(target);
        for (uint i = 0; i < 5; i++) initiator.Command(0x10 + i, Cdbs.Read16(0, 1), read: 512, isImmediate: true);
        for (int i = 0; i < 2; i++)
        {
            var reject = initiator.Receive(PduOpcode.Reject);
            Assert.Equal((byte)RejectReason.TooManyImmediateCommands, reject.Header[2]);
        }
        // Functions have an allowance of their own.
        for (uint i = 0; i < 5; i++) initiator.Manage(TaskManagementFunction.AbortTask, 0x20 + i, 0x10 + i % 3, initiator.CmdSn - 1);
        for (int i = 0; i < 2; i++)
            Assert.Equal((byte)RejectReason.TooManyImmediateCommands, initiator.Receive(PduOpcode.Reject).Header[2]);
        store.Open();
        for (int i = 0; i < 3; i++)
            Assert.Equal((byte)TaskManagementResult.Complete, initiator.Receive(PduOpcode.TaskManagementResponse).Response);
        initiator.Command(3, Cdbs.Read16(0, 1), read: 512, isImmediate: true);
        Assert.Equal(3u, initiator.Receive(PduOpcode.DataIn).Tag);
        Assert.Equal(0, target.Server.Memory.Bytes);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(100_000)]
    public async Task TagInUseIsRejected(int immediate)
    {
        var store = HangingDisk.Create();
        await using var target = new TestTarget(stores: new Dictionary<int, IBackstore> { [0] = store });
        using var initiator = new ScriptedInitiator(target, level: 0, extra: ["FirstBurstLength=262144", "MaxBurstLength=262144"]);
        initiator.Command(0x100, new byte[6]);
        initiator.Receive(PduOpcode.ScsiResponse);
        initiator.Command(2, Cdbs.Read16(0, 1), read: 512);
        await store.WhenHangingAsync(1).WaitAsync(TimeSpan.FromSeconds(30));
        if (immediate == 0) initiator.Command(2, new byte[6]);
        else initiator.Command(2, Cdbs.Write16(0, 200), write: 200 * 512, immediate: new byte[immediate]);
        var reject = initiator.Receive(PduOpcode.Reject);
        Assert.Equal(((byte)RejectReason.TaskInProgress, 2u), (reject.Header[2], new Bhs(reject.Data).InitiatorTaskTag));
        store.Open();
        Assert.Equal(2u, initiator.Receive(PduOpcode.DataIn).Tag);
        initiator.Command(3, new byte[6]);
        Assert.Equal(3u, initiator.Receive(PduOpcode.ScsiResponse).Tag);
    }

    [Fact]
    public async Task BidirectionalCommandIsRefused()
    {
        await using var target = new TestTarget();
        using var initiator = Connect(target);
        var pdu = new byte[Bhs.Length];
        ScsiCommandPdu.Write(pdu, 0, 2, true, true, true, (int)TaskAttribute.Simple, 512, Cdbs.Write16(0, 1));
        new Bhs(pdu).CmdSn = initiator.CmdSn++;
        initiator.Send(pdu, new byte[512]);
        var answer = initiator.Receive(PduOpcode.ScsiResponse);
        Assert.Equal((byte)ScsiStatus.CheckCondition, answer.Status);
        Assert.Equal("0E03", Convert.ToHexString(answer.Data.AsSpan(2 + 12, 2)));
        initiator.Command(3, new byte[6]);
        Assert.Equal((byte)ScsiStatus.Good, initiator.Receive(PduOpcode.ScsiResponse).Status);
    }

    [Theory]
    [InlineData(false, false)]
    [InlineData(false, true)]
    [InlineData(true, false)]
    public async Task ControlPdusOfTheDeclaredLengthAreServed(bool text, bool digest)
    {
        var opcode = text ? PduOpcode.TextRequest : PduOpcode.NopOut;
        await using var target = new TestTarget();
        using var initiator = new ScriptedInitiator(target, level: 0, dataDigest: digest);
        var (pdu, data) = (new byte[Bhs.Length], new byte[256 * 1024]);
        if (opcode == PduOpcode.NopOut) NopPdu.Write(pdu, opcode, 0, 9, Bhs.ReservedTag, data.Length);
        else TextPdu.Write(pdu, opcode, TextPdu.Final, 9, Bhs.ReservedTag, data.Length);
        pdu[0] |= 0x40;
        new Bhs(pdu).CmdSn = initiator.CmdSn;
        new Random(3).NextBytes(data);
        // More text than is taken: rejected.
        if (text) Array.Fill(data, (byte)'x');
        initiator.Send(pdu, data);
        var answer = initiator.Receive();
        uint tag = text ? new Bhs(answer.Data).InitiatorTaskTag : answer.Tag;
        Assert.Equal((text ? PduOpcode.Reject : PduOpcode.NopIn, 9u), (answer.Opcode, tag));
        if (!text) Assert.Equal(data[..1024], answer.Data);
        initiator.Command(3, new byte[6]);
        while (answer.Opcode != PduOpcode.ScsiResponse) answer = initiator.Receive();
        Assert.Equal(3u, answer.Tag);
    }

    [Theory]
    [InlineData("Normal")]
    [InlineData("Discovery")]
    public async Task ColdResetIsTheOperatorsToAllow(string type)
    {
        await using var target = new TestTarget();
        var other = await target.ConnectAsync();
        using var initiator = new ScriptedInitiator(target, level: 0, extra: [$"SessionType={type}"]);
        initiator.Manage(TaskManagementFunction.TargetColdReset, 5);
        Assert.Equal((byte)TaskManagementResult.NotSupported, initiator.Receive(PduOpcode.TaskManagementResponse).Response);
        Assert.Equal(ScsiStatus.Good, (await other.ExecuteAsync(0, new byte[6])).Status);
    }

    /// <summary>A thread that cannot be started costs its connection, and no other.</summary>
    [Fact]
    public async Task ThreadThatCannotBeStartedCostsOneConnection()
    {
        int failures = 1;
        await using var unit = new BlockUnit(new MemoryBackstore(1 << 20), "t", new VolatileUnitState(UnitIdentity.IdOf("t")));
        await using var server = new IscsiServer(new IscsiServerOptions
        {
            Portals = [new Portal(new IPEndPoint(IPAddress.Loopback, 0))],
            Targets = [new Target { Name = TestTarget.Iqn, Luns = new Dictionary<int, LogicalUnit> { [0] = unit } }],
        })
        {
            StartThread = connection =>
            {
                if (Interlocked.Decrement(ref failures) >= 0) throw new InvalidOperationException("no thread");
                connection.Start();
            },
        };
        server.Start();
        using var refused = new Socket(SocketType.Stream, ProtocolType.Tcp) { ReceiveTimeout = 10_000 };
        refused.Connect(server.Portals[0].EndPoint);
        Assert.Equal(0, refused.Receive(new byte[1]));
        Assert.Equal(0, server.ConnectionCount);
        var options = new InitiatorOptions { Portal = server.Portals[0].EndPoint, TargetName = TestTarget.Iqn };
        await using var served = await IscsiInitiator.ConnectAsync(options);
        await served.ExecuteAsync(0, new byte[6]);
        Assert.Equal(ScsiStatus.Good, (await served.ExecuteAsync(0, new byte[6])).Status);
    }

    [Fact]
    public void WindowPassesWhatWasSkipped()
    {
        var window = new CommandWindow(10, 8);
        Assert.True(window.Skip(12));
        Assert.Equal(CommandOrder.Now, window.Take(10, 0, false, out bool wakes));
        Assert.False(wakes);
        Assert.Equal(CommandOrder.Ignore, window.Take(12, 0, false, out _));
        window.AddWaiter();
        Assert.Equal(CommandOrder.Now, window.Take(11, 0, false, out wakes));
        Assert.True(wakes);
        Assert.Equal(13u, window.ExpCmdSn);
        Assert.False(window.Skip(12));
        Assert.False(window.Skip(13 + 8));
        // Who holds commands itself need not be woken by itself.
        window.Take(13, 0, true, out wakes);
        Assert.False(wakes);
    }

    [Fact]
    public void FenceStopsWhatWasBeforeIt()
    {
        var window = new CommandWindow(10, 8);
        Assert.True(window.TryFence(12, 1));
        Assert.Equal(CommandOrder.Now, window.Take(10, 2, false, out _));
        Assert.Equal(CommandOrder.Aborted, window.Take(11, 1, false, out _));
        Assert.Equal(CommandOrder.Now, window.Take(12, 1, false, out _));
        // Nothing is missing before its own number.
        Assert.True(window.TryFence(13, CommandWindow.NoLun));
        Assert.Equal(CommandOrder.Now, window.Take(13, 1, false, out _));
        // One past the window ends with the window.
        Assert.True(window.TryFence(10_000, CommandWindow.NoLun));
        for (uint i = 14; i < 21; i++) Assert.Equal(CommandOrder.Aborted, window.Take(i, 1, false, out _));
    }

    /// <summary>What commands that live on have of the queue's memory is not used again when the rest is dropped.</summary>
    [Fact]
    public void DiscardLeavesSharedMemoryAlone()
    {
        var queue = new OutputQueue(new BufferPool());
        queue.Grow();
        int at = queue.Reserve(4096);
        var chunk = queue.Current;
        queue.Detach(at);
        queue.Reserve(100);
        queue.Discard();
        Assert.Equal(0, queue.Pending);
        int next = queue.Reserve(48);
        Assert.True(queue.Current != chunk || next >= at + 4096);
    }
}
