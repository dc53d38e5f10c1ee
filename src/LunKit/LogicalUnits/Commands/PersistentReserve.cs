using System.Buffers.Binary;
using LunKit.Scsi;

namespace LunKit.LogicalUnits.Commands;

/// <summary>PERSISTENT RESERVE IN (SPC-5 6.17) and PERSISTENT RESERVE OUT (6.18): the parameter data; the rules are the table's.</summary>
internal static class PersistentReserve
{
    private const int HeaderBytes = 24;

    public static ValueTask<CommandResult> In(LogicalUnit unit, ScsiCommand command)
    {
        if (IsReservedOtherwise(unit)) return new(CommandResult.ReservationConflict);
        var table = unit.Reservations.Table;
        var data = new byte[16 + table.Registrations.Sum(r => 24 + r.TransportId.Length)];
        var w = new ParameterWriter(data);
        switch (command.Cdb[1] & 0x1F)
        {
            case 0x00: // READ KEYS
                w.UInt32(table.Generation);
                w.UInt32(0);
                foreach (var r in table.Registrations) w.UInt64(r.Key);
                w.PatchLength32(4);
                break;
            case 0x01: // READ RESERVATION
                w.UInt32(table.Generation);
                w.UInt32(0);
                if (table.IsReserved)
                {
                    w.UInt64(table.Holder?.Key ?? 0);
                    w.Zeroes(5);
                    w.Byte((byte)table.Type);
                    w.Zeroes(2);
                }
                w.PatchLength32(4);
                break;
            case 0x02: // REPORT CAPABILITIES
                w.UInt16(8);
                w.Byte(unit.Reservations.CanPersist ? 0x1D : 0x1C); // CRH, SIP_C, ATP_C, PTPL_C
                w.Byte(0x80 | (table.Aptpl ? 1 : 0)); // TMV, PTPL_A
                w.UInt16(0xEA01); // all six types
                w.UInt16(0);
                break;
            case 0x03:
                WriteFullStatus(ref w, table);
                break;
        }
        return new(DataIn.Send(command, w.Written, BinaryPrimitives.ReadUInt16BigEndian(command.Cdb[7..])));
    }

    private static void WriteFullStatus(ref ParameterWriter w, ReservationTable table)
    {
        w.UInt32(table.Generation);
        w.UInt32(0);
        foreach (var r in table.Registrations)
        {
            bool holds = table.IsHolder(r);
            w.UInt64(r.Key);
            w.UInt32(0);
            w.Byte(holds ? 0x01 : 0);
            w.Byte(holds ? (byte)table.Type : 0);
            w.UInt32(0);
            w.UInt16(r.TargetPort);
            w.UInt32((uint)r.TransportId.Length);
            w.Bytes(r.TransportId);
        }
        w.PatchLength32(4);
    }

    /// <summary>While SPC-2's RESERVE holds, persistent reservations are out of reach, for its holder too (SPC-2 5.5.1).</summary>
    private static bool IsReservedOtherwise(LogicalUnit unit) => unit.ReserveHolder is not null;

    public static long OutLength(int blockSize, ReadOnlySpan<byte> cdb) => Math.Min(BinaryPrimitives.ReadUInt32BigEndian(cdb[5..]), 64 * 1024);

    public static ValueTask<CommandResult> Out(LogicalUnit unit, ScsiCommand command)
    {
        if (IsReservedOtherwise(unit)) return new(CommandResult.ReservationConflict);
        var cdb = command.Cdb;
        int action = cdb[1] & 0x1F, scope = cdb[2] >> 4;
        var type = (ReservationType)(cdb[2] & 0x0F);
        uint declared = BinaryPrimitives.ReadUInt32BigEndian(cdb[5..]);
        var list = command.DataOut.ToArray();
        if (list.Length < HeaderBytes || list.Length != declared) return DataIn.Check(Sense.ParameterListLengthError);
        ulong key = BinaryPrimitives.ReadUInt64BigEndian(list), actionKey = BinaryPrimitives.ReadUInt64BigEndian(list.AsSpan(8));
        var nexus = command.Nexus;
        if (action == 7) return Move(unit, command, key, actionKey, list);
        bool specifies = (list[20] & 0x08) != 0;
        if (!specifies && list.Length != HeaderBytes) return DataIn.Check(Sense.ParameterListLengthError);
        if (specifies && action != 0) return new(CommandResult.InvalidParameterField(20, 3));
        switch (action)
        {
            case 0 or 6:
                return Register(unit, command, new RegisterRequest(key, actionKey) { IgnoresKey = action == 6, Ports = [] }, list);
            case 1:
                if (scope != 0) return DataIn.InvalidCdb(2, 7);
                if (!ReservationTable.IsType(type)) return DataIn.InvalidCdb(2, 3);
                return ChangeAsync(unit, command, t => t.Reserve(nexus, key, type));
            case 2:
                return ChangeAsync(unit, command, t => t.Release(nexus, key, type, scope));
            case 3:
                return FenceAsync(unit, command, t => t.Clear(nexus, key), abort: false);
            default:
                return FenceAsync(unit, command, t => t.Preempt(nexus, key, actionKey, type, scope), abort: action == 5);
        }
    }

    private static async ValueTask<CommandResult> ChangeAsync(
        LogicalUnit unit, ScsiCommand command, Func<ReservationTable, ReservationStep> decide) =>
        (await unit.Reservations.ChangeAsync(command.UnitNexus!, decide, command.CancellationToken).ConfigureAwait(false)).Result;

