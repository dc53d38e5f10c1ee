using System.Runtime.InteropServices;
using System.Runtime.Versioning;
using Microsoft.Win32.SafeHandles;

namespace LunKit.Linux;

/// <summary>
/// Waits for events of one descriptor or of an eventfd, each told once (edge-triggered epoll): neither needs to be read to be quiet
/// again, which saves a system call per wait. One thread waits.
/// </summary>
[SupportedOSPlatform("linux")]
internal sealed unsafe class EdgePoll : IDisposable
{
    // struct epoll_event is packed on x86-64 and nowhere else.
    private static readonly int s_size = RuntimeInformation.ProcessArchitecture == Architecture.X64 ? 12 : 16;

    private readonly SafeFileHandle _epoll;

    public EdgePoll(SafeFileHandle descriptor, EventFd wake)
    {
        int fd = LibC.epoll_create1(LibC.O_CLOEXEC);
        if (fd < 0) throw new LinuxException("epoll_create1", LibC.Errno);
        _epoll = new SafeFileHandle(fd, ownsHandle: true);
        Add(descriptor, 0);
        Add(wake.Handle, 1);
    }

    private void Add(SafeFileHandle descriptor, ulong data)
    {
        using OpenDescriptor poll = new(_epoll), watched = new(descriptor);
        var change = stackalloc byte[16];
        *(uint*)change = LibC.EPOLLIN | LibC.EPOLLET;
        *(ulong*)(change + s_size - 8) = data;
        // SAFETY: a whole epoll_event on the stack, of either layout.
        if (LibC.epoll_ctl(poll.Number, LibC.EPOLL_CTL_ADD, watched.Number, change) == 0) return;
        var errno = LibC.Errno;
        _epoll.Dispose();
        throw new LinuxException("epoll_ctl", errno);
    }

    /// <summary>Waits until one of them has an event, or the time is over.</summary>
    public PollResult Wait(int timeoutMilliseconds)
    {
        using var poll = new OpenDescriptor(_epoll);
        var events = stackalloc byte[32];
        // SAFETY: room for two events on the stack, count two.
        int count = LibC.epoll_wait(poll.Number, events, 2, timeoutMilliseconds);
        var result = PollResult.Nothing;
        for (int i = 0; i < count; i++)
        {
            byte* one = events + i * s_size;
            if ((*(uint*)one & (LibC.EPOLLERR | LibC.EPOLLHUP)) != 0) return PollResult.Failed;
            if (*(ulong*)(one + s_size - 8) == 0) result = PollResult.Readable;
        }
        return result;
    }

    public void Dispose() => _epoll.Dispose();
}
