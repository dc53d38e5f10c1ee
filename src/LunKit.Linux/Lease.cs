using System.Runtime.Versioning;
using Microsoft.Win32.SafeHandles;

namespace LunKit.Linux;

/// <summary>
/// Tells one process when another has let go of something, by itself or by ending: a pipe whose writing end is handed over. The kernel
/// closes it after the last thread of a dying process, so nothing that the process had begun goes on when the lease is over.
/// </summary>
[SupportedOSPlatform("linux")]
public sealed unsafe class Lease : IDisposable
{
    private readonly SafeFileHandle _watched;

    /// <summary>Makes a lease; hand <see cref="Held"/> over, then dispose it here.</summary>
    public Lease()
    {
        var ends = stackalloc int[2];
        // SAFETY: room for the two descriptors that the call gives.
        if (LibC.pipe2(ends, LibC.O_CLOEXEC) != 0) throw new LinuxException("pipe2", LibC.Errno);
        _watched = new SafeFileHandle(ends[0], ownsHandle: true);
        Held = new SafeFileHandle(ends[1], ownsHandle: true);
    }

    /// <summary>What the other process holds.</summary>
    public SafeFileHandle Held { get; }

    /// <summary>
    /// Waits for the end of the lease, a signal of the eventfd (which it takes back), or the end of the time. True when the lease is over.
    /// </summary>
    public bool Wait(EventFd wake, int timeoutMilliseconds) => Poll.Wait(_watched, wake, timeoutMilliseconds) != PollResult.Nothing;

    /// <inheritdoc/>
    public void Dispose()
    {
        _watched.Dispose();
        Held.Dispose();
    }
}
