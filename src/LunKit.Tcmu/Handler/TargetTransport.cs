using LunKit.Linux;
using LunKit.Tcmu.Devices;
using Microsoft.Win32.SafeHandles;

namespace LunKit.Tcmu.Handler;

/// <summary>A ring of a LunKit target, at the handler's end: shared memory and eventfds.</summary>
internal sealed class TargetTransport : IRingTransport
{
    private readonly MappedRegion _region;
    private readonly EventFd _toHandler, _toTarget;
    private readonly SafeFileHandle _memory;

    /// <summary>Maps the region. Takes the first three descriptors over, also when it throws: memory, to the handler, to the target.</summary>
    public TargetTransport(SafeFileHandle[] descriptors, int regionBytes)
    {
        _memory = descriptors[0];
        (_toHandler, _toTarget) = (new EventFd(descriptors[1]), new EventFd(descriptors[2]));
        try
        {
            // The sealed size is what it says, or touching its end would kill this process.
            if (RandomAccess.GetLength(_memory) < regionBytes) throw new IOException($"the target's memory has fewer than {regionBytes} bytes");
            _region = new MappedRegion(_memory, regionBytes);
        }
        catch
        {
            Close();
            throw;
        }
    }

    public Memory<byte> Region => _region.Memory;

    public void Notify() => _toTarget.Signal();

    // Its own wake-ups come the same way as the target's doorbells.
    public bool Wait(int timeoutMilliseconds)
    {
        _toHandler.Wait(timeoutMilliseconds);
        return true;
    }

    public void Wake() => _toHandler.Signal();

    public void Dispose()
    {
        ((IDisposable)_region).Dispose();
        Close();
    }

    private void Close()
    {
        _memory.Dispose();
        _toHandler.Dispose();
        _toTarget.Dispose();
    }
}
