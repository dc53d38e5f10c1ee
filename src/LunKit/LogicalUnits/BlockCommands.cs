using System.Runtime.CompilerServices;
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

    private const CommandTraits Report = IgnoresUnitAttention | AnyAccessState | IgnoresReservation | IgnoresReserve | DuringSanitize;
    private const CommandTraits ReadsBlocks = Blocks | NeedsMedium | ReservationRead | CheckEmptyRange;
    private const CommandTraits WritesBlocks = Blocks | NeedsMedium | WritesMedium | CheckEmptyRange;
    private const CommandTraits Inquires = AnyAccessState | IgnoresReservation;
    private const CommandTraits Sanitizes = NeedsMedium | WritesMedium | DuringSanitize | Strict;

    public static CommandTable Table { get; } = new(Rows());

    /// <summary>The same without variable-length CDBs, for initiators that cannot bear them.</summary>
    public static CommandTable ShortTable { get; } = new(Rows().Where(r => r.Opcode != Opcode.VariableLength));

    private static CommandDescriptor[] Rows() =>
    [
        // SPC-5
        Row("TEST UNIT READY", "00 00000000 07", NeedsMedium | IgnoresReservation, UnitControl.TestUnitReady),
        Row("REQUEST SENSE", "03 010000FF 07", Report, UnitControl.RequestSense),
        Row("INQUIRY", "12 01FFFFFF 07", Report, Inquiry.Execute),
        Row("MODE SELECT(6)", "15 110000FF 07", AnyAccessState, Mode.Select, Mode.SelectDataOut),
        Row("RESERVE(6)", "16 00000000 07", IgnoresReservation, UnitControl.Reserve),
        Row("RELEASE(6)", "17 00000000 07", IgnoresReservation | IgnoresReserve, UnitControl.Release),
        Row("MODE SENSE(6)", "1A 08FFFFFF 07", AnyAccessState, Mode.Sense),
        Row("RECEIVE DIAGNOSTIC RESULTS", "1C 01FFFFFF 07", None, UnitControl.ReceiveDiagnostic),
        Row("SEND DIAGNOSTIC", "1D F400FFFF 07", None, UnitControl.SendDiagnostic, UnitControl.Length16),
        Row("PREVENT ALLOW MEDIUM REMOVAL", "1E 00000003 07", None, UnitControl.PreventAllow),
        Row("WRITE BUFFER", "3B 1FFFFFFFFFFFFFFF 07", None, Buffers.Write, Buffers.WriteDataOut),
        Row("READ BUFFER(10)", "3C 1FFFFFFFFFFFFFFF 07", ReservationRead, Buffers.Read),
        Row("LOG SELECT", "4C 03FFFF000000FFFF 07", AnyAccessState, LogPages.Select),
        Row("LOG SENSE", "4D 01FFFF00FFFFFFFF 07", Inquires | IgnoresReserve, LogPages.Sense),
        Row("MODE SELECT(10)", "55 110000000000FFFF 07", AnyAccessState, Mode.Select, Mode.SelectDataOut),
        Row("RESERVE(10)", "56 00000000000000 00 07", IgnoresReservation, UnitControl.Reserve),
        Row("RELEASE(10)", "57 00000000000000 00 07", IgnoresReservation | IgnoresReserve, UnitControl.Release),
        Row("MODE SENSE(10)", "5A 18FFFF000000FFFF 07", AnyAccessState, Mode.Sense),
        Row("PERSISTENT RESERVE IN, READ KEYS", 0x00, "5E 00000000 0000FFFF 07", Inquires, PersistentReserve.In),
        Row("PERSISTENT RESERVE IN, READ RESERVATION", 0x01, "5E 01000000 0000FFFF 07", Inquires, PersistentReserve.In),
        Row("PERSISTENT RESERVE IN, REPORT CAPABILITIES", 0x02, "5E 02000000 0000FFFF 07", Inquires, PersistentReserve.In),
        Row("PERSISTENT RESERVE IN, READ FULL STATUS", 0x03, "5E 03000000 0000FFFF 07", Inquires, PersistentReserve.In),
        ReserveOut("REGISTER", 0x00),
        ReserveOut("RESERVE", 0x01),
        ReserveOut("RELEASE", 0x02),
        ReserveOut("CLEAR", 0x03),
        ReserveOut("PREEMPT", 0x04),
        ReserveOut("PREEMPT AND ABORT", 0x05),
        ReserveOut("REGISTER AND IGNORE EXISTING KEY", 0x06),
        ReserveOut("REGISTER AND MOVE", 0x07),
        Row("EXTENDED COPY(LID1)", 0x00, "83 000000000000000000FFFFFFFF00 07", NeedsMedium, ThirdPartyCopy.ExtendedCopy, ThirdPartyCopy.ListLength),
        Row("POPULATE TOKEN", 0x10, "83 1000000000FFFFFFFFFFFFFFFF00 07", NeedsMedium | ReservationRead, OffloadedTransfer.PopulateToken, ThirdPartyCopy.ListLength),
        Row("WRITE USING TOKEN", 0x11, "83 1100000000FFFFFFFFFFFFFFFF00 07", NeedsMedium | WritesMedium, OffloadedTransfer.WriteUsingToken, ThirdPartyCopy.ListLength),
        Row("RECEIVE COPY STATUS(LID1)", 0x00, "84 00FF00000000000000FFFFFFFF00 07", Inquires, ThirdPartyCopy.ReceiveStatus),
        Row("RECEIVE COPY DATA(LID1)", 0x01, "84 01FF00000000000000FFFFFFFF00 07", Inquires, ThirdPartyCopy.ReceiveHeldData),
        Row("RECEIVE COPY OPERATING PARAMETERS", 0x03, "84 030000000000000000FFFFFFFF00 07", Inquires, ThirdPartyCopy.OperatingParameters),
        Row("RECEIVE COPY FAILURE DETAILS(LID1)", 0x04, "84 04FF00000000000000FFFFFFFF00 07", Inquires, ThirdPartyCopy.ReceiveHeldData),
        Row("RECEIVE ROD TOKEN INFORMATION", 0x07, "84 07FFFFFFFF00000000FFFFFFFF00 07", Inquires, OffloadedTransfer.ReceiveTokenInformation),
        Row("REPORT LUNS", "A0 00FF000000FFFFFFFF00 07", Report, Reports.Luns),
        Row("REPORT IDENTIFYING INFORMATION", 0x05, "A3 0500000000FFFFFFFFFE 07", Inquires, Reports.IdentifyingInformation),
        Row("REPORT TARGET PORT GROUPS", 0x0A, "A3 EA00000000FFFFFFFF00 07", Inquires, Reports.TargetPortGroups),
        Row("REPORT SUPPORTED OPERATION CODES", 0x0C, "A3 0C87FFFFFFFFFFFFFF00 07", Inquires, Reports.OperationCodes),
        Row("REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS", 0x0D, "A3 0D80000000FFFFFFFF00 07", Inquires, Reports.TaskManagementFunctions),
        Row("REPORT TIMESTAMP", 0x0F, "A3 0F00000000FFFFFFFF00 07", Inquires, Reports.Timestamp),
        Row("SET IDENTIFYING INFORMATION", 0x06, "A4 0600000000FFFFFFFFFE 07", AnyAccessState, Reports.SetIdentifyingInformation, Reports.Length32),
        Row("SET TARGET PORT GROUPS", 0x0A, "A4 0A00000000FFFFFFFF00 07", AnyAccessState, Reports.SetTargetPortGroups, Reports.Length32),

        // SBC-4
        Row("FORMAT UNIT", "04 37000000 07", NeedsMedium | WritesMedium, Erasure.Format, Erasure.FormatDataOut),
        Row("READ(6)", "08 1FFFFFFF 07", ReadsBlocks, ReadWrite.Read),
        Row("WRITE(6)", "0A 1FFFFFFF 07", WritesBlocks, ReadWrite.Write, ReadWrite.DataOutLength),
        Row("START STOP UNIT", "1B 010000F7 07", None, UnitControl.StartStop),
        Row("READ CAPACITY(10)", "25 0000000000000000 07", Inquires | NeedsMedium | IgnoresReserve, Capacity.Read10),
        Row("READ(10)", "28 18FFFFFFFF3FFFFF 07", ReadsBlocks, ReadWrite.Read),
        Row("WRITE(10)", "2A 18FFFFFFFF3FFFFF 07", WritesBlocks, ReadWrite.Write, ReadWrite.DataOutLength),
        Row("WRITE AND VERIFY(10)", "2E 12FFFFFFFF3FFFFF 07", WritesBlocks, ReadWrite.WriteAndVerify, ReadWrite.DataOutLength),
        Row("VERIFY(10)", "2F 16FFFFFFFF3FFFFF 07", ReadsBlocks, Verification.Verify, Verification.DataOutLength),
        Row("PRE-FETCH(10)", "34 02FFFFFFFF3FFFFF 07", ReadsBlocks & ~CheckEmptyRange, Verification.PreFetch),
        Row("SYNCHRONIZE CACHE(10)", "35 02FFFFFFFF3FFFFF 07", Blocks | NeedsMedium, Provisioning.SynchronizeCache),
        Row("READ DEFECT DATA(10)", "37 001F00000000FFFF 07", ReservationRead | NeedsMedium, Capacity.ReadDefectData),
        Row("WRITE SAME(10)", "41 18FFFFFFFF3FFFFF 07", WritesBlocks, Provisioning.WriteSame, Provisioning.WriteSameDataOut),
        Row("UNMAP", "42 000000000000FFFF 07", NeedsMedium | WritesMedium, Provisioning.UnmapBlocks, UnitControl.Length16),
        Row("SANITIZE, OVERWRITE", 0x01, "48 A10000000000FFFF 07", Sanitizes, Erasure.Overwrite, Erasure.OverwriteDataOut),
        Row("SANITIZE, BLOCK ERASE", 0x02, "48 A20000000000FFFF 07", Sanitizes, Erasure.BlockErase),
        Row("SANITIZE, CRYPTOGRAPHIC ERASE", 0x03, "48 A30000000000FFFF 07", Sanitizes, Erasure.CryptographicErase),
        Row("SANITIZE, EXIT FAILURE MODE", 0x1F, "48 BF0000000000FFFF 07", Sanitizes, Erasure.ExitFailureMode),
        Row("READ(32)", 0x0009, "7F 04000000000018 0009 1800FFFFFFFFFFFFFFFF0000000000000000FFFFFFFF", ReadsBlocks, ReadWrite.Read),
        Row("WRITE(32)", 0x000B, "7F 04000000000018 000B 1800FFFFFFFFFFFFFFFF0000000000000000FFFFFFFF", WritesBlocks, ReadWrite.Write, ReadWrite.DataOutLength),
        Row("WRITE SAME(32)", 0x000D, "7F 04000000000018 000D 1900FFFFFFFFFFFFFFFF0000000000000000FFFFFFFF", WritesBlocks, Provisioning.WriteSame, Provisioning.WriteSameDataOut),
        Row("READ(16)", "88 18FFFFFFFFFFFFFFFFFFFFFFFF3F 07", ReadsBlocks, ReadWrite.Read),
        Row("COMPARE AND WRITE", "89 18FFFFFFFFFFFFFFFF000000FF3F 07", WritesBlocks | Exclusive, Atomics.CompareAndWrite, Atomics.CompareAndWriteDataOut),
        Row("WRITE(16)", "8A 18FFFFFFFFFFFFFFFFFFFFFFFF3F 07", WritesBlocks, ReadWrite.Write, ReadWrite.DataOutLength),
        Row("ORWRITE(16)", "8B 18FFFFFFFFFFFFFFFFFFFFFFFF3F 07", WritesBlocks | Exclusive, Atomics.OrWrite, ReadWrite.DataOutLength),
        Row("WRITE AND VERIFY(16)", "8E 12FFFFFFFFFFFFFFFFFFFFFFFF3F 07", WritesBlocks, ReadWrite.WriteAndVerify, ReadWrite.DataOutLength),
        Row("VERIFY(16)", "8F 16FFFFFFFFFFFFFFFFFFFFFFFF3F 07", ReadsBlocks, Verification.Verify, Verification.DataOutLength),
        Row("PRE-FETCH(16)", "90 02FFFFFFFFFFFFFFFFFFFFFFFF3F 07", ReadsBlocks & ~CheckEmptyRange, Verification.PreFetch),
        Row("SYNCHRONIZE CACHE(16)", "91 02FFFFFFFFFFFFFFFFFFFFFFFF3F 07", Blocks | NeedsMedium, Provisioning.SynchronizeCache),
        Row("WRITE SAME(16)", "93 19FFFFFFFFFFFFFFFFFFFFFFFF3F 07", WritesBlocks, Provisioning.WriteSame, Provisioning.WriteSameDataOut),
        Row("WRITE ATOMIC(16)", "9C 18FFFFFFFFFFFFFFFFFFFFFFFF3F 07", WritesBlocks | Exclusive, ReadWrite.WriteAtomic, ReadWrite.DataOutLength),
        Row("READ CAPACITY(16)", 0x10, "9E 100000000000000000FFFFFFFF00 07", Inquires | NeedsMedium | IgnoresReserve, Capacity.Read16),
        Row("GET LBA STATUS(16)", 0x12, "9E 12FFFFFFFFFFFFFFFFFFFFFFFFFF 07", ReservationRead | NeedsMedium, Provisioning.GetLbaStatus),
        Row("READ(12)", "A8 18FFFFFFFFFFFFFFFF3F 07", ReadsBlocks, ReadWrite.Read),
        Row("WRITE(12)", "AA 18FFFFFFFFFFFFFFFF3F 07", WritesBlocks, ReadWrite.Write, ReadWrite.DataOutLength),
        Row("WRITE AND VERIFY(12)", "AE 12FFFFFFFFFFFFFFFF3F 07", WritesBlocks, ReadWrite.WriteAndVerify, ReadWrite.DataOutLength),
        Row("VERIFY(12)", "AF 16FFFFFFFFFFFFFFFF3F 07", ReadsBlocks, Verification.Verify, Verification.DataOutLength),
        Row("READ DEFECT DATA(12)", "B7 1F0000000000FFFFFFFF 07", ReservationRead | NeedsMedium, Capacity.ReadDefectData),
    ];

    private static CommandDescriptor ReserveOut(string action, int serviceAction) => Row(
        $"PERSISTENT RESERVE OUT, {action}", serviceAction, $"5F {serviceAction:X2}FF0000 FFFFFFFF 07",
        Inquires, PersistentReserve.Out, PersistentReserve.OutLength);

    [OverloadResolutionPriority(1)]
    private static CommandDescriptor Row(string name, string usage, CommandTraits traits, CommandHandler handler, DataOutRule? dataOut = null) =>
        Row(name, -1, usage, traits, handler, dataOut);

    [OverloadResolutionPriority(1)]
    private static CommandDescriptor Row(
        string name, int serviceAction, string usage, CommandTraits traits, CommandHandler handler, DataOutRule? dataOut = null) =>
        new(name, serviceAction, Convert.FromHexString(usage.Replace(" ", "", StringComparison.Ordinal)), traits, handler, dataOut);

    private static CommandDescriptor Row(string name, string usage, CommandTraits traits, BlockHandler handler, DataOutRule? dataOut = null) =>
        Row(name, -1, usage, traits, (unit, command) => handler((BlockUnit)unit, command), dataOut);

    private static CommandDescriptor Row(
        string name, int serviceAction, string usage, CommandTraits traits, BlockHandler handler, DataOutRule? dataOut = null) =>
        Row(name, serviceAction, usage, traits, (unit, command) => handler((BlockUnit)unit, command), dataOut);
}
