using System.Text;
using LunKit.Backstores;
using LunKit.Scsi;

namespace LunKit.LogicalUnits.Commands;

/// <summary>Vital product data pages (SPC-5 7.7, SBC-4 6.6): a table of page code and writer.</summary>
internal static class VpdPages
{
    private const int Iscsi = 5;

    private delegate void PageWriter(LogicalUnit unit, Nexus nexus, ref ParameterWriter w);

    private static readonly SortedDictionary<byte, PageWriter> s_pages = new()
    {
        [0x00] = SupportedPages,
        [0x80] = UnitSerialNumber,
        [0x83] = DeviceIdentification,
        [0x86] = ExtendedInquiry,
        [0x87] = ModePagePolicy,
        [0x8F] = ThirdPartyCopy.WriteVpdPage,
        [0xB0] = BlockLimitsPage,
        [0xB1] = BlockDeviceCharacteristics,
        [0xB2] = LogicalBlockProvisioning,
    };

    public static bool TryWrite(LogicalUnit unit, Nexus nexus, byte page, ref ParameterWriter w)
    {
        if (!s_pages.TryGetValue(page, out var writer) || page >= 0xB0 && unit is not BlockUnit) return false;
        w.Byte(unit.DeviceType);
        w.Byte(page);
        w.UInt16(0);
        writer(unit, nexus, ref w);
        w.PatchLength16(2);
        return true;
    }

    /// <summary>The pages of the REPORT LUNS well known logical unit: which it has, and at which port and target it is.</summary>
    public static bool TryWriteWellKnown(Nexus nexus, byte page, ref ParameterWriter w)
    {
        if (page is not (0x00 or 0x83)) return false;
        w.Byte(LunAddress.WellKnownDeviceType);
        w.Byte(page);
        w.UInt16(0);
        if (page == 0x00)
        {
            w.Byte(0x00);
            w.Byte(0x83);
        }
        else if (nexus.TargetPort.RelativeId != 0)
        {
            PortDesignators(nexus, ref w);
        }
        w.PatchLength16(2);
        return true;
    }

    private static void SupportedPages(LogicalUnit unit, Nexus nexus, ref ParameterWriter w)
    {
        foreach (byte page in s_pages.Keys)
            if (page < 0xB0 || unit is BlockUnit) w.Byte(page);
    }

    private static void UnitSerialNumber(LogicalUnit unit, Nexus nexus, ref ParameterWriter w) =>
        w.Ascii(unit.Identity.Serial, unit.Identity.Serial.Length);

    private static void DeviceIdentification(LogicalUnit unit, Nexus nexus, ref ParameterWriter w)
    {
        var identity = unit.Identity;
        // Logical unit: NAA, T10 vendor ID, UUID (RFC 4122), SCSI name string.
        Designator(ref w, codeSet: 1, type: 3, identity.Naa.Length);
        w.Bytes(identity.Naa.Span);
        Designator(ref w, codeSet: 2, type: 1, length: 8 + identity.Serial.Length);
        w.Ascii(identity.Vendor, 8);
        w.Ascii(identity.Serial, identity.Serial.Length);
        Designator(ref w, codeSet: 1, type: 0x0A, length: 18);
        w.Byte(0x10);
        w.Byte(0);
        w.Bytes(identity.Id.ToByteArray(bigEndian: true));
        ScsiName(ref w, association: 0, $"naa.{Convert.ToHexString(identity.Naa.Span)}");
        // A fabric that does not tell its ports apart has no names for them, and which one it is can be told when there is one.
        if (nexus.TargetPort.RelativeId == 0)
        {
            if (unit.Alua.OnlyPort is not { } only) return;
            PortDesignator(ref w, type: 4, only.Port, protocol: 0);
            PortDesignator(ref w, type: 5, only.Group, protocol: 0);
            return;
        }
        PortDesignators(nexus, ref w);
    }

    /// <summary>Target port: relative identifier, group, SCSI name. Target device: SCSI name.</summary>
    private static void PortDesignators(Nexus nexus, ref ParameterWriter w)
    {
        PortDesignator(ref w, type: 4, nexus.TargetPort.RelativeId);
        PortDesignator(ref w, type: 5, nexus.TargetPort.GroupId);
        ScsiName(ref w, association: 1, nexus.TargetPort.Name);
        ScsiName(ref w, association: 2, nexus.TargetPort.DeviceName);
    }

