using System.Buffers.Binary;
using System.Text;
using LunKit.Scsi;

namespace LunKit.LogicalUnits.Commands;

/// <summary>PERSISTENT RESERVE IN (SPC-5 6.17) and PERSISTENT RESERVE OUT (6.18): the parameter data; the rules are the table's.</summary>
internal static class PersistentReserve
{
    public static ValueTask<CommandResult> In(LogicalUnit unit, ScsiCommand command)
    {
        var reservations = unit.Reservations;
        var registrations = reservations.Registrations;
        var data = new byte[16 + registrations.Sum(r => 24 + r.Registration.TransportId.Length)];
        var w = new ParameterWriter(data);
        switch (command.Cdb[1] & 0x1F)
        {
            case 0x00: // READ KEYS
                w.UInt32(reservations.Generation);
                w.UInt32(0);
                foreach (var (r, _) in registrations) w.UInt64(r.Key);
                w.PatchLength32(4);
                break;
            case 0x01: // READ RESERVATION
                w.UInt32(reservations.Generation);
                w.UInt32(0);
                if (reservations.Reservation is { } held)
                {
                    w.UInt64(held.Key);
                    w.Zeroes(5);
                    w.Byte((byte)held.Type);
                    w.Zeroes(2);
                }
                w.PatchLength32(4);
                break;
            case 0x02: // REPORT CAPABILITIES
                w.UInt16(8);
                w.Byte(0x1D); // CRH, SIP_C, ATP_C, PTPL_C
                w.Byte(0x80 | (reservations.IsAptplActive ? 1 : 0)); // TMV, PTPL_A
                w.UInt16(0xEA01); // all six types
                w.UInt16(0);
                break;
            case 0x03: // READ FULL STATUS
                w.UInt32(reservations.Generation);
                w.UInt32(0);
                foreach (var (r, holds) in registrations)
                {
                    w.UInt64(r.Key);
                    w.UInt32(0);
                    w.Byte(holds ? 0x01 : 0);
                    w.Byte(holds ? (byte)reservations.Reservation!.Value.Type : 0);
                    w.UInt32(0);
                    w.UInt16(r.TargetPort);
                    w.UInt32((uint)r.TransportId.Length);
                    w.Bytes(r.TransportId);
                }
                w.PatchLength32(4);
                break;
        }
        return new(DataIn.Send(command, w.Written, BinaryPrimitives.ReadUInt16BigEndian(command.Cdb[7..])));
    }

    public static long OutLength(int blockSize, ReadOnlySpan<byte> cdb) => Math.Min(BinaryPrimitives.ReadUInt32BigEndian(cdb[5..]), 64 * 1024);

    public static ValueTask<CommandResult> Out(LogicalUnit unit, ScsiCommand command)
    {
        var cdb = command.Cdb;
        int action = cdb[1] & 0x1F, scope = cdb[2] >> 4;
        var type = (ReservationType)(cdb[2] & 0x0F);
        uint declared = BinaryPrimitives.ReadUInt32BigEndian(cdb[5..]);
        var list = command.DataOut.ToArray();
        if (list.Length < 24 || list.Length != declared) return DataIn.Check(Sense.ParameterListLengthError);
        ulong key = BinaryPrimitives.ReadUInt64BigEndian(list), actionKey = BinaryPrimitives.ReadUInt64BigEndian(list.AsSpan(8));
        var by = command.UnitNexus!;
        bool typed = action is 1 or 2 or 4 or 5;
        if (action == 7) return new(Move(unit, by, key, actionKey, list));
        bool specifies = (list[20] & 0x08) != 0;
        if (!specifies && list.Length != 24) return DataIn.Check(Sense.ParameterListLengthError);
        if (specifies && action != 0) return new(CommandResult.InvalidParameterField(20, 3));
        if (typed && action != 2 && scope != 0) return DataIn.InvalidCdb(2, 7);
        if (typed && !(Enum.IsDefined(type) && type != ReservationType.None)) return DataIn.InvalidCdb(2, 3);
        return new(action switch
        {
            0 or 6 => Register(unit, by, key, actionKey, action == 6, list),
            1 => unit.Reservations.Reserve(by, key, type),
            2 => unit.Reservations.Release(by, key, type, scope),
            3 => unit.Reservations.Clear(by, key),
            _ => unit.Reservations.Preempt(by, key, actionKey, type, abort: action == 5),
        });
    }

    private static CommandResult Register(LogicalUnit unit, UnitNexus by, ulong key, ulong newKey, bool ignore, byte[] list)
    {
        bool specifies = (list[20] & 0x08) != 0, allPorts = (list[20] & 0x04) != 0, aptpl = (list[20] & 0x01) != 0;
        IReadOnlyList<int> ports = allPorts ? [.. unit.Alua.Groups.SelectMany(g => g.Ports)] : [by.Nexus.TargetPort.RelativeId];
        var others = new List<Registration>();
        if (specifies)
        {
            if (list.Length < 28) return CommandResult.CheckCondition(Sense.ParameterListLengthError);
            uint length = BinaryPrimitives.ReadUInt32BigEndian(list.AsSpan(24));
            if (length != list.Length - 28) return CommandResult.InvalidParameterField(24);
            for (int at = 28; at < list.Length;)
            {
                if (!TryReadTransportId(list.AsSpan(at), out var id, out string port)) return CommandResult.InvalidParameterField(at);
                others.AddRange(ports.Select(p => new Registration(port, id, p, newKey)));
                at += id.Length;
            }
        }
        return unit.Reservations.Register(by, key, newKey, ignore, aptpl, ports, others);
    }

    private static CommandResult Move(LogicalUnit unit, UnitNexus by, ulong key, ulong newKey, byte[] list)
    {
        bool unregister = (list[17] & 0x02) != 0, aptpl = (list[17] & 0x01) != 0;
        int port = BinaryPrimitives.ReadUInt16BigEndian(list.AsSpan(18));
        uint length = BinaryPrimitives.ReadUInt32BigEndian(list.AsSpan(20));
        if (length != list.Length - 24) return CommandResult.CheckCondition(Sense.ParameterListLengthError);
        if (!TryReadTransportId(list.AsSpan(24), out var id, out string initiator) || id.Length != length) return CommandResult.InvalidParameterField(24);
        if (!unit.Alua.Groups.Any(g => g.Ports.Contains(port))) return CommandResult.InvalidParameterField(18);
        return unit.Reservations.RegisterAndMove(by, key, unregister, aptpl, new Registration(initiator, id, port, newKey));
    }

    /// <summary>
    /// A TransportID of an iSCSI initiator port (SPC-5 7.6.4.6), format 01b: name, ",i,0x" and ISID. A device name alone (00b)
    /// names no port and is refused.
    /// </summary>
    private static bool TryReadTransportId(ReadOnlySpan<byte> data, out byte[] transportId, out string port)
    {
        transportId = [];
        port = "";
        if (data.Length < 24 || (data[0] & 0x0F) != 5 || data[0] >> 6 != 1) return false;
        int length = 4 + BinaryPrimitives.ReadUInt16BigEndian(data[2..]);
        if (length < 24 || length % 4 != 0 || length > data.Length || length > 512) return false;
        transportId = data[..length].ToArray();
        port = Encoding.UTF8.GetString(transportId.AsSpan(4)).TrimEnd('\0');
        return port.Contains(",i,0x", StringComparison.Ordinal);
    }
}
