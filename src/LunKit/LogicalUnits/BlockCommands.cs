using LunKit.LogicalUnits.Commands;
using LunKit.Scsi;
using static LunKit.LogicalUnits.CommandTraits;

namespace LunKit.LogicalUnits;

/// <summary>
/// Everything that a direct-access block device supports: one row per command. Usage maps are CDB usage data of SPC-5 6.34.3:
/// a bit is 1 where the device server looks at it.
/// </summary>
internal static class BlockCommands
{
    private delegate ValueTask<CommandResult> BlockHandler(BlockUnit unit, ScsiCommand command);

    private const CommandTraits ReadsBlocks = Blocks | NeedsMedium | ReservationRead | CheckEmptyRange;
    private const CommandTraits WritesBlocks = Blocks | NeedsMedium | WritesMedium | CheckEmptyRange;
    private const CommandTraits Inquires = PrimaryCommands.Inquires;
    private const CommandTraits Sanitizes = NeedsMedium | WritesMedium | DuringSanitize | Strict | ExclusiveAll;

    public static CommandTable Table { get; } = new(Rows());

    /// <summary>The same without variable-length CDBs, for initiators that cannot bear them.</summary>
    public static CommandTable ShortTable { get; } = new(Rows().Where(r => r.Opcode != Opcode.VariableLength));

