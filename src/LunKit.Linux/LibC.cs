using System.Runtime.InteropServices;
using System.Runtime.Versioning;

namespace LunKit.Linux;

/// <summary>
/// Raw libc calls, C names and C constants. Internal: the public surface of this project is the wrappers beside it, which own
/// the handles, check every return value and turn errno into exceptions or values.
/// </summary>
[SupportedOSPlatform("linux")]
internal static unsafe partial class LibC
{
    public const short POLLIN = 1, POLLOUT = 4, POLLERR = 8, POLLHUP = 16, POLLRDHUP = 0x2000;
    public const int MSG_DONTWAIT = 0x40, MSG_NOSIGNAL = 0x4000, MSG_MORE = 0x8000;
    public const nuint FIONREAD = 0x541B;
    public const int EFD_CLOEXEC = 0x80000, EFD_NONBLOCK = 0x800;
    public const int FALLOC_FL_KEEP_SIZE = 1, FALLOC_FL_PUNCH_HOLE = 2, FALLOC_FL_ZERO_RANGE = 16;
    public const int SEEK_DATA = 3, SEEK_HOLE = 4;
    public const int RWF_NOWAIT = 8;
    public const int O_RDONLY = 0, O_EXCL = 0x80, O_RDWR = 2, O_NONBLOCK = 0x800, O_CLOEXEC = 0x80000;
    public const int EPOLL_CTL_ADD = 1;
    public const uint EPOLLIN = 1, EPOLLERR = 8, EPOLLHUP = 16, EPOLLET = 1u << 31;
    public const int PROT_READ = 1, PROT_WRITE = 2, MAP_SHARED = 1;
    public const int AF_NETLINK = 16, SOCK_RAW = 3, NETLINK_GENERIC = 16, SOL_NETLINK = 270, NETLINK_ADD_MEMBERSHIP = 1;
    public const int SOL_SOCKET = 1, SO_RCVBUF = 8, SO_RCVBUFFORCE = 33, SO_PEERCRED = 17, SCM_RIGHTS = 1, MSG_CMSG_CLOEXEC = 0x40000000;
    public const uint MFD_CLOEXEC = 1, MFD_ALLOW_SEALING = 2;
    public const int F_ADD_SEALS = 1033, F_SEAL_SEAL = 1, F_SEAL_SHRINK = 2, F_SEAL_GROW = 4;

    // Two flags change places on ARM.
    private static readonly bool s_isArm = RuntimeInformation.ProcessArchitecture is Architecture.Arm or Architecture.Arm64;
    public static readonly int O_DIRECT = s_isArm ? 0x10000 : 0x4000, O_DIRECTORY = s_isArm ? 0x4000 : 0x10000;
    public const int LOCK_SH = 1, LOCK_EX = 2, LOCK_NB = 4;

    [StructLayout(LayoutKind.Sequential)]
    public struct pollfd { public int fd; public short events; public short revents; }

    [StructLayout(LayoutKind.Sequential)]
    public struct iovec { public void* iov_base; public nuint iov_len; }

    [StructLayout(LayoutKind.Sequential)]
    public struct msghdr
    {
        public void* msg_name;
        public uint msg_namelen;
        public iovec* msg_iov;
        public nuint msg_iovlen;
        public void* msg_control;
        public nuint msg_controllen;
        public int msg_flags;
    }

    [StructLayout(LayoutKind.Sequential)]
    public struct cmsghdr { public nuint cmsg_len; public int cmsg_level; public int cmsg_type; }

    // Of 64-bit processes; longer than any C library has it.
    [StructLayout(LayoutKind.Sequential, Size = 256)]
    public struct statfs { public long f_type, f_bsize; public ulong f_blocks, f_bfree, f_bavail; }

    // The same on every architecture; the head of 256 bytes.
    [StructLayout(LayoutKind.Sequential, Size = 256)]
    public struct statx_head { public uint stx_mask, stx_blksize; public ulong stx_attributes; public uint stx_nlink, stx_uid, stx_gid; public ushort stx_mode; }

    public const int AT_FDCWD = -100, AT_SYMLINK_NOFOLLOW = 0x100, AT_EMPTY_PATH = 0x1000;
    public const uint STATX_TYPE = 1, STATX_NLINK = 4;
    public const ushort S_IFMT = 0xF000, S_IFSOCK = 0xC000, S_IFREG = 0x8000, S_IFBLK = 0x6000, S_IFDIR = 0x4000;

    public const long TMPFS_MAGIC = 0x01021994, RAMFS_MAGIC = 0x858458F6;

    [StructLayout(LayoutKind.Sequential)]
    public struct ucred { public int pid; public uint uid; public uint gid; }

    [StructLayout(LayoutKind.Sequential)]
    public struct sockaddr_nl { public ushort nl_family; public ushort nl_pad; public uint nl_pid; public uint nl_groups; }

