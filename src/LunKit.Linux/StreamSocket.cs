using System.Runtime.InteropServices;
using System.Runtime.Versioning;

namespace LunKit.Linux;

/// <summary>What a <see cref="StreamSocket.Wait"/> saw.</summary>
[Flags]
public enum SocketReadiness
{
    /// <summary>The time-out passed.</summary>
    None = 0,
    /// <summary>Bytes (or the end of the stream, or an error) can be received without waiting.</summary>
    Readable = 1,
    /// <summary>At least some bytes can be sent without waiting.</summary>
    Writable = 2,
    /// <summary>The <see cref="EventFd"/> was signalled.</summary>
    Signalled = 4,
}

/// <summary>
/// The three calls that a connection's thread makes on a connected stream socket, without the cost of <c>Socket</c>'s general
/// case. Borrows the descriptor: the owner keeps the handle open for as long as this is used, and closes it.
/// One thread calls it, and closes the descriptor; others ask <see cref="PeerHasClosed"/> only.
/// </summary>
[SupportedOSPlatform("linux")]
public sealed unsafe class StreamSocket(SafeHandle handle, EventFd wake)
{
    /// <summary>Pieces that one call sends at most.</summary>
    public const int MaxPieces = 32;

    // Its one thread is who closes it, so the number is its own in every call of that thread.
    private readonly int _fd = (int)handle.DangerousGetHandle();

    /// <summary>
    /// Receives what is there. Returns the byte count, 0 at the end of the stream, or -1 when nothing is there now.
    /// Throws <see cref="LinuxException"/> when the connection failed.
    /// </summary>
    public int Receive(Span<byte> buffer)
    {
        // SAFETY: the span is pinned for the call, which writes at most its length.
        fixed (byte* p = buffer)
        {
            while (true)
            {
                nint n = LibC.recv(_fd, p, (nuint)buffer.Length, LibC.MSG_DONTWAIT);
                if (n >= 0) return (int)n;
                int errno = LibC.Errno;
                if (errno == LibC.EAGAIN) return -1;
                if (errno != LibC.EINTR) throw new LinuxException("recv", errno);
            }
        }
    }

    /// <summary>
    /// Receives into <paramref name="first"/> and, when that is full, into <paramref name="second"/>, in one call.
    /// Same results as <see cref="Receive(Span{byte})"/>. The caller has seen that the socket is readable or does not wait.
    /// </summary>
    public int Receive(Span<byte> first, Span<byte> second)
    {
        // SAFETY: both spans are pinned for the call, which writes at most their lengths.
        fixed (byte* p = first, q = second)
        {
            var msg = stackalloc LibC.iovec[2];
            msg[0] = new LibC.iovec { iov_base = p, iov_len = (nuint)first.Length };
            msg[1] = new LibC.iovec { iov_base = q, iov_len = (nuint)second.Length };
            while (true)
            {
                nint n = LibC.readv(_fd, msg, 2);
                if (n >= 0) return (int)n;
                int errno = LibC.Errno;
                if (errno == LibC.EAGAIN) return -1;
                if (errno != LibC.EINTR) throw new LinuxException("readv", errno);
            }
        }
    }

    /// <summary>Whether the peer has closed its end (or this end is closed, or the connection failed), though bytes from before may still be here. Any thread.</summary>
    public bool PeerHasClosed
    {
        get
        {
            try
            {
                using var open = new OpenDescriptor(handle);
                var fd = new LibC.pollfd { fd = open.Number, events = LibC.POLLRDHUP };
                // SAFETY: one entry, a local.
                return LibC.poll(&fd, 1, 0) > 0;
            }
            catch (ObjectDisposedException)
            {
                return true;
            }
        }
    }

    /// <summary>Bytes that can be received now.</summary>
    public int Available
    {
        get
        {
            int bytes = 0;
            // SAFETY: the call writes one int.
            return LibC.ioctl(_fd, LibC.FIONREAD, &bytes) == 0 ? bytes : 0;
        }
    }

