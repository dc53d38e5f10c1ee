using LunKit.Tcmu.Devices;

namespace LunKit.Tcmu.Kernel;

/// <summary>What of the kernel is looked at before an event is answered. Each throws <see cref="IOException"/> when it cannot be told, e.g. for want of a descriptor.</summary>
internal interface IKernelView
{
    /// <summary>All devices.</summary>
    IReadOnlyList<UioDevice> Devices();

    /// <summary>A device, to be served.</summary>
    /// <param name="device">The device.</param>
    /// <param name="mustBeEnabled">It is another's as long as it is not enabled.</param>
    IDeviceAccess Access(UioDevice device, bool mustBeEnabled);

    /// <summary>Whether a process has a device open; null when that cannot be told.</summary>
    bool? IsHeld(UioDevice device);

    /// <summary>Whether the device is as an event of it asks for: it was answered, and not refused, or there was nothing to change. May wait for whoever removes the device.</summary>
    bool IsInForce(TcmuEvent e);

    /// <summary>Whether another process lives that was, or is, told of devices and may answer; true also when that cannot be told.</summary>
    bool MayOthersAnswer();
}
