using System.Runtime.Versioning;
using Microsoft.Win32.SafeHandles;

namespace LunKit.Linux;

/// <summary>
/// A Linux eventfd: any thread <see cref="Signal"/>s, one thread waits for it in <see cref="StreamSocket.Wait"/> and then drains it.
/// </summary>
[SupportedOSPlatform("linux")]
public sealed unsafe class EventFd : IDisposable
{
    private readonly Lock _gate = new();
    private int _fd;

    /// <summary>Creates a non-blocking eventfd; throws <see cref="LinuxException"/> when the process has no descriptor left.</summary>
    public EventFd()
    {
        _fd = LibC.eventfd(0, LibC.EFD_CLOEXEC | LibC.EFD_NONBLOCK);
        if (_fd < 0) throw new LinuxException("eventfd", LibC.Errno);
    }

    /// <summary>An eventfd that another process has made and handed over; this one takes it out of <paramref name="handle"/>.</summary>
    public EventFd(SafeFileHandle handle)
    {
        _fd = (int)handle.DangerousGetHandle();
        handle.SetHandleAsInvalid();
    }

    /// <summary>Its descriptor, to be handed over; closed with this object, not with the handle.</summary>
    public SafeFileHandle Handle => new(_fd, ownsHandle: false);

    internal int Descriptor => _fd;

    /// <summary>Wakes the waiter, now or at its next wait. Safe from any thread, also after disposal.</summary>
    public void Signal()
    {
        lock (_gate)
        {
            if (_fd < 0) return;
            ulong one = 1;
            // SAFETY: eight bytes of a local are written to a descriptor that the gate keeps open.
            LibC.write(_fd, (byte*)&one, 8);
        }
    }

    /// <summary>Waits for a signal, which it takes back, or the end of the time. Called by the waiter only.</summary>
    public void Wait(int timeoutMilliseconds) => Poll.Wait(-1, this, timeoutMilliseconds);

    /// <summary>Takes back all signals so far. Called by the waiter only.</summary>
    public void Drain()
    {
        ulong value;
        // SAFETY: eight bytes are read into a local; a non-blocking descriptor never waits.
        LibC.read(_fd, (byte*)&value, 8);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        lock (_gate)
        {
            if (_fd >= 0) LibC.close(_fd);
            _fd = -1;
        }
    }
}
