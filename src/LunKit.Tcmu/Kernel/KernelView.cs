using LunKit.Linux;
using LunKit.Tcmu.ConfigFs;
using LunKit.Tcmu.Devices;

namespace LunKit.Tcmu.Kernel;

/// <summary>The kernel of this machine.</summary>
internal sealed class KernelView(Repliers repliers) : IKernelView
{
    public IReadOnlyList<UioDevice> Devices() => UioDevice.Find();

    public IDeviceAccess Access(UioDevice device, bool mustBeEnabled) => new KernelDeviceAccess(device, mustBeEnabled);

    // The second look finds handlers in other containers. Not as the first one, and late: a handler that comes at that moment finds the device busy.
    public bool? IsHeld(UioDevice device) => OpenFiles.HolderOf(device.Path) is not null ? true : DeviceNode.IsHandled(device.Path);

    public bool IsInForce(TcmuEvent e)
    {
        if (TcmuDeviceName.Parse(e.DeviceName) is not { } name) return false;
        var folder = UserBackstore.Of(name);
        if (e.Kind == TcmuEventKind.Added) return folder.IsEnabled;
        var now = e.Config is null ? folder.ReadSnapshot() : null;
        return e switch
        {
            { SizeBytes: { } size } => (ulong)now!.SizeBytes == size,
            { WriteCache: { } cache } => now!.WriteCache == cache,
            _ => folder.Config == e.Config?.Trim(),
        };
    }

    /// <summary>
    /// One in another container is not in this process's <c>/proc</c>: it is taken for one that answers while it has a device open. Before it has opened
    /// one, it cannot be seen.
    /// </summary>
    public bool MayOthersAnswer()
    {
        try
        {
            return repliers.Any() || Devices().Any(d => DeviceNode.IsHandled(d.Path) is not false && OpenFiles.HolderOf(d.Path) is null);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return true;
        }
    }
}
