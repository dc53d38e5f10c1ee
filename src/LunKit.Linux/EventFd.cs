using System.Runtime.Versioning;
using Microsoft.Win32.SafeHandles;

namespace LunKit.Linux;

/// <summary>
/// A Linux eventfd: any thread <see cref="Signal"/>s, one thread waits for it, e.g. in <see cref="StreamSocket.Wait"/>, and then drains it.
/// </summary>
[SupportedOSPlatform("linux")]
public sealed unsafe class EventFd : IDisposable
{
    private readonly SafeFileHandle _handle;

    /// <summary>Creates a non-blocking eventfd; throws <see cref="LinuxException"/> when the process has no descriptor left.</summary>
    public EventFd()
    {
        int fd = LibC.eventfd(0, LibC.EFD_CLOEXEC | LibC.EFD_NONBLOCK);
        if (fd < 0) throw new LinuxException("eventfd", LibC.Errno);
        _handle = new SafeFileHandle(fd, ownsHandle: true);
    }

    /// <summary>An eventfd that another process has made and handed over; this one takes it out of <paramref name="handle"/>.</summary>
    public EventFd(SafeFileHandle handle)
    {
        _handle = new SafeFileHandle(handle.DangerousGetHandle(), ownsHandle: true);
        handle.SetHandleAsInvalid();
    }

    /// <summary>Its descriptor, to be handed over or waited for; still this object's.</summary>
    public SafeFileHandle Handle => _handle;

    /// <summary>Wakes the waiter, now or at its next wait. Safe from any thread, also after disposal.</summary>
    public void Signal()
    {
        if (_handle.IsClosed) return;
        try
        {
            using var fd = new OpenDescriptor(_handle);
            ulong one = 1;
            // SAFETY: eight bytes of a local are written.
            LibC.write(fd.Number, (byte*)&one, 8);
        }
        catch (ObjectDisposedException)
        {
            // The waiter has gone in this moment.
        }
    }

    /// <summary>Waits for a signal, which it takes back, or the end of the time. Called by the waiter only.</summary>
    public void Wait(int timeoutMilliseconds) => Poll.Wait(-1, this, timeoutMilliseconds);

    /// <summary>Takes back all signals so far. Called by the waiter only.</summary>
    public void Drain()
    {
        using var fd = new OpenDescriptor(_handle);
        ulong value;
        // SAFETY: eight bytes are read into a local; a non-blocking descriptor never waits.
        LibC.read(fd.Number, (byte*)&value, 8);
    }

    /// <inheritdoc/>
    public void Dispose() => _handle.Dispose();
}
