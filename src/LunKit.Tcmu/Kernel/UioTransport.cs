using LunKit.Linux;
using LunKit.Tcmu.Ring;

namespace LunKit.Tcmu.Kernel;

/// <summary>A ring of the kernel: the region and the events of <c>/dev/uioN</c>.</summary>
internal sealed class UioTransport : IRingTransport
{
    private readonly UioFile _file;
    private readonly MappedRegion _region;
    private readonly EventFd _wake = new();

    /// <summary>Opens and maps the device.</summary>
    /// <exception cref="LinuxException">It cannot be opened; <see cref="LinuxException.IsBusy"/> when another handler has it.</exception>
    /// <exception cref="RingException">Its region is larger than this process can address at once.</exception>
    public UioTransport(UioDevice device)
    {
        if (device.RegionBytes is <= 0 or > int.MaxValue)
            throw new RingException($"{device.Path} has a region of {device.RegionBytes} bytes; LunKit takes less than 2 GiB: create the device with a smaller max_data_area_mb");
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

    public void Wake() => _wake.Signal();

    public void Dispose()
    {
        ((IDisposable)_region).Dispose();
        _file.Dispose();
        _wake.Dispose();
    }
}
