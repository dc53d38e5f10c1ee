namespace LunKit.Tcmu.Devices;

/// <summary>What the kernel tells about its TCMU devices (generic netlink family TCM-USER, group config).</summary>
internal enum TcmuEventKind : byte
{
    Added = 1, Removed = 2, Reconfigured = 3,
}

/// <summary>An event of a device. A reconfiguration changes one of the three values, the others are null.</summary>
/// <param name="Kind">What happened.</param>
/// <param name="DeviceName">Name of the UIO device: <c>tcm-user/HBA/NAME/SUBTYPE/PATH</c>, as it was before a change.</param>
/// <param name="Minor">N of <c>/dev/uioN</c>; used anew when a device is gone.</param>
/// <param name="DeviceId">The kernel's number of the device, for the reply.</param>
/// <param name="Config">New configuration, <c>SUBTYPE/PATH</c>.</param>
/// <param name="SizeBytes">New size.</param>
/// <param name="WriteCache">New state of the write cache.</param>
internal sealed record TcmuEvent(
    TcmuEventKind Kind, string DeviceName, uint Minor, uint DeviceId, string? Config = null, ulong? SizeBytes = null, bool? WriteCache = null);
