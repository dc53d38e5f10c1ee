using System.Buffers.Binary;
using LunKit.Iscsi.Pdus;
using LunKit.Iscsi;
using LunKit.LogicalUnits;
using LunKit.Scsi;
using LunKit.Tests.Backstores.Filters;

namespace LunKit.Tests.Iscsi;

/// <summary>What a connection has taken it gives back, and what it has told a unit it ends, whatever goes wrong in between.</summary>
public class GivingBackTests
{
    private static Dictionary<string, string> Level(int level) => new() { ["ErrorRecoveryLevel"] = $"{level}" };

    /// <summary>Takes the power-on unit attention; the next CmdSN is 2.</summary>
    private static void Begin(SteppedInitiator initiator, int lun = 0)
    {
        initiator.Command(0x100, 1, new byte[6], lun: lun);
        initiator.Step();
        Assert.Equal((byte)ScsiStatus.CheckCondition, initiator.Receive().Status);
    }

    /// <summary>The memory of a long control PDU that ends its connection is not lost to all others.</summary>
    [Fact]
    public void AControlPduThatBreaksTheProtocol()
    {
        var target = new SteppedTarget();
        var initiator = target.LogIn();
        var (pdu, text) = (new byte[Bhs.Length], new byte[32 * 1024]);
        LoginPdu.WriteRequest(pdu, false, false, LoginStage.Operational, LoginStage.Operational, 0x8000_0000_0001, initiator.Tsih, 5, 1, text.Length);
        initiator.Send(pdu, text, cut: 20_000);
        initiator.Step();
        Assert.NotEqual(0, target.Server.Memory.Bytes);
        initiator.Streams.Send(text.AsSpan(20_000));
        initiator.Step();
        Assert.True(initiator.Connection.HasEnded);
        Assert.Equal(0, target.Server.Memory.Bytes);
    }

    /// <summary>
    /// A write that waits for credit for its next burst is aborted by somebody else while a burst before that is being received: nothing is received
    /// into memory that it has given back.
    /// </summary>
    [Fact]
    public void AnAbortOfAWriteThatWaitsForCreditAndIsBeingReceived()
    {
        const int Burst = 32 * 1024;
        var target = new SteppedTarget(new IscsiLimits { MaxSolicitedBytesPerConnection = Burst + 1 });
        var initiator = target.LogIn(keys: new() { ["MaxOutstandingR2T"] = "8", ["MaxBurstLength"] = $"{Burst}" });
        Begin(initiator);
        initiator.Command(2, 2, Cdbs.Write16(0, 128), write: 2 * Burst);
        initiator.Step();
        var r2t = initiator.Receive();
        Assert.Equal(((uint)Burst, 0), (r2t.DesiredLength, initiator.Streams.Waiting));
        var (pdu, data) = (new byte[Bhs.Length], new byte[Burst]);
        DataOutPdu.Write(pdu, 0, 2, r2t.TransferTag, data.Length, 0, 0, final: true);
        initiator.Send(pdu, data, cut: 20_000);
        initiator.Step();
        _ = target.Unit.TaskManager.Reset(null, Sense.BusDeviceResetOccurred);
        initiator.Step();
        Assert.Equal(0, target.Unit.Tasks.Count);
        initiator.Streams.Send(data.AsSpan(20_000));
        initiator.Command(3, 3, new byte[6]);
        initiator.Step();
        Assert.False(initiator.Connection.HasEnded);
        Assert.Equal(3u, initiator.Receive().Tag);
    }

    /// <summary>A unit of one's own that counts data which it has put nowhere.</summary>
    private sealed class LyingUnit() : CustomUnit(3, new UnitIdentity { Name = "liar", Id = UnitIdentity.IdOf("liar") })
    {
        protected override ValueTask<CommandResult>? Execute(ScsiCommand command) =>
            command.Cdb[0] == 0xC0 ? new ValueTask<CommandResult>(CommandResult.Data(8)) : null;
    }

    /// <summary>An answer that cannot be given costs its connection, and leaves nothing at the unit that would stand in the way of others.</summary>
    [Fact]
    public async Task AnAnswerThatCannotBeGiven()
    {
        await using var liar = new LyingUnit();
        var target = new SteppedTarget(second: liar);
        var (initiator, other) = (target.LogIn(), target.LogIn(isid: 0x8000_0000_0002));
        Begin(initiator, lun: 1);
        Begin(other, lun: 1);
        initiator.Command(2, 2, [0xC0, .. new byte[15]], read: 8, lun: 1);
        initiator.Step();
        Assert.True(initiator.Connection.HasEnded);
        Assert.Equal((0, 0L), (liar.Tasks.Count, target.Server.Memory.Bytes));
        other.Command(2, 2, [0xC1, .. new byte[15]], lun: 1);
        other.Step();
        Assert.Equal(2u, other.Receive().Tag);
    }

