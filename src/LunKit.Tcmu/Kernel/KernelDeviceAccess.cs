using LunKit.Linux;
using LunKit.LogicalUnits;
using LunKit.Tcmu.ConfigFs;
using LunKit.Tcmu.Devices;

namespace LunKit.Tcmu.Kernel;

/// <summary>A device of the kernel: its UIO device and its folder in configfs.</summary>
/// <param name="uio">The device.</param>
/// <param name="mustBeEnabled">It is another's as long as it is not enabled.</param>
internal sealed class KernelDeviceAccess(UioDevice uio, bool mustBeEnabled = false) : IDeviceAccess
{
    // The initiators' time is the kernel's.
    private static readonly ulong s_boot = BootEpoch();

    private static ulong BootEpoch()
    {
        try
        {
            return BitConverter.ToUInt64(Guid.Parse(File.ReadAllText("/proc/sys/kernel/random/boot_id")).ToByteArray());
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or FormatException)
        {
            return 0;
        }
    }

    private readonly UserBackstore _folder = UserBackstore.Of(uio.Name);
    private UioHold? _hold;

    public TcmuDeviceName Name => uio.Name;

    public string Path => uio.Path;

    public bool TryOwn()
    {
        if (mustBeEnabled && !_folder.IsEnabled) return false;
        try
        {
            _hold = new UioHold(uio.Path);
            return true;
        }
        catch (LinuxException e) when (e.IsBusy)
        {
            return false;
        }
    }

    /// <summary>
    /// The kernel's <c>emulate_write_cache</c> is 0 where nobody has set it, too: what somebody has set the unit itself keeps (<see cref="UnitSuccession"/>).
    /// </summary>
    public DeviceDescription ReadSnapshot() => _folder.ReadSnapshot() with { WriteCache = true, Epoch = s_boot };

    public Func<IReadOnlyList<AccessGroup>> PortGroups => _folder.ReadPortGroups;

    public IRingTransport OpenRing(bool takesOver)
    {
        var hold = _hold ?? throw new InvalidOperationException($"{Path} is not owned");
        // Initiators repeat what was out.
        if (takesOver)
        {
            _folder.Block(true);
            _folder.ResetRing();
        }
        return new UioTransport(uio, hold);
    }

    public void Admit(bool takesOver)
    {
        if (takesOver) _folder.Block(false);
    }

    public Task KeepSizeAsync(long sizeBytes) => _folder.WaitsForReplies ? Task.CompletedTask : _folder.KeepSizeAsync(sizeBytes);

    public void Dispose() => _hold?.Dispose();
}
