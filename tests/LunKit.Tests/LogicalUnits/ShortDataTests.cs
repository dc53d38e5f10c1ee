using LunKit.Scsi;

namespace LunKit.Tests.LogicalUnits;

/// <summary>Less data from the initiator than the CDB needs.</summary>
public class ShortDataTests
{
    private static byte[] Filled(int length) => [.. Enumerable.Repeat((byte)7, length)];

    [Theory]
    [InlineData("0A 00 00 00 02 00")]
    [InlineData("2A 00 00000000 00 0002 00")]
    [InlineData("AA 00 00000000 00000002 00 00")]
    [InlineData("8A 00 0000000000000000 00000002 00 00")]
    [InlineData("7F 00 00000000 00 18 000B 00 00 0000000000000000 00000000 00000000 00000002")]
    [InlineData("2E 00 00000000 00 0002 00")]
    [InlineData("AE 02 00000000 00000002 00 00")]
    [InlineData("8E 02 0000000000000000 00000002 00 00")]
    public async Task WholeBlocksAreWrittenAndPartsAreRefused(string cdb)
    {
        await using var unit = new TestUnit();
        foreach (int length in (int[])[1, 200, 511, 513, 1000])
        {
            unit.Checks(Sense.InvalidFieldInCommandInformationUnit, cdb, Filled(length));
            Assert.Equal(new byte[1024], unit.Good("28 00 00000000 00 0002 00"));
        }
        unit.Good(cdb, []);
        unit.Good(cdb, Filled(512));
        Assert.Equal([.. Filled(512), .. new byte[512]], unit.Good("28 00 00000000 00 0002 00"));
        unit.Good(cdb, Filled(2000));
        Assert.Equal([.. Filled(1024), .. new byte[512]], unit.Good("28 00 00000000 00 0003 00"));
    }

    [Theory]
    [InlineData("89 00 0000000000000000 00000001 00 00", 1024)]
    [InlineData("9C 00 0000000000000000 0000 0002 00 00", 1024)]
    [InlineData("8B 00 0000000000000000 00000002 00 00", 1024)]
    [InlineData("2F 02 00000000 00 0002 00", 1024)]
    [InlineData("AF 02 00000000 00000002 00 00", 1024)]
    [InlineData("8F 02 0000000000000000 00000002 00 00", 1024)]
    [InlineData("8F 06 0000000000000000 00000002 00 00", 512)]
    [InlineData("41 00 00000000 00 0002 00", 512)]
    [InlineData("93 00 0000000000000000 00000002 00 00", 512)]
    [InlineData("7F 00 00000000 00 18 000D 00 00 0000000000000000 00000000 00000000 00000002", 512)]
    public async Task WhatMeansAllOfItNeedsAllOfIt(string cdb, int needed)
    {
        await using var unit = new TestUnit();
        foreach (int length in (int[])[0, 1, 200, needed / 2, needed - 1])
        {
            unit.Checks(Sense.InvalidFieldInCommandInformationUnit, cdb, Filled(length));
            Assert.Equal(new byte[1024], unit.Good("28 00 00000000 00 0002 00"));
        }
        Assert.NotEqual(Sense.InvalidFieldInCommandInformationUnit, unit.Run(cdb, Filled(needed)).Result.Sense);
    }
}
