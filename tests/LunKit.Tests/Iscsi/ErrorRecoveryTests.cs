using LunKit.Backstores;
using LunKit.Iscsi.Pdus;
using LunKit.Iscsi;
using LunKit.Tests.Backstores.Filters;

namespace LunKit.Tests.Iscsi;

/// <summary>Error recovery levels 1 and 2 (RFC 7143 7): nothing that was lost on the way stays lost, and nothing is done twice.</summary>
public class ErrorRecoveryTests
{
    private static readonly byte[] s_data = MakeData(8192);

    private static byte[] MakeData(int length)
    {
        var data = new byte[length];
        new Random(7).NextBytes(data);
        return data;
    }

    /// <summary>An initiator past its power-on unit attention.</summary>
    private static ScriptedInitiator Connect(TestTarget target, int level = 2, bool dataDigest = false, string[]? extra = null)
    {
        var initiator = new ScriptedInitiator(target, level: level, dataDigest: dataDigest, extra: extra);
        Assert.Equal($"{level}", initiator.Keys["ErrorRecoveryLevel"]);
        initiator.Command(1, new byte[6]);
        initiator.Acknowledged = initiator.Receive(PduOpcode.ScsiResponse).StatSn + 1;
        return initiator;
    }

    private static async Task FillAsync(TestTarget target)
    {
        var writer = await target.ConnectAsync();
        await writer.ExecuteAsync(0, Cdbs.Write16(0, 16), s_data);
    }

    private static async Task AssertWrittenAsync(TestTarget target)
    {
        var reader = await target.ConnectAsync(target.Options with { Isid = 0x8000_0000_0077 });
        Assert.Equal(s_data, (await reader.ExecuteAsync(0, Cdbs.Read16(0, 16), dataInLength: 8192)).Data);
    }

    private static void SendBurst(ScriptedInitiator initiator, Pdu r2t)
    {
        int length = (int)r2t.DesiredLength, offset = (int)r2t.BufferOffset;
        for (int done = 0; done < length; done += 1024)
            initiator.DataOut(r2t, s_data, offset + done, Math.Min(1024, length - done), (uint)(done / 1024), done + 1024 >= length);
    }

    [Fact]
    public async Task LostDataInIsSentAgainAsItWas()
    {
        await using var target = new TestTarget();
        await FillAsync(target);
        using var initiator = Connect(target);
        initiator.Command(2, Cdbs.Read16(0, 16), read: 8192);
        var sent = initiator.ReceiveRead();
        Assert.Equal(8, sent.Count);
        initiator.Snack(SnackType.Data, 2, 3, 2);
        foreach (var original in sent[3..5]) AssertSame(original, initiator.Receive());
        // Run length 0: all from there on, with the status that was in the last.
        initiator.Snack(SnackType.Data, 2, 6, 0);
        foreach (var original in sent[6..]) AssertSame(original, initiator.Receive());
        Assert.True(initiator.IsQuiet());
    }

    private static void AssertSame(Pdu original, Pdu again)
    {
        Assert.Equal(original.Data, again.Data);
        // All but ExpCmdSN and MaxCmdSN (RFC 7143 11.16).
        Assert.Equal(original.Header[..28], again.Header[..28]);
        Assert.Equal(original.Header[36..], again.Header[36..]);
    }

