using LunKit.Linux;
using LunKit.Tcmu.ConfigFs;
using LunKit.Tcmu.Ring;

namespace LunKit.Tcmu.Kernel;

/// <summary>A ring of the kernel: the region and the events of <c>/dev/uioN</c>.</summary>
internal sealed class UioTransport : IRingTransport
{
    private readonly UioFile _file;
    private readonly MappedRegion _region;
    private readonly UserBackstore _folder;
    private readonly EventFd _wake = new();

    /// <summary>Opens and maps the device.</summary>
    /// <exception cref="LinuxException">It cannot be opened; <see cref="LinuxException.IsBusy"/> when another handler has it.</exception>
    /// <exception cref="RingException">Its region is larger than this process can address at once.</exception>
    public UioTransport(UioDevice device, UserBackstore folder)
    {
        if (device.RegionBytes is <= 0 or > int.MaxValue)
            throw new RingException($"{device.Path} has a region of {device.RegionBytes} bytes; LunKit takes less than 2 GiB: create the device with a smaller max_data_area_mb");
        _folder = folder;
        _file = new UioFile(device.Path, _wake);
        try
        {
            _region = _file.Map((int)device.RegionBytes);
        }
        catch
        {
            _file.Dispose();
            _wake.Dispose();
            throw;
        }
    }

    public Memory<byte> Region => _region.Memory;

    public void Notify() => _file.Notify();

    public bool Wait(int timeoutMilliseconds) => _file.Wait(timeoutMilliseconds);

    public void FreeKept(ushort id) => ThreadPool.UnsafeQueueUserWorkItem(static s => Free(s.Folder, s.Id), (Folder: _folder, Id: id), preferLocal: false);

    /// <summary>Beside the data path: configfs may be locked by whoever removes the device, and waits for us.</summary>
    private static void Free(UserBackstore folder, ushort id)
    {
        try
        {
            folder.FreeKeptBuffer(id);
        }
        catch (IOException)
        {
            // A reset, or the device's end, has freed it before.
        }
    }

    public void Wake() => _wake.Signal();

    public void Dispose()
    {
        ((IDisposable)_region).Dispose();
        _file.Dispose();
        _wake.Dispose();
    }
}
