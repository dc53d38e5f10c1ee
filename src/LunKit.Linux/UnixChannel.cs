using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Runtime.Versioning;
using Microsoft.Win32.SafeHandles;

namespace LunKit.Linux;

/// <summary>The process at the other end of a channel, as it was when it connected.</summary>
/// <param name="ProcessId">Its pid.</param>
/// <param name="UserId">Its effective user.</param>
public readonly record struct PeerCredentials(int ProcessId, uint UserId);

/// <summary>
/// Messages between processes of one machine, whole and in order, with descriptors attached (a Unix socket, SOCK_SEQPACKET, SCM_RIGHTS).
/// Sending is thread safe; one thread receives.
/// </summary>
[SupportedOSPlatform("linux")]
public sealed unsafe class UnixChannel : IDisposable
{
    /// <summary>Descriptors in one message at most.</summary>
    public const int MaxDescriptors = 8;

    private readonly Socket _socket;
    private readonly Lock _sending = new();

    // Of a listener at a path: whoever holds it may delete what lies there and listen. .NET deletes the path when the socket is closed.
    private readonly SafeFileHandle? _place;

    private UnixChannel(Socket socket, SafeFileHandle? place = null) => (_socket, _place) = (socket, place);

    /// <summary>Suffix of the file whose lock says who listens at a path; it stays, for a lock on a file that is deleted keeps nobody out.</summary>
    public const string LockSuffix = ".lock";

    private const int BindTries = 10, BindPauseMilliseconds = 50;

    /// <summary>
    /// Listens at a path, or with '@' before it in the abstract namespace. The socket that a dead process left is taken over; anything else that
    /// lies there stays. Throws <see cref="SocketException"/> when it is in use or not allowed, <see cref="IOException"/> or
    /// <see cref="UnauthorizedAccessException"/> when the folder does not take files.
    /// </summary>
    /// <param name="path">Where.</param>
    /// <param name="mode">Who may connect: mode of the socket's file.</param>
    public static UnixChannel Listen(string path, UnixFileMode mode)
    {
        bool isAbstract = path.StartsWith('@');
        // Two that start at once would each delete the other's socket for a dead one.
        var place = isAbstract ? null : Occupy(path);
        try
        {
            if (!isAbstract && IsSocket(path) && !CanConnect(path)) File.Delete(path);
            var socket = new Socket(AddressFamily.Unix, SocketType.Seqpacket, ProtocolType.Unspecified);
            try
            {
                Bind(socket, path);
                if (!isAbstract) File.SetUnixFileMode(path, mode);
                socket.Listen(64);
                socket.Blocking = false;
                return new UnixChannel(socket, place);
            }
            catch
            {
                socket.Dispose();
                throw;
            }
        }
        catch
        {
            place?.Dispose();
            throw;
        }
    }

    /// <summary>A process that is being started has this one's descriptors until its program runs, and so an abstract name that was closed a moment ago.</summary>
    private static void Bind(Socket socket, string path)
    {
        for (int tries = 0; ; tries++)
        {
            try
            {
                socket.Bind(EndPoint(path));
                return;
            }
            catch (SocketException e) when (e.SocketErrorCode == SocketError.AddressAlreadyInUse && path.StartsWith('@') && tries < BindTries)
            {
                using var nobody = new EventFd();
                nobody.Wait(BindPauseMilliseconds);
            }
        }
    }

