using System.Runtime.Versioning;
using Microsoft.Win32.SafeHandles;

namespace LunKit.Linux;

/// <summary>
/// An open <c>/dev/uioN</c>: a shared region, events from the kernel (a read of four bytes), notices to it (a write of four). The kernel
/// lets one process have it open. One thread uses it.
/// </summary>
[SupportedOSPlatform("linux")]
public sealed unsafe class UioFile : IDisposable
{
    private readonly SafeFileHandle _file;
    private readonly EdgePoll _poll;

    /// <summary>Opens the device; <paramref name="wake"/> ends waits, and outlives it. Throws <see cref="LinuxException"/>, with <see cref="LinuxException.IsBusy"/> when another process has it.</summary>
    public UioFile(string path, EventFd wake)
    {
        int fd = LibC.open(path, LibC.O_RDWR | LibC.O_CLOEXEC | LibC.O_NONBLOCK, 0);
        if (fd < 0) throw new LinuxException("open", LibC.Errno);
        _file = new SafeFileHandle(fd, ownsHandle: true);
        try
        {
            _poll = new EdgePoll(_file, wake);
        }
        catch
        {
            _file.Dispose();
            throw;
        }
    }

    /// <summary>Maps the region, whose size is the device's, to the byte.</summary>
    public MappedRegion Map(int length) => new(_file, length);

    /// <summary>Tells the kernel that there is something for it.</summary>
    public void Notify()
    {
        using var fd = new OpenDescriptor(_file);
        int value = 0;
        // SAFETY: four bytes of a local are read; UIO takes exactly four.
        while (LibC.write(fd.Number, (byte*)&value, 4) < 0)
        {
            var errno = LibC.Errno;
            if (errno != Errno.EINTR) throw new LinuxException("write", errno);
        }
    }

    /// <summary>
    /// Waits for an event of the kernel, a signal of the eventfd, or the end of the time. False when the device is gone. An event that came
    /// before may end the wait at once: look whether there is something, whatever ended it.
    /// </summary>
    public bool Wait(int timeoutMilliseconds)
    {
        // The device's end is an error here; a wait that ended without an event makes sure that it is not missed.
        if (_poll.Wait(timeoutMilliseconds) == PollResult.Readable) return true;
        using var fd = new OpenDescriptor(_file);
        int count;
        // SAFETY: four bytes are read into a local; UIO gives exactly four, or EAGAIN when there was no event.
        return LibC.read(fd.Number, (byte*)&count, 4) == 4 || LibC.Errno is Errno.EAGAIN or Errno.EINTR;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _poll.Dispose();
        _file.Dispose();
    }
}