    [LibraryImport("libc", SetLastError = true)] public static partial int socket(int family, int type, int protocol);
    [LibraryImport("libc", SetLastError = true)] public static partial int bind(int fd, sockaddr_nl* address, int length);
    [LibraryImport("libc", SetLastError = true)] public static partial int getsockname(int fd, sockaddr_nl* address, uint* length);
    [LibraryImport("libc", SetLastError = true)] public static partial int setsockopt(int fd, int level, int name, void* value, uint length);
    [LibraryImport("libc", SetLastError = true)]
    public static partial nint sendto(int fd, byte* buf, nuint len, int flags, sockaddr_nl* address, int length);
    [LibraryImport("libc", SetLastError = true)]
    public static partial nint recvfrom(int fd, byte* buf, nuint len, int flags, sockaddr_nl* address, uint* length);
    [LibraryImport("libc", SetLastError = true)] public static partial void* mmap(void* at, nuint length, int protection, int flags, int fd, long offset);
    [LibraryImport("libc", SetLastError = true)] public static partial int munmap(void* at, nuint length);
    [LibraryImport("libc", SetLastError = true)] public static partial nint recv(int fd, byte* buf, nuint len, int flags);
    [LibraryImport("libc", SetLastError = true)] public static partial nint send(int fd, byte* buf, nuint len, int flags);
    [LibraryImport("libc", SetLastError = true)] public static partial nint readv(int fd, iovec* iov, int count);
    [LibraryImport("libc", SetLastError = true)] public static partial int ioctl(int fd, nuint request, int* value);
    [LibraryImport("libc", SetLastError = true)] public static partial int poll(pollfd* fds, nuint count, int timeout);
    [LibraryImport("libc", SetLastError = true)] public static partial nint pread(int fd, byte* buffer, nuint count, long offset);
    [LibraryImport("libc", SetLastError = true)] public static partial nint pwrite(int fd, byte* buffer, nuint count, long offset);
    [LibraryImport("libc", SetLastError = true)] public static partial int epoll_create1(int flags);
    [LibraryImport("libc", SetLastError = true)] public static partial int epoll_ctl(int epoll, int operation, int fd, byte* change);
    [LibraryImport("libc", SetLastError = true)] public static partial int epoll_wait(int epoll, byte* events, int count, int timeout);
    [LibraryImport("libc", SetLastError = true)] public static partial int eventfd(uint initval, int flags);
    [LibraryImport("libc", SetLastError = true)] public static partial nint read(int fd, byte* buf, nuint len);
    [LibraryImport("libc", SetLastError = true)] public static partial nint write(int fd, byte* buf, nuint len);
    [LibraryImport("libc", SetLastError = true)] public static partial int close(int fd);
    [LibraryImport("libc", SetLastError = true)] public static partial nint preadv(int fd, iovec* iov, int count, long offset);
    [LibraryImport("libc", SetLastError = true)] public static partial nint pwritev(int fd, iovec* iov, int count, long offset);
    [LibraryImport("libc", SetLastError = true)] public static partial nint preadv2(int fd, iovec* iov, int count, long offset, int flags);
    [LibraryImport("libc", SetLastError = true)] public static partial int fdatasync(int fd);
    [LibraryImport("libc", SetLastError = true)] public static partial int fsync(int fd);
    [LibraryImport("libc", SetLastError = true)] public static partial int fallocate(int fd, int mode, long offset, long len);
    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int statx(int directory, string path, int flags, uint mask, statx_head* facts);
    [LibraryImport("libc", SetLastError = true)] public static partial int fstatfs(int fd, statfs* facts);
    [LibraryImport("libc", SetLastError = true)] public static partial long lseek(int fd, long offset, int whence);
    [LibraryImport("libc", SetLastError = true)] public static partial nint sendmsg(int fd, msghdr* message, int flags);
    [LibraryImport("libc", SetLastError = true)] public static partial nint recvmsg(int fd, msghdr* message, int flags);
    [LibraryImport("libc", SetLastError = true)] public static partial int getsockopt(int fd, int level, int name, void* value, uint* length);
    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)] public static partial int memfd_create(string name, uint flags);
    [LibraryImport("libc", SetLastError = true)] public static partial int ftruncate(int fd, long length);
    [LibraryImport("libc", SetLastError = true)] public static partial int fcntl(int fd, int command, int argument);
    [LibraryImport("libc", SetLastError = true)] public static partial int pipe2(int* ends, int flags);
    [LibraryImport("libc")] public static partial uint geteuid();
    [LibraryImport("libc", SetLastError = true)] public static partial int kill(int pid, int signal);
    [LibraryImport("libc", SetLastError = true)] public static partial nint signal(int signal, nint handler);
    [LibraryImport("libc", SetLastError = true)] public static partial int flock(int fd, int operation);
    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int open(string path, int flags, uint mode);

    public static Errno Errno => (Errno)Marshal.GetLastPInvokeError();
}
