using System.Buffers.Binary;
using LunKit.Scsi;

namespace LunKit.LogicalUnits.Commands;

/// <summary>
/// REPORT LUNS (SPC-5 6.35), REPORT SUPPORTED OPERATION CODES (6.34), REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS (6.36),
/// REPORT and SET TARGET PORT GROUPS (6.37, 6.45), identifying information (6.32, 6.43) and REPORT TIMESTAMP (6.38).
/// </summary>
internal static class Reports
{
    private const int MaxIdentifyingBytes = 512;

    public static ValueTask<CommandResult> Luns(LogicalUnit unit, ScsiCommand command) => new(Luns(command));

    /// <summary>
    /// The LUNs of the nexus, at whichever LUN it asks. Its pending REPORTED LUNS DATA HAS CHANGED are answered with that, at all of them
    /// (SPC-5 6.35.1).
    /// </summary>
    public static CommandResult Luns(ScsiCommand command)
    {
        var cdb = command.Cdb;
        uint allocation = BinaryPrimitives.ReadUInt32BigEndian(cdb[6..]);
        IEnumerable<int>? luns = cdb[2] switch
        {
            0x00 => command.Nexus.Luns.Entries.Keys,
            0x01 => [LunAddress.ReportLunsWellKnown],
            0x02 => command.Nexus.Luns.Entries.Keys.Append(LunAddress.ReportLunsWellKnown),
            // Administrative and subsidiary logical units: there are none (SPC-5 table 288).
            0x10 or 0x11 or 0x12 => [],
            _ => null,
        };
        if (luns is null) return CommandResult.InvalidCdbField(2);
        foreach (var entry in command.Nexus.Luns.Entries.Values)
            if (entry.HasUnitAttention) entry.ClearUnitAttention(Sense.ReportedLunsChanged);
        var list = luns.ToList();
        var data = new byte[8 + 8 * list.Count];
        var w = new ParameterWriter(data);
        w.UInt32((uint)(8 * list.Count));
        w.UInt32(0);
        foreach (int lun in list) w.UInt64(LunAddress.Encode(lun));
        return DataIn.Send(command, data, allocation);
    }

    public static ValueTask<CommandResult> OperationCodes(LogicalUnit unit, ScsiCommand command)
    {
        var cdb = command.Cdb;
        bool timeouts = (cdb[2] & 0x80) != 0;
        int option = cdb[2] & 0x07, serviceAction = BinaryPrimitives.ReadUInt16BigEndian(cdb[4..]);
        byte opcode = cdb[3];
        uint allocation = BinaryPrimitives.ReadUInt32BigEndian(cdb[6..]);
        var table = unit.Table;
        CommandDescriptor? row;
        switch (option)
        {
            case 0:
                return new(AllOperationCodes(unit, command, timeouts, allocation));
            case 1:
                if (table.HasServiceActions(opcode)) return DataIn.InvalidCdb(3);
                row = table.Find(opcode, -1);
                break;
            case 2:
                if (table.IsKnown(opcode) && !table.HasServiceActions(opcode)) return DataIn.InvalidCdb(4);
                row = table.Find(opcode, serviceAction);
                break;
            case 3:
                row = table.HasServiceActions(opcode) || serviceAction == 0 ? table.Find(opcode, serviceAction) : null;
                break;
            default:
                return DataIn.InvalidCdb(2, 2);
        }
        if (row is not null && !row.IsOfferedBy(unit)) row = null;
        var w = new ParameterWriter(stackalloc byte[64]);
        w.Byte(0);
        w.Byte((row is not null && timeouts ? 0x80 : 0) | (row is null ? 1 : 3)); // CTDP; supported as the standard says, or not
        w.UInt16(row?.Usage.Length ?? 0);
        w.Bytes(row?.Usage ?? []);
        if (row is not null && timeouts) Timeouts(ref w);
        return new(DataIn.Send(command, w.Written, allocation));
    }

