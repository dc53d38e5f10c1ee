using LunKit.Linux;
using LunKit.Tcmu.Devices;
using LunKit.Tcmu.Ring;

namespace LunKit.Tcmu.Kernel;

/// <summary>A ring of the kernel: the region and the events of a <c>/dev/uioN</c> that somebody else holds open.</summary>
internal sealed class UioTransport : IRingTransport
{
    private readonly UioHold _hold;
    private readonly MappedRegion _region;

    /// <summary>Maps the device.</summary>
    /// <exception cref="LinuxException">It cannot be mapped.</exception>
    /// <exception cref="RingException">Its region is larger than this process can address at once.</exception>
    public UioTransport(UioDevice device, UioHold hold)
    {
        if (device.RegionBytes is <= 0 or > int.MaxValue)
            throw new RingException($"{device.Path} has a region of {device.RegionBytes} bytes; LunKit takes less than 2 GiB: create the device with a smaller max_data_area_mb");
        _hold = hold;
        _region = hold.File.Map((int)device.RegionBytes);
    }

    public Memory<byte> Region => _region.Memory;

    public void Notify() => _hold.File.Notify();

    public bool Wait(int timeoutMilliseconds) => _hold.File.Wait(timeoutMilliseconds);

    public void Wake() => _hold.Wake.Signal();

    public void Dispose() => ((IDisposable)_region).Dispose();
}