    private static void Designator(ref ParameterWriter w, int codeSet, int type, int length, int association = 0, int protocol = Iscsi)
    {
        // Protocol identifier with PIV where the designator names a port or the target of a known protocol.
        bool named = association != 0 && protocol != 0;
        w.Byte((named ? protocol << 4 : 0) | codeSet);
        w.Byte((named ? 0x80 : 0) | association << 4 | type);
        w.Byte(0);
        w.Byte(length);
    }

    private static void PortDesignator(ref ParameterWriter w, int type, int value, int protocol = Iscsi)
    {
        Designator(ref w, codeSet: 1, type, length: 4, association: 1, protocol);
        w.UInt16(0);
        w.UInt16(value);
    }

    private static void ScsiName(ref ParameterWriter w, int association, string name)
    {
        // UTF-8, null-terminated, padded to four bytes (SPC-5 7.7.6.11).
        var bytes = Encoding.UTF8.GetBytes(name);
        int length = (bytes.Length + 4) / 4 * 4;
        Designator(ref w, codeSet: 3, type: 8, length, association);
        w.Bytes(bytes);
        w.Zeroes(length - bytes.Length);
    }

    private static void ExtendedInquiry(LogicalUnit unit, Nexus nexus, ref ParameterWriter w)
    {
        w.Byte(0);
        w.Byte(0x07);                                   // HEADSUP, ORDSUP, SIMPSUP
        w.Byte(unit is BlockUnit { HasVolatileCache: true } ? 0x01 : 0); // V_SUP
        w.Byte(0x01);                                   // LUICLR: a nexus loss or reset clears reported LUNs attentions
        w.Zeroes(64 - w.Length);
    }

    private static void ModePagePolicy(LogicalUnit unit, Nexus nexus, ref ParameterWriter w)
    {
        // All pages and subpages are shared by all nexuses.
        w.Byte(0x3F);
        w.Byte(0xFF);
        w.Byte(0x00);
        w.Byte(0);
    }

    private static void BlockLimitsPage(LogicalUnit unit, Nexus nexus, ref ParameterWriter w)
    {
        var block = (BlockUnit)unit;
        int size = block.BlockSize;
        bool thin = block.IsThin;
        uint granularity = (uint)Math.Max(1, block.Store.Geometry.DiscardGranularity / size);
        w.Byte(0x01);                                                   // WSNZ
        w.Byte(block.MaxCompareBlocks);
        w.UInt16((int)Math.Max(1, block.Store.Geometry.PhysicalBlockSize / size)); // optimal transfer length granularity
        int longest = Math.Clamp(block.HostTransferBytes / size, 1, block.MaxTransferBlocks);
        w.UInt32((uint)longest);
        w.UInt32((uint)Math.Min(BlockLimits.OptimalTransferBytes / size, longest));
        w.UInt32(0);                                                    // maximum prefetch length: no limit
        w.UInt32(thin ? (uint)Math.Min(uint.MaxValue, BlockLimits.MaxUnmapBytes / size) : 0);
        w.UInt32(thin ? (uint)BlockLimits.MaxUnmapDescriptors : 0);
        w.UInt32(thin ? granularity : 0);
        w.UInt32(thin ? 0x8000_0000 : 0);                               // UGAVALID, alignment 0
        w.UInt64((ulong)(BlockLimits.MaxWriteSameBytes / size));        // maximum WRITE SAME length
        w.UInt32((uint)(BlockLimits.MaxAtomicBytes / size));            // maximum atomic transfer length
        w.UInt32(0);                                                    // atomic alignment: none
        w.UInt32(1);                                                    // atomic transfer length granularity
        w.UInt32(0);                                                    // no atomic boundary
        w.UInt32(0);
    }

    private static void BlockDeviceCharacteristics(LogicalUnit unit, Nexus nexus, ref ParameterWriter w)
    {
        w.UInt16(((BlockUnit)unit).Store.Geometry.Rotational ? 7200 : 1); // rotation rate; 1: non-rotating
        w.Byte(0);
        w.Byte(0x50);                                                   // WABEREQ, WACEREQ 01b: erased blocks can be read
        w.Byte(0x01);                                                   // VBULS: verifies unmapped blocks
        w.Zeroes(64 - w.Length);
    }

    private static void LogicalBlockProvisioning(LogicalUnit unit, Nexus nexus, ref ParameterWriter w)
    {
        bool thin = ((BlockUnit)unit).IsThin;
        w.Byte(0);
        w.Byte(thin ? 0xE4 : 0x00);    // LBPU, LBPWS, LBPWS10, LBPRZ 001b
        w.Byte(thin ? 0x02 : 0x00);    // thin provisioned
        w.Byte(0);
    }
}
