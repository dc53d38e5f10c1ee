using System.Buffers.Binary;
using LunKit.LogicalUnits.Commands;
using LunKit.Scsi;

namespace LunKit.LogicalUnits;

/// <summary>
/// What answers at a LUN with nothing behind it (SPC-5 5.14, SAM-6 4.7.4), and at the REPORT LUNS well known logical unit: INQUIRY,
/// REPORT LUNS and REQUEST SENSE work, all else is LOGICAL UNIT NOT SUPPORTED. Has no state.
/// </summary>
public static class AbsentUnit
{
    /// <summary>Answers a command at <paramref name="lun"/> of a nexus that sees no unit there.</summary>
    public static CommandResult Execute(ScsiCommand command, int lun)
    {
        var cdb = command.Cdb;
        bool wellKnown = lun == LunAddress.ReportLunsWellKnown;
        switch ((Opcode)cdb[0])
        {
            case Opcode.Inquiry when cdb.Length >= 6:
                bool vital = (cdb[1] & 1) != 0;
                if (vital && !wellKnown) return CommandResult.CheckCondition(Sense.LogicalUnitNotSupported);
                if (!vital && cdb[2] != 0) return CommandResult.InvalidCdbField(2);
                var w = new ParameterWriter(stackalloc byte[1024]);
                if (!vital) Inquiry.Absent(ref w);
                else if (!VpdPages.TryWriteWellKnown(command.Nexus, cdb[2], ref w)) return CommandResult.InvalidCdbField(2);
                if (wellKnown) w.Written[0] = LunAddress.WellKnownDeviceType;
                return DataIn.Send(command, w.Written, BinaryPrimitives.ReadUInt16BigEndian(cdb[3..]));
            case Opcode.ReportLuns when cdb.Length >= 12:
                return Reports.Luns(command);
            case Opcode.RequestSense when cdb.Length >= 6:
                Span<byte> sense = stackalloc byte[SenseData.MaxLength];
                var detail = new SenseDetail(wellKnown ? Sense.None : Sense.LogicalUnitNotSupported);
                int length = SenseData.Write(sense, detail, (cdb[1] & 1) != 0);
                return DataIn.Send(command, sense[..length], cdb[4]);
            case Opcode.TestUnitReady when wellKnown:
                return CommandResult.Good;
            default:
                return CommandResult.CheckCondition(wellKnown ? Sense.InvalidOpcode : Sense.LogicalUnitNotSupported);
        }
    }
}
