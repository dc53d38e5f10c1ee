using System.Buffers.Binary;
using LunKit.LogicalUnits;
using LunKit.Scsi;

namespace LunKit.Tests.LogicalUnits;

public class CommandTableTests
{
    public static TheoryData<string> Rows => [.. BlockCommands.Table.Rows.Select(r => r.Name)];

    private static CommandDescriptor Row(string name) => BlockCommands.Table.Rows.Single(r => r.Name == name);

    [Theory, MemberData(nameof(Rows))]
    public void UsageHasTheLengthOfItsGroup(string name)
    {
        var row = Row(name);
        int expected = (row.Usage[0] >> 5) switch { 0 => 6, 1 or 2 => 10, 3 => 32, 4 => 16, _ => 12 };
        Assert.Equal(expected, row.Usage.Length);
        if (row.ServiceAction >= 0 && row.Opcode == Opcode.VariableLength) Assert.Equal(row.ServiceAction, BinaryPrimitives.ReadUInt16BigEndian(row.Usage.AsSpan(8)));
        else if (row.ServiceAction >= 0) Assert.Equal(row.ServiceAction, row.Usage[1] & 0x1F);
        Assert.Same(row, BlockCommands.Table.Find(row.Usage));
    }

    [Theory, MemberData(nameof(Rows))]
    public async Task IsReportedAsSupported(string name)
    {
        await using var unit = new TestUnit();
        unit.Unit.Alua = new Alua([(0, [1])]) { AccessTypes = 3 };
        var row = Row(name);
        int option = row.ServiceAction < 0 ? 1 : 2;
        var data = unit.Good($"A3 0C {option:X2} {row.Usage[0]:X2} {Math.Max(0, row.ServiceAction):X4} 00000100 00 00");
        Assert.Equal(3, data[1] & 7);
        Assert.Equal(row.Usage, data[4..]);
    }

    [Fact]
    public async Task AllAreListed()
    {
        await using var unit = new TestUnit();
        unit.Unit.Alua = new Alua([(0, [1])]) { AccessTypes = 3 };
        var data = unit.Good("A3 0C 00 00 0000 00004000 00 00");
        Assert.Equal(BlockCommands.Table.Rows.Count * 8, (int)BinaryPrimitives.ReadUInt32BigEndian(data));
    }

    // The matrix: what must hold for every row, whatever it does.

    [Theory, MemberData(nameof(Rows))]
    public async Task PendingUnitAttentionComesFirst(string name)
    {
        await using var unit = new TestUnit();
        var row = Row(name);
        unit.UnitNexus(0).EstablishUnitAttention(Sense.CapacityChanged);
        var (result, _) = unit.Run(Convert.ToHexString(Minimal(row)), new byte[4096]);
        bool reported = result.Status == ScsiStatus.CheckCondition && result.Sense == Sense.CapacityChanged;
        Assert.Equal(!row.Has(CommandTraits.IgnoresUnitAttention), reported);
    }

    [Theory, MemberData(nameof(Rows))]
    public async Task NacaIsRefused(string name)
    {
        await using var unit = new TestUnit();
        var cdb = Minimal(Row(name));
        cdb[cdb[0] == 0x7F ? 1 : cdb.Length - 1] = 0x04;
        unit.Checks(Sense.InvalidFieldInCdb, Convert.ToHexString(cdb), new byte[4096]);
    }

    [Theory, MemberData(nameof(Rows))]
    public async Task ShortCdbIsRefused(string name)
    {
        await using var unit = new TestUnit();
        var row = Row(name);
        unit.Checks(Sense.InvalidFieldInCdb, Convert.ToHexString(Minimal(row)[..^(row.Opcode == Opcode.VariableLength ? 20 : 1)]));
    }

    [Theory, MemberData(nameof(Rows))]
    public async Task ReserveOfAnotherNexusConflicts(string name)
    {
        await using var unit = new TestUnit(nexuses: 2);
        unit.Good("16 00 00 00 00 00", nexus: 1);
        var row = Row(name);
        var (result, _) = unit.Run(Convert.ToHexString(Minimal(row)), new byte[4096]);
        // PREVENT ALLOW with PREVENT = 0 conflicts with nothing.
        bool allowed = row.Has(CommandTraits.IgnoresReserve) || row.Opcode == Opcode.PreventAllowMediumRemoval;
        Assert.Equal(!allowed, result.Status == ScsiStatus.ReservationConflict);
    }

    [Theory, MemberData(nameof(Rows))]
    public async Task ReadOnlyUnitIsNotWritten(string name)
    {
        await using var unit = new TestUnit(options: new() { ReadOnly = true });
        var row = Row(name);
        var (result, _) = unit.Run(Convert.ToHexString(Minimal(row)), new byte[4096]);
        bool refused = result.Status == ScsiStatus.CheckCondition && result.Sense == Sense.WriteProtected;
        Assert.Equal(row.Has(CommandTraits.WritesMedium), refused);
    }

    [Theory, MemberData(nameof(Rows))]
    public async Task BlocksBeyondTheEndAreRefused(string name)
    {
        var row = Row(name);
        if (!row.Has(CommandTraits.Blocks)) return;
        await using var unit = new TestUnit();
        foreach (ulong lba in (ulong[])[2048, 2047, ulong.MaxValue, 1UL << 63])
        {
            if (row.Usage.Length < 16 && lba > uint.MaxValue) continue;
            var cdb = Minimal(row);
            switch (cdb.Length)
            {
                case 6: cdb[2] = (byte)(lba >> 8); cdb[3] = (byte)lba; break;
                case 10 or 12: BinaryPrimitives.WriteUInt32BigEndian(cdb.AsSpan(2), (uint)lba); break;
                case 16: BinaryPrimitives.WriteUInt64BigEndian(cdb.AsSpan(2), lba); break;
                default: BinaryPrimitives.WriteUInt64BigEndian(cdb.AsSpan(12), lba); break;
            }
            SetCount(cdb, 2);
            unit.Checks(Sense.LbaOutOfRange, Convert.ToHexString(cdb), new byte[4096]);
        }
    }

    [Fact]
    public async Task UnknownOpcodeAndServiceActionDiffer()
    {
        await using var unit = new TestUnit();
        unit.Checks(Sense.InvalidOpcode, "85 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00");
        var wrong = unit.Checks(Sense.InvalidFieldInCdb, "9E 1E 00 00 00 00 00 00 00 00 00 00 00 00 00 00");
        Assert.Equal(SenseDetail.FieldPointer(true, 1, 4), wrong.Detail.KeySpecific);
        // A variable-length CDB has its service action in bytes 8 and 9.
        wrong = unit.Checks(Sense.InvalidFieldInCdb, "7F 00 00000000 00 18 0007 00 00 0000000000000005 00000000 00000000 00000002");
        Assert.Equal(SenseDetail.FieldPointer(true, 8), wrong.Detail.KeySpecific);
    }

    internal static byte[] Minimal(CommandDescriptor row)
    {
        var cdb = new byte[row.Usage.Length];
        cdb[0] = row.Usage[0];
        if (row.Opcode == Opcode.VariableLength)
        {
            cdb[7] = 0x18;
            BinaryPrimitives.WriteUInt16BigEndian(cdb.AsSpan(8), (ushort)row.ServiceAction);
        }
        else if (row.ServiceAction >= 0)
        {
            cdb[1] = (byte)row.ServiceAction;
        }
        return cdb;
    }

    private static void SetCount(byte[] cdb, byte count) => cdb[cdb.Length switch
    {
        6 => 4,
        10 => 8,
        12 => 9,
        16 => 13,
        _ => 31,
    }] = count;
}