    /// <summary>
    /// PREEMPT, PREEMPT AND ABORT and CLEAR: answered when the commands of the nexuses that lost their registrations are over, so that nothing
    /// of theirs lands behind the answer.
    /// </summary>
    private static async ValueTask<CommandResult> FenceAsync(
        LogicalUnit unit, ScsiCommand command, Func<ReservationTable, ReservationStep> decide, bool abort)
    {
        var (result, removed) = await unit.Reservations.ChangeAsync(command.UnitNexus!, decide, command.CancellationToken).ConfigureAwait(false);
        if (removed.Count == 0) return result;
        bool IsFenced(Nexus nexus) => removed.Any(r => r.IsOf(nexus));
        await (abort ? unit.TaskManager.PreemptAndAbort(command, IsFenced) : unit.TaskManager.AwaitRunning(command, IsFenced)).ConfigureAwait(false);
        return result;
    }

    private static ValueTask<CommandResult> Register(LogicalUnit unit, ScsiCommand command, RegisterRequest request, byte[] list)
    {
        bool specifies = (list[20] & 0x08) != 0, allPorts = (list[20] & 0x04) != 0, aptpl = (list[20] & 0x01) != 0;
        if (aptpl && !unit.Reservations.CanPersist) return new(CommandResult.InvalidParameterField(20, 0));
        var nexus = command.Nexus;
        int own = nexus.TargetPort.RelativeId;
        IReadOnlyList<int> ports = allPorts ? [.. unit.Alua.Groups.SelectMany(g => g.Ports).Append(own).Distinct()] : [own];
        List<Registration> others = [];
        if (specifies && ReadOthers(unit, nexus, list, ports, request.NewKey, others) is { } refusal) return new(refusal);
        var complete = request with { Aptpl = aptpl, Ports = ports, Others = others };
        return ChangeAsync(unit, command, t => t.Register(nexus, complete));
    }

    /// <summary>The nexuses that SPEC_I_PT names; a refusal when the list is wrong.</summary>
    private static CommandResult? ReadOthers(
        LogicalUnit unit, Nexus nexus, byte[] list, IReadOnlyList<int> ports, ulong key, List<Registration> others)
    {
        if (list.Length < HeaderBytes + 4) return CommandResult.CheckCondition(Sense.ParameterListLengthError);
        uint length = BinaryPrimitives.ReadUInt32BigEndian(list.AsSpan(HeaderBytes));
        if (length != list.Length - HeaderBytes - 4) return CommandResult.InvalidParameterField(HeaderBytes);
        for (int at = HeaderBytes + 4; at < list.Length;)
        {
            if (!TransportIds.TryRead(list.AsSpan(at), out int idLength, out string name, out bool isPort)) return CommandResult.InvalidParameterField(at);
            List<string> named = isPort ? [name] : PortsOf(unit, name, nexus);
            // A GOOD for a name under which nobody is known would promise a registration that does not exist.
            if (named.Count == 0) return CommandResult.InvalidParameterField(at);
            foreach (string port in named)
                others.AddRange(ports.Select(p => new Registration(port, TransportIds.Of(port), p, key)));
            if (others.Count > ReservationTable.MaxRegistrations) return CommandResult.CheckCondition(Sense.InsufficientRegistrationResources);
            at += idLength;
        }
        return null;
    }

    /// <summary>The known initiator ports of an initiator but the asking one, which registers itself.</summary>
    private static List<string> PortsOf(LogicalUnit unit, string initiator, Nexus asking)
    {
        List<string> ports = [];
        foreach (var known in unit.Nexuses)
        {
            string port = known.Nexus.RegisteredPort;
            bool isHis = string.Equals(known.Nexus.InitiatorName, initiator, StringComparison.OrdinalIgnoreCase);
            if (isHis && port != asking.RegisteredPort && !ports.Contains(port)) ports.Add(port);
        }
        return ports;
    }

    private static ValueTask<CommandResult> Move(LogicalUnit unit, ScsiCommand command, ulong key, ulong newKey, byte[] list)
    {
        bool unregister = (list[17] & 0x02) != 0, aptpl = (list[17] & 0x01) != 0;
        int port = BinaryPrimitives.ReadUInt16BigEndian(list.AsSpan(18));
        uint length = BinaryPrimitives.ReadUInt32BigEndian(list.AsSpan(20));
        if (length != list.Length - HeaderBytes) return DataIn.Check(Sense.ParameterListLengthError);
        // One nexus is to hold the reservation: an initiator's name alone (format 00b) is not enough.
        if (!TransportIds.TryRead(list.AsSpan(HeaderBytes), out int idLength, out string initiator, out bool isPort) || !isPort || idLength != length)
            return new(CommandResult.InvalidParameterField(HeaderBytes));
        if (!unit.Alua.Groups.Any(g => g.Ports.Contains(port))) return new(CommandResult.InvalidParameterField(18));
        if (aptpl && !unit.Reservations.CanPersist) return new(CommandResult.InvalidParameterField(17, 0));
        var (nexus, target) = (command.Nexus, new Registration(initiator, TransportIds.Of(initiator), port, newKey));
        return ChangeAsync(unit, command, t => t.RegisterAndMove(nexus, key, unregister, aptpl, target));
    }
}
