using LunKit.LogicalUnits;
using LunKit.Tcmu.ConfigFs;

namespace LunKit.Tcmu.Kernel;

/// <summary>A device of the kernel: its UIO device and its folder in configfs.</summary>
internal sealed class KernelDeviceAccess(UioDevice uio) : IDeviceAccess
{
    private readonly UserBackstore _folder = UserBackstore.Of(uio.Name);

    public TcmuDeviceName Name => uio.Name;

    public string Path => uio.Path;

    public UserBackstoreSnapshot ReadSnapshot() => _folder.ReadSnapshot();

    public Func<IReadOnlyList<AccessGroup>> PortGroups => _folder.ReadPortGroups;

    public IRingTransport OpenRing(bool takesOver)
    {
        // Initiators repeat what was out.
        if (takesOver)
        {
            _folder.Block(true);
            _folder.ResetRing();
        }
        return new UioTransport(uio);
    }

    public void Admit(bool takesOver)
    {
        if (takesOver) _folder.Block(false);
    }

    public void Dispose()
    {
    }
}
