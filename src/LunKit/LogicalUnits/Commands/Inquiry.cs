using System.Buffers.Binary;
using LunKit.Scsi;

namespace LunKit.LogicalUnits.Commands;

/// <summary>INQUIRY (SPC-5 6.6).</summary>
internal static class Inquiry
{
    // SAM-5, SPC-4, SPC-5, SBC-3, SBC-4, iSCSI, without a version claimed.
    private static readonly int[] s_versions = [0x00A0, 0x0460, 0x05C0, 0x04C0, 0x0600, 0x0960];

    public static async ValueTask<CommandResult> Execute(LogicalUnit unit, ScsiCommand command)
    {
        // The ports that identification names may have come after the unit.
        await unit.Alua.RefreshAsync().ConfigureAwait(false);
        return ExecuteNow(unit, command);
    }

    private static CommandResult ExecuteNow(LogicalUnit unit, ScsiCommand command)
    {
        var cdb = command.Cdb;
        bool vital = (cdb[1] & 0x01) != 0;
        byte page = cdb[2];
        int allocation = BinaryPrimitives.ReadUInt16BigEndian(cdb[3..]);
        if ((cdb[1] & 0x02) != 0) return CommandResult.InvalidCdbField(1, 1); // CMDDT is obsolete
        if (!vital && page != 0) return CommandResult.InvalidCdbField(2);
        var w = new ParameterWriter(stackalloc byte[1024]);
        if (!vital) Standard(unit, command.Nexus, ref w);
        else if (!VpdPages.TryWrite(unit, command.Nexus, page, ref w)) return CommandResult.InvalidCdbField(2);
        return DataIn.Send(command, w.Written, allocation);
    }

    private static void Standard(LogicalUnit unit, Nexus nexus, ref ParameterWriter w)
    {
        w.Byte(unit.DeviceType);
        w.Byte(unit.IsRemovable ? 0x80 : 0);
        w.Byte(0x06);               // SPC-4: what every initiator knows; SPC-5 is a version descriptor
        w.Byte(0x12);               // HISUP, response data format 2
        w.Byte(96 - 5);
        w.Byte(unit.Alua.AccessTypesAt(nexus.TargetPort) << 4 | 0x08); // TPGS; 3PC
        w.Byte(unit.Alua.PortCount > 1 ? 0x10 : 0); // MULTIP
        w.Byte(0x02);               // CMDQUE
        w.Ascii(unit.Identity.Vendor, 8);
        w.Ascii(unit.Identity.Product, 16);
        w.Ascii(unit.Identity.Revision, 4);
        w.Zeroes(58 - 36);
        foreach (int version in s_versions) w.UInt16(version);
        w.Zeroes(96 - w.Length);
    }

    /// <summary>The standard data of a LUN without a unit: peripheral qualifier 011b, device type 1Fh (SPC-5 6.6.2).</summary>
    public static void Absent(ref ParameterWriter w)
    {
        w.Byte(0x7F);
        w.Byte(0);
        w.Byte(0x06);
        w.Byte(0x12);
        w.Byte(36 - 5);
        w.Zeroes(3);
        w.Ascii("LUNKIT", 8);
        w.Ascii("", 16);
        w.Ascii("", 4);
    }
}