    /// <summary>Sends what fits now. Returns the byte count, or -1 when nothing fits; throws when the connection failed.</summary>
    /// <param name="buffer">The bytes.</param>
    /// <param name="more">The caller sends more at once: a packet may wait for it.</param>
    public int Send(ReadOnlySpan<byte> buffer, bool more = false)
    {
        int flags = LibC.MSG_DONTWAIT | LibC.MSG_NOSIGNAL | (more ? LibC.MSG_MORE : 0);
        // SAFETY: the span is pinned for the call, which reads at most its length.
        fixed (byte* p = buffer)
        {
            while (true)
            {
                nint n = LibC.send(_fd, p, (nuint)buffer.Length, flags);
                if (n >= 0) return (int)n;
                int errno = LibC.Errno;
                if (errno == LibC.EAGAIN) return -1;
                if (errno != LibC.EINTR) throw new LinuxException("send", errno);
            }
        }
    }

    /// <summary>Sends what fits now of several pieces, at most <see cref="MaxPieces"/>, in one call. Same results as the other.</summary>
    public int Send(ReadOnlySpan<ReadOnlyMemory<byte>> pieces, bool more)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(pieces.Length, MaxPieces);
        int flags = LibC.MSG_DONTWAIT | LibC.MSG_NOSIGNAL | (more ? LibC.MSG_MORE : 0);
        var vectors = stackalloc LibC.iovec[MaxPieces];
        var pins = new Pins();
        try
        {
            for (int i = 0; i < pieces.Length; i++)
            {
                pins[i] = pieces[i].Pin();
                vectors[i] = new LibC.iovec { iov_base = pins[i].Pointer, iov_len = (nuint)pieces[i].Length };
            }
            var message = new LibC.msghdr { msg_iov = vectors, msg_iovlen = (nuint)pieces.Length };
            while (true)
            {
                // SAFETY: every vector is pinned until the finally block, with its own length; the call reads only.
                nint n = LibC.sendmsg(_fd, &message, flags);
                if (n >= 0) return (int)n;
                int errno = LibC.Errno;
                if (errno == LibC.EAGAIN) return -1;
                if (errno != LibC.EINTR) throw new LinuxException("sendmsg", errno);
            }
        }
        finally
        {
            for (int i = 0; i < pieces.Length; i++) pins[i].Dispose();
        }
    }

    [System.Runtime.CompilerServices.InlineArray(MaxPieces)]
    private struct Pins { private System.Buffers.MemoryHandle _element; }

    /// <summary>
    /// Waits until the socket is readable (if <paramref name="read"/>), writable (if <paramref name="write"/>) or the eventfd is
    /// signalled, at most <paramref name="timeoutMilliseconds"/> (-1: no limit). A signal is taken back before this returns.
    /// </summary>
    public SocketReadiness Wait(bool read, bool write, int timeoutMilliseconds)
    {
        using var signals = new OpenDescriptor(wake.Handle);
        var fds = stackalloc LibC.pollfd[2];
        // A poll entry with a negative descriptor is ignored, which keeps a hung-up socket from spinning a waiter that wants neither.
        fds[0] = new LibC.pollfd
        {
            fd = read || write ? _fd : -1,
            events = (short)((read ? LibC.POLLIN : 0) | (write ? LibC.POLLOUT : 0)),
        };
        fds[1] = new LibC.pollfd { fd = signals.Number, events = LibC.POLLIN };
        // SAFETY: two entries on the stack, count two.
        int n = LibC.poll(fds, 2, timeoutMilliseconds);
        if (n <= 0) return SocketReadiness.None;
        var result = SocketReadiness.None;
        short seen = fds[0].revents;
        if (read && (seen & (LibC.POLLIN | LibC.POLLHUP | LibC.POLLERR)) != 0) result |= SocketReadiness.Readable;
        if (write && (seen & (LibC.POLLOUT | LibC.POLLHUP | LibC.POLLERR)) != 0) result |= SocketReadiness.Writable;
        if (fds[1].revents != 0)
        {
            wake.Drain();
            result |= SocketReadiness.Signalled;
        }
        return result;
    }
}
