using LunKit.Iscsi;
using LunKit.Iscsi.Pdus;
using LunKit.Scsi;

namespace LunKit.Tests.Iscsi;

/// <summary>Writes whose data does not come, where it can be asked for again (error recovery level 1).</summary>
public class DataOutTimeTests
{
    private static (SteppedTarget Target, SteppedInitiator Initiator) LogIn(bool unsolicited = false)
    {
        var target = new SteppedTarget(new IscsiLimits { NopInIntervalSeconds = 0, DataOutTimeoutSeconds = 5, DataOutDeadlineSeconds = 22 });
        var initiator = target.LogIn(keys: new() { ["ErrorRecoveryLevel"] = "1", ["InitialR2T"] = unsolicited ? "No" : "Yes" });
        initiator.Command(0x100, 1, new byte[6]);
        initiator.Step();
        Assert.Equal((byte)ScsiStatus.CheckCondition, initiator.Receive().Status);
        initiator.Command(2, 2, Cdbs.Write16(0, 8), write: 4096, isFinal: !unsolicited);
        initiator.Step();
        return (target, initiator);
    }

    /// <summary>It is asked for now and then, not in every second, and not for ever.</summary>
    [Fact]
    public void TheConnectionEndsAtLast()
    {
        var (target, initiator) = LogIn();
        var asked = new List<int>();
        for (int second = 0; second < 30; second++)
        {
            while (initiator.Streams.Waiting > 0)
            {
                Assert.Equal(PduOpcode.ReadyToTransfer, initiator.Receive().Opcode);
                asked.Add(second);
            }
            target.Clock.Advance(TimeSpan.FromSeconds(1));
            initiator.Step();
            if (initiator.Connection.HasEnded)
            {
                Assert.InRange(second, 21, 25);
                break;
            }
        }
        Assert.True(initiator.Connection.HasEnded);
        Assert.Equal([0, 6, 12, 18], asked);
        Assert.Equal((0, 0L), (target.Unit.Tasks.Count, target.Server.Memory.Bytes));
    }

    /// <summary>Data that was announced and does not come, or not all of it, is asked for.</summary>
    [Theory]
    [InlineData(0)]
    [InlineData(1024)]
    public void WhatWasAnnouncedIsAskedFor(int sent)
    {
        var (target, initiator) = LogIn(unsolicited: true);
        if (sent > 0) Data(Bhs.ReservedTag, 0, sent, final: false);
        Assert.Equal(0, initiator.Streams.Waiting);
        target.Clock.Advance(TimeSpan.FromSeconds(6));
        initiator.Step();
        var asked = initiator.Receive();
        Assert.Equal((PduOpcode.ReadyToTransfer, (uint)sent, 4096u - (uint)sent), (asked.Opcode, asked.BufferOffset, asked.DesiredLength));
        Data(asked.TransferTag, sent, 4096 - sent, final: true);
        var answer = initiator.Receive();
        Assert.Equal((2u, (byte)ScsiStatus.Good), (answer.Tag, answer.Status));

        void Data(uint tag, int offset, int length, bool final)
        {
            var pdu = new byte[Bhs.Length];
            DataOutPdu.Write(pdu, 0, 2, tag, length, 0, (uint)offset, final);
            initiator.Send(pdu, new byte[length]);
            initiator.Step();
        }
    }

    /// <summary>Data that comes slowly is data.</summary>
    [Fact]
    public void SlowDataIsWaitedFor()
    {
        var (target, initiator) = LogIn();
        uint tag = initiator.Receive().TransferTag;
        for (int part = 0; part < 8; part++)
        {
            for (int second = 0; second < 4; second++)
            {
                target.Clock.Advance(TimeSpan.FromSeconds(1));
                initiator.Step();
            }
            var pdu = new byte[Bhs.Length];
            DataOutPdu.Write(pdu, 0, 2, tag, 512, (uint)part, (uint)(part * 512), final: part == 7);
            initiator.Send(pdu, new byte[512]);
            initiator.Step();
        }
        var answer = initiator.Receive();
        Assert.Equal((2u, (byte)ScsiStatus.Good), (answer.Tag, answer.Status));
    }
}
