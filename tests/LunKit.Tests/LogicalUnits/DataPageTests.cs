using System.Buffers.Binary;
using LunKit.Backstores;
using LunKit.LogicalUnits;
using LunKit.Scsi;

namespace LunKit.Tests.LogicalUnits;

/// <summary>What INQUIRY, LOG SENSE, REPORT LUNS and REPORT TIMESTAMP say, byte by byte where a byte was wrong.</summary>
public class DataPageTests
{
    private static byte[] Vpd(TestUnit unit, byte page) => unit.Good($"12 01 {page:X2} 0400 00");

    [Fact]
    public async Task ThirdPartyCopyDescriptorsAreWhereTheirLengthsPutThem()
    {
        await using var unit = new TestUnit();
        var page = Vpd(unit, 0x8F);
        Assert.Equal(page.Length - 4, BinaryPrimitives.ReadUInt16BigEndian(page.AsSpan(2)));
        var found = new List<(int Type, int Length)>();
        int at = 4;
        while (at < page.Length)
        {
            int length = BinaryPrimitives.ReadUInt16BigEndian(page.AsSpan(at + 2));
            found.Add((BinaryPrimitives.ReadUInt16BigEndian(page.AsSpan(at)), length));
            at += 4 + length;
        }
        Assert.Equal(page.Length, at);
        Assert.Equal([(0x0000, 0x20), (0x0001, 12), (0x0004, 0x1C), (0x0008, 4), (0x8001, 0x20)], found);
        // Supported commands: the list's length, then opcode, count, service actions.
        Assert.Equal([11, 0x83, 3, 0x00, 0x10, 0x11, 0x84, 4, 0x00, 0x03, 0x04, 0x07], page[44..56]);
    }

    [Fact]
    public async Task BitsAreTheOnesOfTheirNames()
    {
        await using var unit = new TestUnit();
        Assert.Equal(0x01, Vpd(unit, 0x86)[7]); // LUICLR, no P_I_I_SUP
        Assert.Equal(0x01, Vpd(unit, 0xB1)[8]); // VBULS, no FUAB
        Assert.Equal(0x40, unit.Good("1A 08 0A 00 FF 00")[9] & 0x40); // TAS
        Assert.Equal(0x03, unit.Good("A3 0F 0000 0000 00000010 00 00")[2]); // not SET TIMESTAMP
    }

    /// <summary>The kernel's target takes as much of a command at once as its operator has said; initiators that know split theirs so.</summary>
    [Theory]
    [InlineData(1 << 20, 2048, 2048)]
    [InlineData(4096, 8, 8)]
    [InlineData(100, 1, 1)]
    [InlineData(int.MaxValue, 32768, 4096)]
    public async Task TheHostsLongestTransferIsTold(int hostBytes, int longest, int optimal)
    {
        await using var unit = new TestUnit();
        unit.Unit.HostTransferBytes = hostBytes;
        var page = Vpd(unit, 0xB0);
        Assert.Equal(longest, BinaryPrimitives.ReadInt32BigEndian(page.AsSpan(8)));
        Assert.InRange(BinaryPrimitives.ReadInt32BigEndian(page.AsSpan(12)), 1, optimal);
    }

    [Fact]
    public async Task SeveralPortsAreSaidWhereThereAreSeveral()
    {
        await using var unit = new TestUnit();
        Assert.Equal(0x00, unit.Good("12 00 00 0060 00")[6] & 0x10);
        unit.Unit.Alua = new Alua([(0, [1]), (1, [2])]);
        Assert.Equal(0x10, unit.Good("12 00 00 0060 00")[6] & 0x10);
    }