    private static CommandDescriptor[] Rows() =>
    [
        .. PrimaryCommands.Rows,

        // SPC-5: third-party copy
        Row("EXTENDED COPY(LID1)", 0x00, "83 000000000000000000FFFFFFFF00 07", NeedsMedium | Destructive, ThirdPartyCopy.ExtendedCopy, ThirdPartyCopy.ListLength),
        Row("POPULATE TOKEN", 0x10, "83 1000000000FFFFFFFFFFFFFFFF00 07", NeedsMedium | ReservationRead | Destructive | Exclusive, OffloadedTransfer.PopulateToken, ThirdPartyCopy.ListLength) with { Ranges = OffloadedTransfer.TokenRanges },
        Row("WRITE USING TOKEN", 0x11, "83 1100000000FFFFFFFFFFFFFFFF00 07", NeedsMedium | WritesMedium | Destructive, OffloadedTransfer.WriteUsingToken, ThirdPartyCopy.ListLength),
        Row("RECEIVE COPY STATUS(LID1)", 0x00, "84 00FF00000000000000FFFFFFFF00 07", Inquires | Destructive, ThirdPartyCopy.ReceiveStatus),
        Row("RECEIVE COPY DATA(LID1)", 0x01, "84 01FF00000000000000FFFFFFFF00 07", Inquires | Destructive, ThirdPartyCopy.ReceiveHeldData),
        Row("RECEIVE COPY OPERATING PARAMETERS", 0x03, "84 030000000000000000FFFFFFFF00 07", Inquires | Destructive, ThirdPartyCopy.OperatingParameters),
        Row("RECEIVE COPY FAILURE DETAILS(LID1)", 0x04, "84 04FF00000000000000FFFFFFFF00 07", Inquires | Destructive, ThirdPartyCopy.ReceiveHeldData),
        Row("RECEIVE ROD TOKEN INFORMATION", 0x07, "84 07FFFFFFFF00000000FFFFFFFF00 07", Inquires | Destructive, OffloadedTransfer.ReceiveTokenInformation),

        // SBC-4
        Row("FORMAT UNIT", "04 37000000 07", NeedsMedium | WritesMedium | Destructive | ExclusiveAll, Erasure.Format, Erasure.FormatDataOut),
        Row("READ(6)", "08 1FFFFFFF 07", ReadsBlocks | Repeatable, ReadWrite.Read),
        Row("WRITE(6)", "0A 1FFFFFFF 07", WritesBlocks | Repeatable, ReadWrite.Write, ReadWrite.DataOutLength),
        Row("START STOP UNIT", "1B 010000F7 07", Repeatable, UnitControl.StartStop) with { AllowsRemoval = cdb => (cdb[4] & 0xF3) == 1 },
        Row("READ CAPACITY(10)", "25 0000000000000000 07", Inquires | NeedsMedium | IgnoresReserve | Repeatable, Capacity.Read10),
        Row("READ(10)", "28 18FFFFFFFF3FFFFF 07", ReadsBlocks | CacheControl | Repeatable, ReadWrite.Read),
        Row("WRITE(10)", "2A 18FFFFFFFF3FFFFF 07", WritesBlocks | CacheControl | Repeatable, ReadWrite.Write, ReadWrite.DataOutLength),
        Row("WRITE AND VERIFY(10)", "2E 12FFFFFFFF3FFFFF 07", WritesBlocks | Repeatable, ReadWrite.WriteAndVerify, ReadWrite.DataOutLength),
        Row("VERIFY(10)", "2F 16FFFFFFFF3FFFFF 07", ReadsBlocks | Repeatable, Verification.Verify, Verification.DataOutLength),
        Row("PRE-FETCH(10)", "34 02FFFFFFFF3FFFFF 07", ReadsBlocks & ~CheckEmptyRange | Repeatable, Verification.PreFetch),
        Row("SYNCHRONIZE CACHE(10)", "35 02FFFFFFFF3FFFFF 07", Blocks | NeedsMedium | Repeatable, Provisioning.SynchronizeCache),
        Row("READ DEFECT DATA(10)", "37 001F00000000FFFF 07", ReservationRead | NeedsMedium | Repeatable, Capacity.ReadDefectData),
        Row("WRITE SAME(10)", "41 18FFFFFFFF3FFFFF 07", WritesBlocks | Repeatable, Provisioning.WriteSame, Provisioning.WriteSameDataOut),
        Row("UNMAP", "42 000000000000FFFF 07", NeedsMedium | WritesMedium | Repeatable, Provisioning.UnmapBlocks, UnitControl.Length16) with { Ranges = Provisioning.UnmapRanges },
        Row("SANITIZE, OVERWRITE", 0x01, "48 A10000000000FFFF 07", Sanitizes | Destructive, Erasure.Overwrite, Erasure.OverwriteDataOut),
        Row("SANITIZE, BLOCK ERASE", 0x02, "48 A20000000000FFFF 07", Sanitizes | Destructive, Erasure.BlockErase),
        Row("SANITIZE, CRYPTOGRAPHIC ERASE", 0x03, "48 A30000000000FFFF 07", Sanitizes | Destructive, Erasure.CryptographicErase),
        Row("SANITIZE, EXIT FAILURE MODE", 0x1F, "48 BF0000000000FFFF 07", Sanitizes | Destructive, Erasure.ExitFailureMode),
        Row("READ(32)", 0x0009, "7F 04000000000018 0009 1800FFFFFFFFFFFFFFFF0000000000000000FFFFFFFF", ReadsBlocks | CacheControl | Repeatable, ReadWrite.Read),
        Row("WRITE(32)", 0x000B, "7F 04000000000018 000B 1800FFFFFFFFFFFFFFFF0000000000000000FFFFFFFF", WritesBlocks | CacheControl | Repeatable, ReadWrite.Write, ReadWrite.DataOutLength),
        Row("WRITE SAME(32)", 0x000D, "7F 04000000000018 000D 1900FFFFFFFFFFFFFFFF0000000000000000FFFFFFFF", WritesBlocks | Repeatable, Provisioning.WriteSame, Provisioning.WriteSameDataOut),
        Row("READ(16)", "88 18FFFFFFFFFFFFFFFFFFFFFFFF3F 07", ReadsBlocks | CacheControl | Repeatable, ReadWrite.Read),
        Row("COMPARE AND WRITE", "89 18FFFFFFFFFFFFFFFF000000FF3F 07", WritesBlocks | CacheControl | Exclusive, Atomics.CompareAndWrite, Atomics.CompareAndWriteDataOut),
        Row("WRITE(16)", "8A 18FFFFFFFFFFFFFFFFFFFFFFFF3F 07", WritesBlocks | CacheControl | Repeatable, ReadWrite.Write, ReadWrite.DataOutLength),
        Row("ORWRITE(16)", "8B 18FFFFFFFFFFFFFFFFFFFFFFFF3F 07", WritesBlocks | CacheControl | Exclusive | Repeatable, Atomics.OrWrite, ReadWrite.DataOutLength),
        Row("WRITE AND VERIFY(16)", "8E 12FFFFFFFFFFFFFFFFFFFFFFFF3F 07", WritesBlocks | Repeatable, ReadWrite.WriteAndVerify, ReadWrite.DataOutLength),
        Row("VERIFY(16)", "8F 16FFFFFFFFFFFFFFFFFFFFFFFF3F 07", ReadsBlocks | Repeatable, Verification.Verify, Verification.DataOutLength),
        Row("PRE-FETCH(16)", "90 02FFFFFFFFFFFFFFFFFFFFFFFF3F 07", ReadsBlocks & ~CheckEmptyRange | Repeatable, Verification.PreFetch),
        Row("SYNCHRONIZE CACHE(16)", "91 02FFFFFFFFFFFFFFFFFFFFFFFF3F 07", Blocks | NeedsMedium | Repeatable, Provisioning.SynchronizeCache),
        Row("WRITE SAME(16)", "93 19FFFFFFFFFFFFFFFFFFFFFFFF3F 07", WritesBlocks | Repeatable, Provisioning.WriteSame, Provisioning.WriteSameDataOut),
        Row("WRITE ATOMIC(16)", "9C 18FFFFFFFFFFFFFFFFFFFFFFFF3F 07", WritesBlocks | CacheControl | Exclusive | Repeatable, ReadWrite.WriteAtomic, ReadWrite.DataOutLength),
        Row("READ CAPACITY(16)", 0x10, "9E 100000000000000000FFFFFFFF00 07", Inquires | NeedsMedium | IgnoresReserve | Repeatable, Capacity.Read16),
        Row("GET LBA STATUS(16)", 0x12, "9E 12FFFFFFFFFFFFFFFFFFFFFFFFFF 07", ReservationRead | NeedsMedium | Repeatable, Provisioning.GetLbaStatus),
        Row("READ(12)", "A8 18FFFFFFFFFFFFFFFF3F 07", ReadsBlocks | CacheControl | Repeatable, ReadWrite.Read),
        Row("WRITE(12)", "AA 18FFFFFFFFFFFFFFFF3F 07", WritesBlocks | CacheControl | Repeatable, ReadWrite.Write, ReadWrite.DataOutLength),
        Row("WRITE AND VERIFY(12)", "AE 12FFFFFFFFFFFFFFFF3F 07", WritesBlocks | Repeatable, ReadWrite.WriteAndVerify, ReadWrite.DataOutLength),
        Row("VERIFY(12)", "AF 16FFFFFFFFFFFFFFFF3F 07", ReadsBlocks | Repeatable, Verification.Verify, Verification.DataOutLength),
        Row("READ DEFECT DATA(12)", "B7 1F0000000000FFFFFFFF 07", ReservationRead | NeedsMedium | Repeatable, Capacity.ReadDefectData),
    ];

    private static CommandDescriptor Row(string name, string usage, CommandTraits traits, BlockHandler handler, DataOutRule? dataOut = null) =>
        PrimaryCommands.Row(name, -1, usage, traits, (unit, command) => handler((BlockUnit)unit, command), dataOut);

    private static CommandDescriptor Row(
        string name, int serviceAction, string usage, CommandTraits traits, BlockHandler handler, DataOutRule? dataOut = null) =>
        PrimaryCommands.Row(name, serviceAction, usage, traits, (unit, command) => handler((BlockUnit)unit, command), dataOut);
}