    [Fact]
    public async Task LostStatusIsSentAgain()
    {
        await using var target = new TestTarget();
        await FillAsync(target);
        using var initiator = Connect(target);
        initiator.Command(2, [0xFF, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        var refused = initiator.Receive(PduOpcode.ScsiResponse);
        initiator.Command(3, Cdbs.Read16(0, 2), read: 1024);
        var read = initiator.Receive(PduOpcode.DataIn);
        initiator.Snack(SnackType.Status, Bhs.ReservedTag, refused.StatSn, 0);
        AssertSame(refused, initiator.Receive());
        AssertSame(read, initiator.Receive());
        // Acknowledged, and never sent: both are protocol errors.
        initiator.Acknowledged = read.StatSn + 1;
        foreach (uint statSn in (uint[])[refused.StatSn, read.StatSn + 10])
        {
            initiator.Snack(SnackType.Status, Bhs.ReservedTag, statSn, 1);
            Assert.Equal((byte)RejectReason.ProtocolError, initiator.Receive(PduOpcode.Reject).Response);
        }
    }

    [Fact]
    public async Task ReadIsCutAnewForASmallerReceiver()
    {
        await using var target = new TestTarget();
        await FillAsync(target);
        using var initiator = Connect(target);
        initiator.Command(2, Cdbs.Read16(0, 16), read: 8192);
        var sent = initiator.ReceiveRead();
        var text = new byte[Bhs.Length];
        var keys = LunKit.Iscsi.Login.TextKeys.Format([new("MaxRecvDataSegmentLength", "512")]);
        TextPdu.Write(text, PduOpcode.TextRequest, TextPdu.Final, 9, Bhs.ReservedTag, keys.Length);
        new Bhs(text).CmdSn = initiator.CmdSn++;
        initiator.Send(text, keys);
        initiator.Receive(PduOpcode.TextResponse);
        initiator.Snack(SnackType.ResegmentedData, 2, 0, 0, snackTag: 0x1234);
        var data = new List<byte>();
        for (uint i = 0; i < 16; i++)
        {
            var pdu = initiator.Receive(PduOpcode.DataIn);
            Assert.Equal(i, pdu.DataSn);
            Assert.False(pdu.HasStatus);
            data.AddRange(pdu.Data);
        }
        Assert.Equal(s_data, data);
        var response = initiator.Receive(PduOpcode.ScsiResponse);
        Assert.Equal((0x1234u, sent[^1].StatSn, 16u), (response.TransferTag, response.StatSn, response.DataSn));
    }

    [Theory]
    [InlineData(0)] // the first PDU of the burst is damaged
    [InlineData(2)]
    [InlineData(3)] // the last one
    public async Task DamagedDataOutIsAskedForAgain(int damaged)
    {
        await using var target = new TestTarget();
        using var initiator = Connect(target, level: 1, dataDigest: true);
        initiator.Command(2, Cdbs.Write16(0, 16), write: 8192);
        var r2t = initiator.Receive(PduOpcode.ReadyToTransfer);
        for (int i = 0; i < 4; i++)
        {
            initiator.DamageNext = i == damaged;
            initiator.DataOut(r2t, s_data, i * 1024, 1024, (uint)i, i == 3);
        }
        Assert.Equal((byte)RejectReason.DataDigestError, initiator.Receive(PduOpcode.Reject).Response);
        var again = initiator.Receive(PduOpcode.ReadyToTransfer);
        Assert.Equal((1u, (uint)damaged * 1024, 4096 - (uint)damaged * 1024), (again.R2tSn, again.BufferOffset, again.DesiredLength));
        SendBurst(initiator, again);
        SendBurst(initiator, initiator.Receive(PduOpcode.ReadyToTransfer));
        Assert.Equal(0, initiator.Receive(PduOpcode.ScsiResponse).Status);
        await AssertWrittenAsync(target);
    }

    [Fact]
    public async Task DamagedDataOutFailsTheCommandAtLevelZero()
    {
        await using var target = new TestTarget();
        using var initiator = Connect(target, level: 0, dataDigest: true);
        initiator.Command(2, Cdbs.Write16(0, 8), write: 4096);
        var r2t = initiator.Receive(PduOpcode.ReadyToTransfer);
        initiator.DamageNext = true;
        initiator.DataOut(r2t, s_data, 0, 1024, 0, false);
        Assert.Equal((byte)RejectReason.DataDigestError, initiator.Receive(PduOpcode.Reject).Response);
        Assert.True(initiator.IsQuiet()); // it waits for all the data
        for (int i = 1; i < 4; i++) initiator.DataOut(r2t, s_data, i * 1024, 1024, (uint)i, i == 3);
        var response = initiator.Receive(PduOpcode.ScsiResponse);
        Assert.Equal((0x02, 0x0B, 0x47, 0x05), (response.Status, response.Data[4] & 0x0F, response.Data[14], response.Data[15]));
    }

    [Theory]
    [InlineData(1024)]
    [InlineData(65536)] // received straight into the task
    public async Task DamagedCommandIsAsIfItNeverCame(int length)
    {
        await using var target = new TestTarget();
        var data = MakeData(length);
        using var initiator = Connect(target, level: 1, dataDigest: true, extra: ["MaxBurstLength=65536", "FirstBurstLength=65536"]);
        uint cmdSn = initiator.CmdSn;
        initiator.DamageNext = true;
        initiator.Command(2, Cdbs.Write16(0, length / 512), write: length, immediate: data);
        Assert.Equal((byte)RejectReason.DataDigestError, initiator.Receive(PduOpcode.Reject).Response);
        // Later commands wait for their turn, with their data, until it is sent again.
        initiator.Command(3, Cdbs.Write16(0, length / 512), write: length, immediate: new byte[length]);
        initiator.Command(4, Cdbs.Read16(0, 2), read: 1024);
        Assert.True(initiator.IsQuiet());
        initiator.Command(2, Cdbs.Write16(0, length / 512), write: length, immediate: data, cmdSn: cmdSn);
        Assert.Equal([2u, 3u, 4u], [initiator.Receive().Tag, initiator.Receive().Tag, initiator.Receive().Tag]);
        // And the damaged command, sent once more, was served already.
        initiator.Command(2, Cdbs.Write16(0, length / 512), write: length, immediate: data, cmdSn: cmdSn);
        Assert.True(initiator.IsQuiet());
        initiator.Command(5, Cdbs.Read16(0, 2), read: 1024);
        Assert.All(initiator.Receive(PduOpcode.DataIn).Data, b => Assert.Equal(0, b));
    }

    [Fact]
    public async Task LostDataOutIsAskedForAgain()
    {
        await using var target = new TestTarget(new IscsiLimits { DataOutTimeoutSeconds = 1, LogoutTimeoutSeconds = 1 });
        using var initiator = Connect(target, level: 1);
        initiator.Command(2, Cdbs.Write16(0, 16), write: 8192);
        var r2t = initiator.Receive(PduOpcode.ReadyToTransfer);
        initiator.DataOut(r2t, s_data, 0, 1024, 0, false);
        initiator.DataOut(r2t, s_data, 2048, 1024, 2, false); // the one between is lost, and so is the last
        var again = initiator.Receive(PduOpcode.ReadyToTransfer);
        Assert.Equal((1u, 1024u, 3072u), (again.R2tSn, again.BufferOffset, again.DesiredLength));
        SendBurst(initiator, again);
        SendBurst(initiator, initiator.Receive(PduOpcode.ReadyToTransfer));
        Assert.Equal(0, initiator.Receive(PduOpcode.ScsiResponse).Status);
        await AssertWrittenAsync(target);
    }

    [Fact]
    public async Task LostR2TIsSentAgain()
    {
        await using var target = new TestTarget();
        using var initiator = Connect(target, level: 1);
        initiator.Command(2, Cdbs.Write16(0, 8), write: 4096);
        var r2t = initiator.Receive(PduOpcode.ReadyToTransfer);
        initiator.Snack(SnackType.Data, 2, 0, 1);
        var again = initiator.Receive(PduOpcode.ReadyToTransfer);
        Assert.Equal((r2t.R2tSn, r2t.TransferTag, r2t.BufferOffset, r2t.DesiredLength), (again.R2tSn, again.TransferTag, again.BufferOffset, again.DesiredLength));
        initiator.Snack(SnackType.Data, 2, 1, 1);
        Assert.Equal((byte)RejectReason.ProtocolError, initiator.Receive(PduOpcode.Reject).Response);
    }

    [Fact]
    public async Task ForgottenDataIsNotInvented()
    {
        await using var target = new TestTarget(new IscsiLimits { MaxRetainedBytesPerConnection = 10_000, LogoutTimeoutSeconds = 1 });
        using var initiator = Connect(target, level: 1);
        initiator.Command(2, Cdbs.Read16(0, 16), read: 8192);
        initiator.ReceiveRead();
        initiator.Command(3, Cdbs.Read16(0, 16), read: 8192);
        initiator.ReceiveRead();
        initiator.Snack(SnackType.Data, 2, 0, 1);
        Assert.Equal((byte)RejectReason.SnackReject, initiator.Receive(PduOpcode.Reject).Response);
        initiator.Snack(SnackType.Data, 3, 0, 1);
        initiator.Receive(PduOpcode.DataIn);
    }

    [Fact]
    public async Task ReadGoesOnWhereItWasOnAnotherConnection()
    {
        await using var target = new TestTarget();
        await FillAsync(target);
        var first = Connect(target);
        first.Command(2, Cdbs.Read16(0, 16), read: 8192);
        first.ReceiveRead();
        using var second = new ScriptedInitiator(target, first.Tsih, cid: 2, cmdSn: first.CmdSn, extra: ["MaxRecvDataSegmentLength=2048"]);
        // Neither while the connection lives, nor once it is lost without a logout, whether the target has seen that or not.
        Assert.Equal((byte)TaskManagementResult.TaskStillAllegiant, second.Reassign(2, 3).Response);
        first.Dispose();
        Assert.Equal((byte)TaskManagementResult.TaskStillAllegiant, second.Reassign(2, 3).Response);
        Assert.Equal(0, second.Logout(2, 1).Response);
        Assert.Equal((byte)TaskManagementResult.TaskDoesNotExist, second.Reassign(99, 0).Response);
        Assert.Equal((byte)TaskManagementResult.Complete, second.Reassign(2, 3).Response);
        // Three PDUs of 1024 bytes had come; the rest comes cut for the new connection, numbered on.
        byte[] rest = [];
        for (uint dataSn = 3; rest.Length < 8192 - 3072; dataSn++)
        {
            var pdu = second.Receive(PduOpcode.DataIn);
            Assert.Equal((dataSn, (uint)(3072 + rest.Length)), (pdu.DataSn, pdu.BufferOffset));
            rest = [.. rest, .. pdu.Data];
        }
        Assert.Equal(s_data[3072..], rest);
        Assert.Equal(0, second.Receive(PduOpcode.ScsiResponse).Status);
        Assert.Equal((byte)TaskManagementResult.TaskDoesNotExist, second.Reassign(2, 0).Response); // it has ended
    }

    [Fact]
    public async Task WriteGoesOnWhereItWasOnAnotherConnection()
    {
        await using var target = new TestTarget();
        var first = Connect(target);
        first.Command(2, Cdbs.Write16(0, 16), write: 8192);
        var r2t = first.Receive(PduOpcode.ReadyToTransfer);
        SendBurst(first, r2t);
        r2t = first.Receive(PduOpcode.ReadyToTransfer);
        first.DataOut(r2t, s_data, 4096, 1024, 0, false);
        Assert.True(first.IsQuiet());
        // The same connection identifier again: the old connection is reinstated, which logs it out for recovery.
        using var second = new ScriptedInitiator(target, first.Tsih, cid: 1, cmdSn: first.CmdSn);
        Assert.Equal((byte)TaskManagementResult.Complete, second.Reassign(2, 2).Response);
        r2t = second.Receive(PduOpcode.ReadyToTransfer);
        Assert.Equal((2u, 5120u, 3072u), (r2t.R2tSn, r2t.BufferOffset, r2t.DesiredLength));
        SendBurst(second, r2t);
        Assert.Equal(0, second.Receive(PduOpcode.ScsiResponse).Status);
        await AssertWrittenAsync(target);
        first.Dispose();
    }

    [Fact]
    public async Task CommandThatRunsMeanwhileIsAnsweredOnAnotherConnection()
    {
        var store = HangingDisk.Create(OperationClasses.Read);
        await using var target = new TestTarget(stores: new Dictionary<int, IBackstore> { [0] = store });
        var first = Connect(target);
        first.Command(2, Cdbs.Read16(0, 2), read: 1024);
        await store.WhenHangingAsync(1).WaitAsync(TimeSpan.FromSeconds(30));
        first.Dispose();
        using var second = new ScriptedInitiator(target, first.Tsih, cid: 1, cmdSn: first.CmdSn);
        Assert.Equal((byte)TaskManagementResult.Complete, second.Reassign(2, 0).Response);
        Assert.True(second.IsQuiet());
        store.Open();
        Assert.Equal(1024, second.Receive(PduOpcode.DataIn).Data.Length);
        Assert.Equal(0, second.Receive(PduOpcode.ScsiResponse).Status);
    }

    [Fact]
    public async Task TasksThatNobodyClaimsEnd()
    {
        var store = HangingDisk.Create(OperationClasses.Read);
        await using var target = new TestTarget(stores: new Dictionary<int, IBackstore> { [0] = store });
        var first = Connect(target, extra: ["DefaultTime2Retain=1"]);
        first.Command(2, Cdbs.Write16(0, 16), write: 8192);
        first.Receive(PduOpcode.ReadyToTransfer);
        first.Command(3, Cdbs.Read16(0, 2), read: 1024);
        await store.WhenHangingAsync(1).WaitAsync(TimeSpan.FromSeconds(30));
        first.Dispose();
        store.Open();
        for (int i = 0; target.Server.SessionCount > 0; i++)
        {
            Assert.True(i < 100, "the session stays although nobody came back");
            await Task.Delay(100);
        }
        Assert.False(target.Unit.Tasks.Any(_ => true));
        Assert.Equal(0, target.Server.Memory.Bytes);
    }

    [Fact]
    public async Task NewSessionEndsWhatWaitsForRecovery()
    {
        await using var target = new TestTarget();
        var first = Connect(target);
        first.Command(2, Cdbs.Write16(0, 16), write: 8192);
        first.Receive(PduOpcode.ReadyToTransfer);
        first.Dispose();
        using var second = Connect(target);
        Assert.NotEqual(first.Tsih, second.Tsih);
        Assert.Equal((byte)TaskManagementResult.TaskDoesNotExist, second.Reassign(2, 0).Response);
        Assert.False(target.Unit.Tasks.Any(_ => true));
    }
}