    [Fact]
    public async Task StatisticsCountReadsAndWritesApart()
    {
        await using var unit = new TestUnit();
        for (int i = 0; i < 3; i++) unit.Good("2A 00 00000000 00 0001 00", new byte[512]);
        unit.Good("2E 00 00000000 00 0001 00", new byte[512]);
        for (int i = 0; i < 7; i++) unit.Good("28 00 00000000 00 0002 00");
        var page = unit.Good("4D 00 59 00 00 0000 0100 00");
        Assert.Equal(7UL, BinaryPrimitives.ReadUInt64BigEndian(page.AsSpan(8)));
        Assert.Equal(4UL, BinaryPrimitives.ReadUInt64BigEndian(page.AsSpan(16)));
        // Behind it the time interval: 1 times 10^-3 s.
        Assert.Equal([0x00, 0x03, 0x03, 0x08, 0xFF, 0xFF, 0xFF, 0xFD, 0, 0, 0, 1], page[72..]);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(8)]
    [InlineData(15)]
    public async Task ReportLunsIsCut(int allocation)
    {
        await using var unit = new TestUnit();
        byte[] all = [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        Assert.Equal(all[..allocation], unit.Good($"A0 00 00 000000 {allocation:X8} 00 00"));
    }

    [Fact]
    public async Task ReportLunsAnswersForAllUnitsOfTheNexus()
    {
        await using var second = new BlockUnit(new MemoryBackstore(1 << 20), "second", new VolatileUnitState(UnitIdentity.IdOf("second")));
        await using var unit = new TestUnit(nexuses: 0);
        Nexus asking = unit.AddNexus("iqn.test:a", "000000000001", 1, second), other = unit.AddNexus("iqn.test:b", "000000000001", 1, second);
        foreach (var nexus in (Nexus[])[asking, other])
        {
            foreach (var entry in nexus.Luns.Entries.Values)
            {
                entry.EstablishUnitAttention(Sense.ReportedLunsChanged);
                entry.EstablishUnitAttention(Sense.CapacityChanged);
            }
        }
        unit.Good("A0 00 00 000000 00000100 00 00", nexus: 0);
        foreach (var entry in asking.Luns.Entries.Values) Assert.True(entry.TryTakeUnitAttention(out var left) && left == Sense.CapacityChanged);
        foreach (var entry in other.Luns.Entries.Values) Assert.True(entry.TryTakeUnitAttention(out var left) && left == Sense.ReportedLunsChanged);
    }

    private static (CommandResult Result, byte[] Data) RunAbsent(TestUnit unit, string cdb, int lun)
    {
        var command = new TestCommand();
        command.Prepare(unit.UnitNexus(0), TestUnit.Bytes(cdb), [], TaskAttribute.Simple);
        var result = AbsentUnit.Execute(command, lun);
        return (result, command.DataIn[..result.DataInLength]);
    }

    [Fact]
    public async Task TheWellKnownUnitHasItsMandatoryPages()
    {
        await using var unit = new TestUnit();
        Assert.Equal([0x1E, 0x00, 0, 2, 0x00, 0x83], RunAbsent(unit, "12 01 00 0100 00", LunAddress.ReportLunsWellKnown).Data);
        var page = RunAbsent(unit, "12 01 83 0200 00", LunAddress.ReportLunsWellKnown).Data;
        Assert.Equal([0x1E, 0x83], page[..2]);
        Assert.Equal(page.Length - 4, BinaryPrimitives.ReadUInt16BigEndian(page.AsSpan(2)));
        var associations = new HashSet<int>();
        for (int at = 4; at < page.Length; at += 4 + page[at + 3]) associations.Add(page[at + 1] >> 4 & 3);
        Assert.Equal([1, 2], associations.Order());
        Assert.Equal(Sense.InvalidFieldInCdb, RunAbsent(unit, "12 01 80 0100 00", LunAddress.ReportLunsWellKnown).Result.Sense);
        Assert.Equal(0x1E, RunAbsent(unit, "12 00 00 0024 00", LunAddress.ReportLunsWellKnown).Data[0]);
    }

    [Fact]
    public async Task AnAbsentUnitHasNoPages()
    {
        await using var unit = new TestUnit();
        Assert.Equal(Sense.LogicalUnitNotSupported, RunAbsent(unit, "12 01 00 0100 00", 9).Result.Sense);
        Assert.Equal(Sense.LogicalUnitNotSupported, RunAbsent(unit, "12 01 83 0100 00", 9).Result.Sense);
        Assert.Equal(0x7F, RunAbsent(unit, "12 00 00 0024 00", 9).Data[0]);
        Assert.Equal(Sense.InvalidFieldInCdb, RunAbsent(unit, "12 00 83 0024 00", 9).Result.Sense);
    }

    [Theory]
    [InlineData("41 02 00000000 00 0001 00", 1, 1)]
    [InlineData("41 04 00000000 00 0001 00", 1, 2)]
    [InlineData("93 02 0000000000000000 00000001 00 00", 1, 1)]
    [InlineData("93 04 0000000000000000 00000001 00 00", 1, 2)]
    [InlineData("7F 00 00000000 00 18 000D 02 00 0000000000000000 00000000 00000000 00000001", 10, 1)]
    [InlineData("7F 00 00000000 00 18 000D 04 00 0000000000000000 00000000 00000000 00000001", 10, 2)]
    public async Task WriteSameDoesNotPretendToWriteAddresses(string cdb, int field, int bit)
    {
        await using var unit = new TestUnit();
        var refused = unit.Checks(Sense.InvalidFieldInCdb, cdb, [.. Enumerable.Repeat((byte)1, 512)]);
        Assert.Equal(SenseDetail.FieldPointer(true, field, bit), refused.Detail.KeySpecific);
        Assert.Equal(new byte[512], unit.Good("28 00 00000000 00 0001 00"));
    }
}
