using System.Runtime.InteropServices;
using System.Runtime.Versioning;

namespace LunKit.Linux;

internal enum PollResult
{
    Nothing,
    Readable,
    /// <summary>An error or a hang-up; reading says which.</summary>
    Failed,
}

/// <summary>Waiting for one descriptor and an eventfd.</summary>
[SupportedOSPlatform("linux")]
internal static unsafe class Poll
{
    /// <summary>Waits for input; the eventfd's signals are taken back.</summary>
    public static PollResult Wait(SafeHandle descriptor, EventFd wake, int timeoutMilliseconds)
    {
        using var fd = new OpenDescriptor(descriptor);
        return Wait(fd.Number, wake, timeoutMilliseconds);
    }

    /// <summary>The same for a descriptor that nobody else closes; -1 waits for the eventfd only.</summary>
    public static PollResult Wait(int descriptor, EventFd wake, int timeoutMilliseconds)
    {
        using var signals = new OpenDescriptor(wake.Handle);
        var fds = stackalloc LibC.pollfd[2];
        fds[0] = new LibC.pollfd { fd = descriptor, events = LibC.POLLIN };
        fds[1] = new LibC.pollfd { fd = signals.Number, events = LibC.POLLIN };
        // SAFETY: two entries on the stack, count two.
        if (LibC.poll(fds, 2, timeoutMilliseconds) <= 0) return PollResult.Nothing;
        if (fds[1].revents != 0) wake.Drain();
        short seen = fds[0].revents;
        return (seen & LibC.POLLIN) != 0 ? PollResult.Readable : seen != 0 ? PollResult.Failed : PollResult.Nothing;
    }
}