    private static SafeFileHandle Occupy(string path)
    {
        try
        {
            return File.OpenHandle(path + LockSuffix, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        }
        catch (IOException e) when (e.HResult == (int)Errno.EAGAIN)
        {
            throw new SocketException((int)SocketError.AddressAlreadyInUse);
        }
    }

    private static bool IsSocket(string path)
    {
        LibC.statx_head facts;
        // SAFETY: the structure is a local, and as long as the kernel's.
        return LibC.statx(LibC.AT_FDCWD, path, LibC.AT_SYMLINK_NOFOLLOW, LibC.STATX_TYPE, &facts) == 0 && (facts.stx_mode & LibC.S_IFMT) == LibC.S_IFSOCK;
    }

    private static bool CanConnect(string path)
    {
        try
        {
            Connect(path).Dispose();
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }

    /// <summary>Connects to a listener. Throws <see cref="SocketException"/> when there is none.</summary>
    public static UnixChannel Connect(string path)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Seqpacket, ProtocolType.Unspecified);
        try
        {
            socket.Connect(EndPoint(path));
            socket.Blocking = false;
            return new UnixChannel(socket);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    private static UnixDomainSocketEndPoint EndPoint(string path) => new(path.StartsWith('@') ? '\0' + path[1..] : path);

    /// <summary>The next one who has connected to this listener, or null.</summary>
    public UnixChannel? Accept()
    {
        try
        {
            var socket = _socket.Accept();
            socket.Blocking = false;
            return new UnixChannel(socket);
        }
        catch (SocketException e) when (e.SocketErrorCode is SocketError.WouldBlock or SocketError.ConnectionAborted or SocketError.Interrupted)
        {
            return null;
        }
    }

    /// <summary>Who is at the other end.</summary>
    public PeerCredentials Peer
    {
        get
        {
            using var fd = new OpenDescriptor(_socket.SafeHandle);
            LibC.ucred peer;
            uint length = (uint)sizeof(LibC.ucred);
            // SAFETY: the structure is a local of the length that is passed.
            if (LibC.getsockopt(fd.Number, LibC.SOL_SOCKET, LibC.SO_PEERCRED, &peer, &length) != 0) throw new LinuxException("getsockopt", LibC.Errno);
            return new PeerCredentials(peer.pid, peer.uid);
        }
    }

    /// <summary>Waits for a message (or for someone to accept), a signal of the eventfd, or the end of the time; false for the last two.</summary>
    public bool Wait(EventFd wake, int timeoutMilliseconds) => Poll.Wait(_socket.SafeHandle, wake, timeoutMilliseconds) != PollResult.Nothing;

    /// <summary>Sends a message with copies of descriptors. Throws <see cref="LinuxException"/> when the peer is gone, or does not read,
    /// <see cref="ObjectDisposedException"/> when this end, or a descriptor, is closed.</summary>
    public void Send(ReadOnlySpan<byte> message, params ReadOnlySpan<SafeHandle> descriptors)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(descriptors.Length, MaxDescriptors);
        var control = stackalloc byte[ControlBytes];
        var header = (LibC.cmsghdr*)control;
        header->cmsg_len = (nuint)(sizeof(LibC.cmsghdr) + 4 * descriptors.Length);
        header->cmsg_level = LibC.SOL_SOCKET;
        header->cmsg_type = LibC.SCM_RIGHTS;
        int held = 0;
        try
        {
            using var fd = new OpenDescriptor(_socket.SafeHandle);
            for (bool taken = false; held < descriptors.Length; held++, taken = false)
            {
                descriptors[held].DangerousAddRef(ref taken);
                ((int*)(control + sizeof(LibC.cmsghdr)))[held] = (int)descriptors[held].DangerousGetHandle();
            }
            // SAFETY: the message is pinned for the call; the control data is on the stack and as long as its header says.
            fixed (byte* bytes = message)
            {
                var vector = new LibC.iovec { iov_base = bytes, iov_len = (nuint)message.Length };
                var packet = new LibC.msghdr { msg_iov = &vector, msg_iovlen = 1 };
                if (held > 0)
                {
                    packet.msg_control = control;
                    packet.msg_controllen = (nuint)(sizeof(LibC.cmsghdr) + (4 * held + 7 & ~7));
                }
                lock (_sending)
                {
                    if (LibC.sendmsg(fd.Number, &packet, LibC.MSG_NOSIGNAL | LibC.MSG_DONTWAIT) < 0) throw new LinuxException("sendmsg", LibC.Errno);
                }
            }
        }
        finally
        {
            foreach (var descriptor in descriptors[..held]) descriptor.DangerousRelease();
        }
    }

    private static int ControlBytes => sizeof(LibC.cmsghdr) + 4 * MaxDescriptors;

    /// <summary>Receives a message: its length, 0 when the peer has closed, -1 when there is none now.</summary>
    /// <param name="buffer">Room; what does not fit is lost.</param>
    /// <param name="descriptors">Descriptors that came with it, the caller's now.</param>
    public int Receive(Span<byte> buffer, out SafeFileHandle[] descriptors)
    {
        descriptors = [];
        var control = stackalloc byte[ControlBytes];
        // SAFETY: the buffer is pinned for the call, which writes at most its length; the control data is on the stack, of the length that is passed.
        fixed (byte* bytes = buffer)
        {
            var vector = new LibC.iovec { iov_base = bytes, iov_len = (nuint)buffer.Length };
            var packet = new LibC.msghdr { msg_iov = &vector, msg_iovlen = 1, msg_control = control, msg_controllen = (nuint)ControlBytes };
            using var fd = new OpenDescriptor(_socket.SafeHandle);
            nint length = LibC.recvmsg(fd.Number, &packet, LibC.MSG_CMSG_CLOEXEC | LibC.MSG_DONTWAIT);
            if (length < 0)
            {
                var errno = LibC.Errno;
                if (errno is Errno.EAGAIN or Errno.EINTR) return -1;
                if (errno == Errno.ECONNRESET) return 0;
                throw new LinuxException("recvmsg", errno);
            }
            var header = (LibC.cmsghdr*)control;
            if (packet.msg_controllen >= (nuint)sizeof(LibC.cmsghdr) && header->cmsg_level == LibC.SOL_SOCKET && header->cmsg_type == LibC.SCM_RIGHTS)
            {
                int count = (int)(header->cmsg_len - (nuint)sizeof(LibC.cmsghdr)) / 4;
                descriptors = new SafeFileHandle[count];
                for (int i = 0; i < count; i++) descriptors[i] = new SafeFileHandle(((int*)(control + sizeof(LibC.cmsghdr)))[i], ownsHandle: true);
            }
            return (int)length;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _socket.Dispose();
        // Last: only then may another one listen there.
        _place?.Dispose();
    }
}