    private static CommandResult AllOperationCodes(LogicalUnit unit, ScsiCommand command, bool timeouts, uint allocation)
    {
        var data = new byte[4 + unit.Table.Rows.Count * 20];
        var w = new ParameterWriter(data);
        w.UInt32(0);
        foreach (var row in unit.Table.Rows)
        {
            if (!row.IsOfferedBy(unit)) continue;
            w.Byte(row.Usage[0]);
            w.Byte(0);
            w.UInt16(Math.Max(0, row.ServiceAction));
            w.Byte(0);
            w.Byte((timeouts ? 2 : 0) | (row.ServiceAction >= 0 ? 1 : 0)); // CTDP, SERVACTV
            w.UInt16(row.Usage.Length);
            if (timeouts) Timeouts(ref w);
        }
        w.PatchLength32(0);
        return DataIn.Send(command, w.Written, allocation);
    }

    /// <summary>Command timeouts descriptor: no nominal, no recommended time-out (SPC-5 6.34.4).</summary>
    private static void Timeouts(ref ParameterWriter w)
    {
        w.UInt16(0x0A);
        w.Zeroes(10);
    }

    public static ValueTask<CommandResult> TaskManagementFunctions(LogicalUnit unit, ScsiCommand command)
    {
        bool extended = (command.Cdb[2] & 0x80) != 0;
        Span<byte> data = stackalloc byte[extended ? 16 : 4];
        data.Clear();
        data[0] = 0xD8; // ATS, ATSS, CTSS, LURS
        data[1] = 0x01; // ITNRS: a nexus reset is a logout or a new login
        if (extended) data[3] = 12;
        return new(DataIn.Send(command, data, BinaryPrimitives.ReadUInt32BigEndian(command.Cdb[6..])));
    }

    public static async ValueTask<CommandResult> TargetPortGroups(LogicalUnit unit, ScsiCommand command)
    {
        await unit.Alua.RefreshAsync().ConfigureAwait(false);
        return TargetPortGroupsNow(unit, command);
    }

    private static CommandResult TargetPortGroupsNow(LogicalUnit unit, ScsiCommand command)
    {
        int format = command.Cdb[1] >> 5;
        if (format > 1) return CommandResult.InvalidCdbField(1, 7);
        var groups = unit.Alua.Groups;
        var data = new byte[8 + groups.Sum(g => 8 + 4 * g.Ports.Length)];
        var w = new ParameterWriter(data);
        w.UInt32(0);
        if (format == 1)
        {
            w.Byte(0x10);
            w.Byte(0); // implicit transition time: not known
            w.UInt16(0);
        }
        foreach (var group in groups)
        {
            w.Byte((group.IsPreferred ? 0x80 : 0) | (int)group.State);
            w.Byte(group.Supported);
            w.UInt16(group.Group);
            w.Byte(0);
            w.Byte(group.Status);
            w.Byte(0);
            w.Byte(group.Ports.Length);
            foreach (int port in group.Ports)
            {
                w.UInt16(0);
                w.UInt16(port);
            }
        }
        w.PatchLength32(0);
        return DataIn.Send(command, w.Written, BinaryPrimitives.ReadUInt32BigEndian(command.Cdb[6..]));
    }

    public static ValueTask<CommandResult> SetTargetPortGroups(LogicalUnit unit, ScsiCommand command)
    {
        // As a service action that the table does not have.
        if ((unit.Alua.AccessTypesAt(command.Nexus.TargetPort) & Alua.Explicit) == 0) return DataIn.InvalidCdb(1, 4);
        if (BinaryPrimitives.ReadUInt32BigEndian(command.Cdb[6..]) == 0) return new(CommandResult.Good);
        var list = command.DataOut.ToArray();
        if (list.Length < 8 || (list.Length - 4) % 4 != 0) return DataIn.Check(Sense.ParameterListLengthError);
        for (int at = 4; at < list.Length; at += 4)
        {
            var state = (AccessState)(list[at] & 0x0F);
            bool settable = state is AccessState.ActiveOptimized or AccessState.ActiveNonOptimized or AccessState.Standby or AccessState.Unavailable;
            if (!settable) return new(CommandResult.InvalidParameterField(at, 3));
            if (!unit.Alua.Contains(BinaryPrimitives.ReadUInt16BigEndian(list.AsSpan(at + 2)))) return new(CommandResult.InvalidParameterField(at + 2));
        }
        bool changed = false;
        for (int at = 4; at < list.Length; at += 4)
            changed |= unit.Alua.Set(BinaryPrimitives.ReadUInt16BigEndian(list.AsSpan(at + 2)), (AccessState)(list[at] & 0x0F), explicitly: true);
        // For every nexus but the one that changed them (SPC-5 5.18.2.7).
        if (changed) unit.EstablishForAllBut(command.Nexus, Sense.AsymmetricAccessStateChanged);
        return new(CommandResult.Good);
    }

