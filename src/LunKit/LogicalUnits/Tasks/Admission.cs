using LunKit.Scsi;

namespace LunKit.LogicalUnits;

/// <summary>
/// What comes before any command of any unit: one ordered list of refusals. A command is checked when it is in the task set already, so that a
/// change of the unit finds it there or is seen here, and again when it has waited for others, for what it waited for may have changed the world.
/// </summary>
internal static class Admission
{
    /// <summary>
    /// Refusals that depend on the state of the unit and of the nexus. A unit attention is taken by the command that reports it.
    /// </summary>
    public static bool Refuses(LogicalUnit unit, ScsiCommand command, out CommandResult refusal)
    {
        var nexus = command.UnitNexus!;
        var row = command.Row;
        bool reportsAttention = nexus.HasUnitAttention && !(row?.Has(CommandTraits.IgnoresUnitAttention) ?? false);

        // The LUN is being taken away.
        if (unit.IsClosing || nexus.IsUnmapped)
            refusal = CommandResult.CheckCondition(Sense.LogicalUnitNotSupported);
        // SAM-6 5.3.3: a reset first, then a reservation conflict, then all other unit attentions.
        else if (reportsAttention && nexus.TryTakeUnitAttention(out var reset, onlyReset: true))
            refusal = CommandResult.CheckCondition(reset);
        else if (Conflicts(unit, nexus, row, command.Cdb))
            refusal = CommandResult.ReservationConflict;
        else if (reportsAttention && nexus.TryTakeUnitAttention(out var attention))
            refusal = CommandResult.CheckCondition(attention);
        else if (row is not null && !unit.Alua.IsAllActive && unit.Alua.Refuses(nexus, row) is { } access)
            refusal = CommandResult.CheckCondition(access);
        else
        {
            refusal = default;
            return false;
        }
        return true;
    }

    /// <summary>Refusals that follow from the CDB alone, for commands that LunKit itself executes.</summary>
    public static bool RefusesCdb(LogicalUnit unit, ScsiCommand command, out CommandResult refusal)
    {
        var row = command.Row;
        var cdb = command.Cdb;
        if (row is null)
            refusal = unit.Table.Unknown(cdb);
        else if (cdb.Length < row.Usage.Length)
            refusal = CommandResult.InvalidCdbField(0);
        else if (row.Opcode == Opcode.VariableLength && cdb[7] != row.Usage[7])
            refusal = CommandResult.InvalidCdbField(7);
        // NACA asks for ACA, which is not supported (SAM-6 5.2, NORMACA = 0).
        else if ((cdb[0] == (byte)Opcode.VariableLength ? cdb[1] : cdb[^1]) is var control && (control & 0x04) != 0)
            refusal = CommandResult.InvalidCdbField(cdb[0] == (byte)Opcode.VariableLength ? 1 : cdb.Length - 1, 2);
        else if (row.Has(CommandTraits.Strict) && FirstReserved(row, cdb) is var reserved and >= 0)
            refusal = CommandResult.InvalidCdbField(reserved);
        else if (command.Attribute == TaskAttribute.Aca)
            refusal = CommandResult.CheckCondition(new Sense(SenseKey.IllegalRequest, 0x49, 0x00));
        else
        {
            refusal = default;
            return false;
        }
        return true;
    }

    private static int FirstReserved(CommandDescriptor row, ReadOnlySpan<byte> cdb)
    {
        for (int i = 1; i < row.Usage.Length; i++)
            if ((cdb[i] & ~row.Usage[i]) != 0) return i;
        return -1;
    }

    private static bool Conflicts(LogicalUnit unit, UnitNexus nexus, CommandDescriptor? row, ReadOnlySpan<byte> cdb)
    {
        bool byReserve = unit.ReserveHolder is { } holder && holder != nexus, byPersistent = unit.Reservations.IsReserved;
        if (!byReserve && !byPersistent) return false;
        // A command that no standard names may change the medium; one that nobody knows is refused as such.
        if (row is null) return unit.TakesUnknown && (byReserve || unit.Reservations.Conflicts(nexus.Nexus, isRead: false));
        if (row.AllowsRemoval?.Invoke(cdb) ?? false) return false;
        if (byReserve && !row.Has(CommandTraits.IgnoresReserve)) return true;
        return byPersistent && !row.Has(CommandTraits.IgnoresReservation) &&
            unit.Reservations.Conflicts(nexus.Nexus, row.Has(CommandTraits.ReservationRead));
    }
}
