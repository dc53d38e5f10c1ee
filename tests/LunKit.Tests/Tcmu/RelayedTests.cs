using System.Reflection;
using LunKit.LogicalUnits;
using LunKit.Scsi;
using LunKit.Tcmu.Devices;
using LunKit.Tests.LogicalUnits;
using LunKit.Tests.Tcmu.Target;

namespace LunKit.Tests.Tcmu;

/// <summary>Sense data that a raw handler makes or hands on, and the sample that shows how.</summary>
public sealed class RelayedTests
{
    private static byte[] Sent(CommandResult result)
    {
        var sense = new byte[SenseData.MaxLength];
        return sense[..SenseData.Write(sense, result.Detail, descriptor: false)];
    }

    [Theory]
    [InlineData("70 00 03 00000000 0A 00000000 11 01 00 000000", 3, 0x11, 0x01)]
    [InlineData("72 05 24 00 000000 08 02 06 0000 C0 0002 00", 5, 0x24, 0x00)]
    [InlineData("F1 00 01 00000007 00", 1, 0, 0)]                        // deferred, and ends behind its length
    [InlineData("73 0B 47 05 000000 00", 0x0B, 0x47, 0x05)]
    public void SenseIsHandedOnAsItIs(string hex, int key, int asc, int ascq)
    {
        var sense = TestUnit.Bytes(hex);
        var result = CommandResult.Relayed(ScsiStatus.CheckCondition, 12, sense);
        Assert.Equal((ScsiStatus.CheckCondition, 12, new Sense((SenseKey)key, (byte)asc, (byte)ascq)), (result.Status, result.DataInLength, result.Sense));
        Assert.Equal(sense, Sent(result));
    }

    [Theory]
    [InlineData("")]
    [InlineData("70 00 05")]
    [InlineData("00 00 00000000 00 00 0000")]
    [InlineData("7F 00 0500000000 0A 00000000 2000 00 000000")]
    public void WhatIsNoSenseIsAFailureOfTheWay(string hex) =>
        Assert.Equal(Sense.LogicalUnitCommunicationFailure, CommandResult.Relayed(ScsiStatus.CheckCondition, 0, TestUnit.Bytes(hex)).Sense);

    [Fact]
    public void LongSenseIsCut()
    {
        var sense = new byte[252];
        (sense[0], sense[1], sense[2], sense[7]) = (0x72, 3, 0x11, 244);
        Assert.Equal(SenseData.MaxLength, Sent(CommandResult.Relayed(ScsiStatus.CheckCondition, 0, sense)).Length);
        Assert.Equal(ScsiStatus.Busy, CommandResult.Relayed(ScsiStatus.Busy, 0, []).Status);
        Assert.Throws<ArgumentOutOfRangeException>(() => CommandResult.Relayed(ScsiStatus.Good, -1, []));
    }

    [Fact]
    public async Task TheRawSampleChecksItsRangeAndRelaysSense()
    {
        var type = Assembly.Load("RawHandler").GetType("RawDisk", throwOnError: true)!;
        var config = new TcmuConfig("raw", "x", "tcm-user/0/x/raw/x", 1 << 20, 512, new UnitIdentity { Name = "x", Id = UnitIdentity.IdOf("x") });
        await using var unit = (CustomUnit)Activator.CreateInstance(type, config)!;
        var nexus = UserBench.Open("iqn.test:raw", unit);
        Assert.Equal(ScsiStatus.Good, (await UserBench.SendAsync(nexus, "28 00 000007FF 00 0001 00", dataIn: 512)).Result.Status);
        Assert.Equal(Sense.LbaOutOfRange, (await UserBench.SendAsync(nexus, "28 00 00000800 00 0001 00", dataIn: 512)).Result.Sense);
        // 32 bits hold LBA and count, and not their sum.
        Assert.Equal(Sense.LbaOutOfRange, (await UserBench.SendAsync(nexus, "28 00 FFFFFFFF 00 0001 00", dataIn: 512)).Result.Sense);
        var relayed = (await UserBench.SendAsync(nexus, "C1 00 00000000 00 0000 00")).Result;
        Assert.Equal(new Sense(SenseKey.RecoveredError, 0x80, 0x01), relayed.Sense);
        Assert.Equal([0xCA, 0xFE, 0xF0, 0x0D], Sent(relayed)[8..12]);
    }
}
