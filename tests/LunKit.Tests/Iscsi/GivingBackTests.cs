using LunKit.Iscsi;
using LunKit.Iscsi.Pdus;
using LunKit.Scsi;

namespace LunKit.Tests.Iscsi;

/// <summary>What a connection has taken it gives back, and what it has told a unit it ends, whatever goes wrong in between.</summary>
public class GivingBackTests
{
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
}