    /// <summary>An initiator that never acknowledges what it gets does not fill the target's memory with it.</summary>
    [Fact]
    public void AnswersThatAreNeverAcknowledged()
    {
        const int Each = 8192;
        var target = new SteppedTarget(new IscsiLimits { MaxRetainedBytesPerConnection = 8 * Each });
        var initiator = target.LogIn(keys: Level(1));
        for (uint i = 0; i < 32 && !initiator.Connection.HasEnded; i++)
        {
            var pdu = new byte[Bhs.Length];
            NopPdu.Write(pdu, PduOpcode.NopOut, 0, i, Bhs.ReservedTag, Each);
            pdu[0] |= 0x40;
            initiator.Send(pdu, new byte[Each]);
            initiator.Step();
            initiator.Streams.Receive();
            Assert.InRange(target.Server.Memory.Bytes, 0, 10 * Each);
        }
        Assert.True(initiator.Connection.HasEnded);
        Assert.Equal(0, target.Server.Memory.Bytes);
    }

    /// <summary>Two connections of a session with a task of the same tag each, which the standard forbids: both tasks end.</summary>
    [Fact]
    public void TasksOfOneTagInCustody()
    {
        var target = new SteppedTarget();
        var first = target.LogIn(keys: Level(2));
        Begin(first);
        var second = target.LogIn(first.Tsih, cid: 2);
        first.Command(7, 2, Cdbs.Write16(0, 8), write: 4096);
        first.Step();
        second.Command(7, 3, Cdbs.Write16(8, 8), write: 4096);
        second.Step();
        Assert.Equal(2, target.Unit.Tasks.Count);
        End(target, first, second);
    }

    /// <summary>A connection that has a task of this tag takes no other one over.</summary>
    [Fact]
    public void ReassignmentOfATagThatIsInUse()
    {
        var target = new SteppedTarget();
        var first = target.LogIn(keys: Level(2));
        Begin(first);
        var second = target.LogIn(first.Tsih, cid: 2);
        first.Command(7, 2, Cdbs.Write16(0, 8), write: 4096);
        first.Step();
        var logout = new byte[Bhs.Length];
        LogoutPdu.WriteRequest(logout, 2, 8, 1);
        logout[0] |= 0x40;
        second.Send(logout, []);
        second.Step();
        first.Step();
        second.Step();
        Assert.Equal(PduOpcode.LogoutResponse, second.Receive().Opcode);
        second.Command(7, 3, Cdbs.Write16(8, 8), write: 4096);
        second.Step();
        Assert.Equal(PduOpcode.ReadyToTransfer, second.Receive().Opcode);
        second.Manage(TaskManagementFunction.TaskReassign, 9, 4, referencedTag: 7);
        second.Step();
        var answer = second.Receive();
        Assert.Equal((PduOpcode.TaskManagementResponse, (byte)TaskManagementResult.TaskStillAllegiant), (answer.Opcode, answer.Response));
        Assert.Equal(2, target.Unit.Tasks.Count);
        End(target, first, second);
    }

    /// <summary>
    /// What a copy still writes when the connection of its command is lost, and the session goes on, lands on nothing newer: it has its blocks for
    /// itself until it has ended.
    /// </summary>
    [Fact]
    public async Task ACopyWhoseConnectionIsLost()
    {
        var store = HangingDisk.Create();
        var target = new SteppedTarget(store: store);
        var first = target.LogIn();
        Begin(first);
        var second = target.LogIn(first.Tsih, cid: 2);
        // WRITE USING TOKEN with the token that stands for zeroes, to 8 blocks from block 8 on.
        var list = new byte[552];
        BinaryPrimitives.WriteUInt32BigEndian(list.AsSpan(16), 0xFFFF_0001);
        (list[535], list[543], list[547]) = (16, 8, 8);
        byte[] cdb = [0x83, 0x11, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 552 >> 8, 552 & 0xFF, 0, 0];
        first.Command(2, 2, cdb, write: list.Length, immediate: list);
        first.Step();
        Assert.Equal(1, store.Hanging);
        first.Streams.Close();
        first.Step();
        Assert.True(first.Connection.HasEnded);
        byte[] data = [.. Enumerable.Repeat((byte)7, 512)];
        second.Command(3, 3, Cdbs.Write16(8, 1), write: 512, immediate: data);
        second.Step();
        Assert.Equal(1, store.Hanging);
        store.Open();
        Assert.Equal((byte)ScsiStatus.Good, (await second.AwaitAsync()).Status);
        second.Command(4, 4, Cdbs.Read16(8, 1), read: 512);
        Assert.Equal(data, (await second.AwaitAsync()).Data);
    }

    private static void End(SteppedTarget target, params SteppedInitiator[] initiators)
    {
        foreach (var initiator in initiators)
        {
            initiator.Streams.Close();
            initiator.Step();
        }
        target.Clock.Advance(TimeSpan.FromMinutes(2));
        foreach (var initiator in initiators)
        {
            initiator.Step();
            Assert.True(initiator.Connection.HasEnded);
        }
        Assert.Equal((0, 0L), (target.Unit.Tasks.Count, target.Server.Memory.Bytes));
    }
}
