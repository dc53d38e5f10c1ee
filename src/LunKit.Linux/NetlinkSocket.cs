using System.Runtime.InteropServices;
using System.Runtime.Versioning;

namespace LunKit.Linux;

/// <summary>
/// A generic netlink socket: requests to the kernel, its answers, and what it tells to groups that were joined. Takes messages of the
/// kernel only. Owns its descriptor. One thread sends and receives.
/// </summary>
[SupportedOSPlatform("linux")]
public sealed unsafe class NetlinkSocket : IDisposable
{
    // Events of thousands of devices at once; what exceeds it is reported as lost.
    private const int ReceiveBufferBytes = 4 << 20;

    private readonly SafeSocket _socket;

    /// <summary>Opens and binds the socket; throws <see cref="LinuxException"/> when this kernel or container has none.</summary>
    /// <param name="port">Its number, which must be free (else EADDRINUSE); 0: the kernel chooses.</param>
    public NetlinkSocket(uint port = 0)
    {
        int fd = LibC.socket(LibC.AF_NETLINK, LibC.SOCK_RAW | LibC.O_CLOEXEC, LibC.NETLINK_GENERIC);
        if (fd < 0) throw new LinuxException("socket", LibC.Errno);
        _socket = new SafeSocket(fd);
        var address = new LibC.sockaddr_nl { nl_family = LibC.AF_NETLINK, nl_pid = port };
        uint length = (uint)sizeof(LibC.sockaddr_nl);
        // SAFETY: the address is a local of its own size, and the kernel writes no more than that.
        if (LibC.bind(fd, &address, sizeof(LibC.sockaddr_nl)) != 0 || LibC.getsockname(fd, &address, &length) != 0)
        {
            var errno = LibC.Errno;
            _socket.Dispose();
            throw new LinuxException("bind", errno);
        }
        Port = address.nl_pid;
        int bytes = ReceiveBufferBytes;
        // Without privilege the limit of the system holds, which is no error.
        if (LibC.setsockopt(fd, LibC.SOL_SOCKET, LibC.SO_RCVBUFFORCE, &bytes, 4) != 0)
            LibC.setsockopt(fd, LibC.SOL_SOCKET, LibC.SO_RCVBUF, &bytes, 4);
    }

    /// <summary>Its number, as <c>/proc/net/netlink</c> shows it.</summary>
    public uint Port { get; }

    /// <summary>Joins a multicast group.</summary>
    public void Join(uint group)
    {
        using var fd = new OpenDescriptor(_socket);
        // SAFETY: four bytes of a local are read.
        if (LibC.setsockopt(fd.Number, LibC.SOL_NETLINK, LibC.NETLINK_ADD_MEMBERSHIP, &group, 4) != 0) throw new LinuxException("setsockopt", LibC.Errno);
    }

    /// <summary>Sends one message to the kernel.</summary>
    public void Send(ReadOnlySpan<byte> message)
    {
        using var fd = new OpenDescriptor(_socket);
        var kernel = new LibC.sockaddr_nl { nl_family = LibC.AF_NETLINK };
        // SAFETY: the span is pinned for the call, which reads its length; the address is a local.
        fixed (byte* p = message)
        {
            while (LibC.sendto(fd.Number, p, (nuint)message.Length, 0, &kernel, sizeof(LibC.sockaddr_nl)) < 0)
            {
                var errno = LibC.Errno;
                if (errno != Errno.EINTR) throw new LinuxException("sendto", errno);
            }
        }
    }

    /// <summary>
    /// Receives what is there: the byte count of one or more whole messages, or -1 when nothing is there now. <paramref name="lost"/>:
    /// the kernel had more to tell than the socket could hold, and dropped it.
    /// </summary>
    public int Receive(Span<byte> buffer, out bool lost)
    {
        lost = false;
        using var fd = new OpenDescriptor(_socket);
        fixed (byte* p = buffer)
        {
            while (true)
            {
                LibC.sockaddr_nl from = default;
                uint length = (uint)sizeof(LibC.sockaddr_nl);
                // SAFETY: the span is pinned and the call writes at most its length; the address and its length are locals.
                nint n = LibC.recvfrom(fd.Number, p, (nuint)buffer.Length, LibC.MSG_DONTWAIT, &from, &length);
                // Only the kernel has port 0; what another process sends is none of it.
                if (n >= 0 && from.nl_pid != 0) continue;
                if (n >= 0) return (int)n;
                var errno = LibC.Errno;
                if (errno == Errno.EINTR) continue;
                if (errno == Errno.EAGAIN) return -1;
                if (errno != Errno.ENOBUFS) throw new LinuxException("recvfrom", errno);
                lost = true;
            }
        }
    }

    /// <summary>Waits until something can be received (true), or the eventfd is signalled or the time is over (false).</summary>
    public bool Wait(EventFd wake, int timeoutMilliseconds) => Poll.Wait(_socket, wake, timeoutMilliseconds) != PollResult.Nothing;

    /// <inheritdoc/>
    public void Dispose() => _socket.Dispose();

    private sealed class SafeSocket : SafeHandle
    {
        public SafeSocket(int fd) : base(-1, ownsHandle: true) => SetHandle(fd);
        public override bool IsInvalid => handle == -1;
        protected override bool ReleaseHandle() => LibC.close((int)handle) == 0;
    }
}
