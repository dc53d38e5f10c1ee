using LunKit.LogicalUnits.Commands;
using static LunKit.LogicalUnits.CommandTraits;

namespace LunKit.LogicalUnits;

/// <summary>The commands of SPC-5 that every device type has: one row per command, as <see cref="BlockCommands"/> has them.</summary>
internal static class PrimaryCommands
{
    private const CommandTraits Report = IgnoresUnitAttention | AnyAccessState | IgnoresReservation | IgnoresReserve | DuringSanitize;

    /// <summary>Asks for something that a reservation or an access state does not hide.</summary>
    public const CommandTraits Inquires = AnyAccessState | IgnoresReservation;

    public static IReadOnlyList<CommandDescriptor> Rows { get; } =
    [
        Row("TEST UNIT READY", "00 00000000 07", NeedsMedium | IgnoresReservation | Repeatable, UnitControl.TestUnitReady),
        Row("REQUEST SENSE", "03 010000FF 07", Report | Repeatable, UnitControl.RequestSense),
        Row("INQUIRY", "12 01FFFFFF 07", Report | Repeatable, Inquiry.Execute),
        Row("MODE SELECT(6)", "15 110000FF 07", AnyAccessState | Repeatable, Mode.Select, Mode.SelectDataOut),
        Row("RESERVE(6)", "16 00000000 07", IgnoresReservation | StaysWithTarget, UnitControl.Reserve),
        Row("RELEASE(6)", "17 00000000 07", IgnoresReservation | IgnoresReserve | StaysWithTarget, UnitControl.Release),
        Row("MODE SENSE(6)", "1A 08FFFFFF 07", AnyAccessState | Repeatable | ReservationRead, Mode.Sense),
        Row("RECEIVE DIAGNOSTIC RESULTS", "1C 01FFFFFF 07", Repeatable | ReservationRead, UnitControl.ReceiveDiagnostic),
        Row("SEND DIAGNOSTIC", "1D F400FFFF 07", None, UnitControl.SendDiagnostic, UnitControl.Length16),
        Row("PREVENT ALLOW MEDIUM REMOVAL", "1E 00000003 07", Repeatable, UnitControl.PreventAllow) with { AllowsRemoval = cdb => (cdb[4] & 0x03) == 0 },
        Row("WRITE BUFFER", "3B 1FFFFFFFFFFFFFFF 07", Destructive, Buffers.Write, Buffers.WriteDataOut),
        Row("READ BUFFER(10)", "3C 1FFFFFFFFFFFFFFF 07", ReservationRead | Repeatable, Buffers.Read),
        Row("LOG SELECT", "4C 03FFFF000000FFFF 07", AnyAccessState, LogPages.Select),
        Row("LOG SENSE", "4D 01FFFF00FFFFFFFF 07", Inquires | IgnoresReserve | Repeatable, LogPages.Sense),
        Row("MODE SELECT(10)", "55 110000000000FFFF 07", AnyAccessState | Repeatable, Mode.Select, Mode.SelectDataOut),
        Row("RESERVE(10)", "56 00000000000000 00 07", IgnoresReservation | StaysWithTarget, UnitControl.Reserve),
        Row("RELEASE(10)", "57 00000000000000 00 07", IgnoresReservation | IgnoresReserve | StaysWithTarget, UnitControl.Release),
        Row("MODE SENSE(10)", "5A 18FFFF000000FFFF 07", AnyAccessState | Repeatable | ReservationRead, Mode.Sense),
        Row("PERSISTENT RESERVE IN, READ KEYS", 0x00, "5E 00000000 0000FFFF 07", Inquires | StaysWithTarget, PersistentReserve.In),
        Row("PERSISTENT RESERVE IN, READ RESERVATION", 0x01, "5E 01000000 0000FFFF 07", Inquires | StaysWithTarget, PersistentReserve.In),
        Row("PERSISTENT RESERVE IN, REPORT CAPABILITIES", 0x02, "5E 02000000 0000FFFF 07", Inquires | StaysWithTarget, PersistentReserve.In),
        Row("PERSISTENT RESERVE IN, READ FULL STATUS", 0x03, "5E 03000000 0000FFFF 07", Inquires | StaysWithTarget, PersistentReserve.In),
        ReserveOut("REGISTER", 0x00),
        ReserveOut("RESERVE", 0x01),
        ReserveOut("RELEASE", 0x02),
        ReserveOut("CLEAR", 0x03),
        ReserveOut("PREEMPT", 0x04),
        ReserveOut("PREEMPT AND ABORT", 0x05),
        ReserveOut("REGISTER AND IGNORE EXISTING KEY", 0x06),
        ReserveOut("REGISTER AND MOVE", 0x07),
        Row("REPORT LUNS", "A0 00FF000000FFFFFFFF00 07", Report | StaysWithTarget, Reports.Luns),
        Row("REPORT IDENTIFYING INFORMATION", 0x05, "A3 0500000000FFFFFFFFFE 07", Inquires | Repeatable, Reports.IdentifyingInformation),
        Row("REPORT TARGET PORT GROUPS", 0x0A, "A3 EA00000000FFFFFFFF00 07", Inquires | Repeatable | StaysWithTarget, Reports.TargetPortGroups),
        Row("REPORT SUPPORTED OPERATION CODES", 0x0C, "A3 0C87FFFFFFFFFFFFFF00 07", Inquires | Repeatable, Reports.OperationCodes),
        Row("REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS", 0x0D, "A3 0D80000000FFFFFFFF00 07", Inquires | Repeatable, Reports.TaskManagementFunctions),
        Row("REPORT TIMESTAMP", 0x0F, "A3 0F00000000FFFFFFFF00 07", Inquires | Repeatable, Reports.Timestamp),
        Row("SET IDENTIFYING INFORMATION", 0x06, "A4 0600000000FFFFFFFFFE 07", AnyAccessState, Reports.SetIdentifyingInformation, Reports.Length32),
        Row("SET TARGET PORT GROUPS", 0x0A, "A4 0A00000000FFFFFFFF00 07", AnyAccessState | StaysWithTarget, Reports.SetTargetPortGroups, Reports.Length32)
            with { OfferedBy = static unit => unit.Alua.IsExplicit },
    ];

    /// <summary>What a unit of one's own has that adds nothing.</summary>
    public static CommandTable Table { get; } = new(Rows);

    private static CommandDescriptor ReserveOut(string action, int serviceAction) => Row(
        $"PERSISTENT RESERVE OUT, {action}", serviceAction, $"5F {serviceAction:X2}FF0000 FFFFFFFF 07",
        Inquires | StaysWithTarget, PersistentReserve.Out, PersistentReserve.OutLength);

    private static CommandDescriptor Row(string name, string usage, CommandTraits traits, CommandHandler handler, DataOutRule? dataOut = null) =>
        Row(name, -1, usage, traits, handler, dataOut);

    public static CommandDescriptor Row(
        string name, int serviceAction, string usage, CommandTraits traits, CommandHandler handler, DataOutRule? dataOut = null) =>
        new(name, serviceAction, Convert.FromHexString(usage.Replace(" ", "", StringComparison.Ordinal)), traits, handler, dataOut);
}
