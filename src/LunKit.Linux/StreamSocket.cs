using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Runtime.Versioning;

namespace LunKit.Linux;

/// <summary>
/// A connected stream socket with an eventfd beside it, without the cost of <c>Socket</c>'s general case. Its one thread also closes
/// it, so the descriptor's number is its own in every call of that thread.
/// </summary>
[SupportedOSPlatform("linux")]
public sealed unsafe class StreamSocket : IByteStream
{
    private readonly Socket _socket;
    private readonly SafeHandle _handle;
    private readonly EventFd _wake;
    private readonly int _fd;

    /// <summary>
    /// Takes over a connected, non-blocking socket. Throws <see cref="LinuxException"/> when the process has no descriptor left; the
    /// socket is the caller's then.
    /// </summary>
    public StreamSocket(Socket socket)
    {
        _wake = new EventFd();
        _socket = socket;
        _handle = socket.SafeHandle;
        _fd = (int)_handle.DangerousGetHandle();
    }

    /// <inheritdoc/>
    public int Receive(Span<byte> buffer)
    {
        // SAFETY: the span is pinned for the call, which writes at most its length.
        fixed (byte* p = buffer)
        {
            while (true)
            {
                nint n = LibC.recv(_fd, p, (nuint)buffer.Length, LibC.MSG_DONTWAIT);
                if (n >= 0) return (int)n;
                var errno = LibC.Errno;
                if (errno == Errno.EAGAIN) return -1;
                if (errno != Errno.EINTR) throw new LinuxException("recv", errno);
            }
        }
    }

    /// <inheritdoc/>
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
                var errno = LibC.Errno;
                if (errno == Errno.EAGAIN) return -1;
                if (errno != Errno.EINTR) throw new LinuxException("readv", errno);
            }
        }
    }

    /// <inheritdoc/>
    public bool PeerHasClosed
    {
        get
        {
            try
            {
                using var open = new OpenDescriptor(_handle);
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

    /// <inheritdoc/>
    public int Available
    {
        get
        {
            int bytes = 0;
            // SAFETY: the call writes one int.
            return LibC.ioctl(_fd, LibC.FIONREAD, &bytes) == 0 ? bytes : 0;
        }
    }

    /// <inheritdoc/>
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
                var errno = LibC.Errno;
                if (errno == Errno.EAGAIN) return -1;
                if (errno != Errno.EINTR) throw new LinuxException("send", errno);
            }
        }
    }

    /// <inheritdoc/>
    public int Send(ReadOnlySpan<ReadOnlyMemory<byte>> pieces, bool more)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(pieces.Length, IByteStream.MaxPieces);
        int flags = LibC.MSG_DONTWAIT | LibC.MSG_NOSIGNAL | (more ? LibC.MSG_MORE : 0);
        var vectors = stackalloc LibC.iovec[IByteStream.MaxPieces];
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
                var errno = LibC.Errno;
                if (errno == Errno.EAGAIN) return -1;
                if (errno != Errno.EINTR) throw new LinuxException("sendmsg", errno);
            }
        }
        finally
        {
            for (int i = 0; i < pieces.Length; i++) pins[i].Dispose();
        }
    }

    [System.Runtime.CompilerServices.InlineArray(IByteStream.MaxPieces)]
    private struct Pins { private System.Buffers.MemoryHandle _element; }

    /// <inheritdoc/>
    public StreamReadiness Wait(bool read, bool write, int timeoutMilliseconds)
    {
        using var signals = new OpenDescriptor(_wake.Handle);
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
        if (n <= 0) return StreamReadiness.None;
        var result = StreamReadiness.None;
        short seen = fds[0].revents;
        if (read && (seen & (LibC.POLLIN | LibC.POLLHUP | LibC.POLLERR)) != 0) result |= StreamReadiness.Readable;
        if (write && (seen & (LibC.POLLOUT | LibC.POLLHUP | LibC.POLLERR)) != 0) result |= StreamReadiness.Writable;
        if (fds[1].revents != 0)
        {
            _wake.Drain();
            result |= StreamReadiness.Signalled;
        }
        return result;
    }

    /// <inheritdoc/>
    public void Signal() => _wake.Signal();

    /// <inheritdoc/>
    public void ShutdownSend()
    {
        try
        {
            _socket.Shutdown(SocketShutdown.Send);
        }
        catch (SocketException)
        {
            // The peer was faster.
        }
    }

    /// <inheritdoc/>
    public void Close() => _socket.Dispose();

    /// <inheritdoc/>
    public void Dispose()
    {
        _socket.Dispose();
        _wake.Dispose();
    }
}