    public static ValueTask<CommandResult> IdentifyingInformation(LogicalUnit unit, ScsiCommand command)
    {
        int type = command.Cdb[10] >> 1;
        uint allocation = BinaryPrimitives.ReadUInt32BigEndian(command.Cdb[6..]);
        var w = new ParameterWriter(stackalloc byte[8 + MaxIdentifyingBytes]);
        w.UInt16(0);
        if (type == 0x7F)
        {
            w.UInt16(8);
            foreach (int supported in (ReadOnlySpan<int>)[0, 2])
            {
                w.Byte(supported << 1);
                w.Byte(0);
                w.UInt16(supported == 0 ? MaxIdentifyingBytes : 256);
            }
        }
        else if (type is 0 or 2)
        {
            var information = Convert.FromHexString(unit.Memory.Read(s => s.IdentifyingInformation.GetValueOrDefault(type)) ?? "");
            w.UInt16(information.Length);
            w.Bytes(information);
        }
        else
        {
            return DataIn.InvalidCdb(10, 7);
        }
        return new(DataIn.Send(command, w.Written, allocation));
    }

    public static ValueTask<CommandResult> SetIdentifyingInformation(LogicalUnit unit, ScsiCommand command)
    {
        int type = command.Cdb[10] >> 1;
        if (type is not (0 or 2)) return DataIn.InvalidCdb(10, 7);
        uint length = BinaryPrimitives.ReadUInt32BigEndian(command.Cdb[6..]);
        if (length > (type == 0 ? MaxIdentifyingBytes : 256)) return DataIn.InvalidCdb(6);
        if (command.DataOut.Length < length) return DataIn.Check(Sense.ParameterListLengthError);
        var information = command.DataOut.ToArray();
        // Text is UTF-8 with a null at its end (SPC-5 6.43).
        if (type == 2 && information.Length > 0 && information[^1] != 0) return new(CommandResult.InvalidParameterField(information.Length - 1));
        return SaveAsync(unit, command, type, information);

        static async ValueTask<CommandResult> SaveAsync(LogicalUnit unit, ScsiCommand command, int type, byte[] information)
        {
            await unit.Memory.UpdateAsync(s => s.IdentifyingInformation[type] = Convert.ToHexString(information)).ConfigureAwait(false);
            unit.EstablishForOthers(command.UnitNexus, Sense.IdentifyingInformationChanged);
            return CommandResult.Good;
        }
    }

    public static ValueTask<CommandResult> Timestamp(LogicalUnit unit, ScsiCommand command)
    {
        var w = new ParameterWriter(stackalloc byte[12]);
        long milliseconds = TimeProvider.System.GetUtcNow().ToUnixTimeMilliseconds();
        w.UInt16(10);
        w.Byte(0x03); // origin 011b: set by another method than SET TIMESTAMP, the host's clock
        w.Byte(0);
        w.UInt16((int)(milliseconds >> 32));
        w.UInt32((uint)milliseconds);
        w.UInt16(0);
        return new(DataIn.Send(command, w.Written, BinaryPrimitives.ReadUInt32BigEndian(command.Cdb[6..])));
    }

    public static long Length32(int blockSize, ReadOnlySpan<byte> cdb) => Math.Min(BinaryPrimitives.ReadUInt32BigEndian(cdb[6..]), 65536);
}
