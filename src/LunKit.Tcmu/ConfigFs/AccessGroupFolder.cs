using System.Globalization;
using LunKit.LogicalUnits;

namespace LunKit.Tcmu.ConfigFs;

/// <summary>A target port group of a backstore (ALUA): <c>BACKSTORE/alua/GROUP</c>. Any thread.</summary>
/// <param name="path">Its folder.</param>
/// <param name="target">The kernel's target, where the ports are that the group names.</param>
internal sealed class AccessGroupFolder(string path, string target) : ConfigFolder(path)
{
    // File and bit of what REPORT TARGET PORT GROUPS says to be supported (SPC-5 table 335).
    private static readonly (string File, byte Bit)[] s_supported =
    [
        ("alua_support_transitioning", 0x80), ("alua_support_offline", 0x40), ("alua_support_lba_dependent", 0x10), ("alua_support_unavailable", 0x08),
        ("alua_support_standby", 0x04), ("alua_support_active_nonoptimized", 0x02), ("alua_support_active_optimized", 0x01),
    ];

    /// <summary>What it says now; null for one without a number, which the kernel does not use yet.</summary>
    public AccessGroup? Read()
    {
        if (!int.TryParse(Read("tg_pt_gp_id").Trim(), NumberStyles.None, CultureInfo.InvariantCulture, out int id)) return null;
        byte status = Read("alua_access_status") switch
        {
            "Altered by Explicit STPG" => 1,
            "Altered by Implicit ALUA" => 2,
            _ => 0,
        };
        byte supported = 0;
        foreach (var (file, bit) in s_supported) if (Has(file) && ReadNumber(file) != 0) supported |= bit;
        // The kernel ends each entry with a NUL, too.
        int[] ports = [.. Read("members").Split(['\n', '\0'], StringSplitOptions.RemoveEmptyEntries).Select(PortOf).OfType<int>().Distinct().Order()];
        return new AccessGroup(id, (AccessState)(ReadNumber("alua_access_state") & 0x0F), status, ports)
        {
            Supported = supported, IsPreferred = Has("preferred") && ReadNumber("preferred") != 0,
        };
    }

    /// <summary>The relative port identifier of <c>FABRIC/TARGET/tpgt_N/lun_M</c>; null when the LUN has just gone.</summary>
    private int? PortOf(string member)
    {
        var parts = member.Split('/');
        if (parts.Length != 4) return null;
        // The kernel names the fabric as it calls itself (iSCSI), its folder as configfs does (iscsi).
        var port = new ConfigFolder(Path.Combine(target, parts[0].ToLowerInvariant(), parts[1], parts[2], "lun", parts[3], "statistics", "scsi_port"));
        // 0 is no identifier of a port: loopback has it for all of them from 6.12 on.
        return port.Has("indx") && port.ReadNumber("indx") is > 0 and <= ushort.MaxValue and var number ? (int)number : null;
    }
}
