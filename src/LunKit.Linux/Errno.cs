using System.Runtime.InteropServices;

namespace LunKit.Linux;

/// <summary>
/// An error number of Linux (<c>errno.h</c>), as system calls, librbd, libgfapi and TCMU's replies give them. Only those that LunKit names; the value may be
/// another one. x86-64, ARM and RISC-V agree on them.
/// </summary>
public enum Errno
{
#pragma warning disable CS1591 // errno(3) says what they mean.
    None = 0, EPERM = 1, ENOENT = 2, EINTR = 4, EIO = 5, ENXIO = 6, EAGAIN = 11, ENOMEM = 12, EACCES = 13, EBUSY = 16, ENODEV = 19, EISDIR = 21, EINVAL = 22, ENFILE = 23, EMFILE = 24,
    EFBIG = 27, ENOSPC = 28, EROFS = 30, EPIPE = 32, EDOM = 33, ENOSYS = 38, ENODATA = 61, EBADFD = 77, EILSEQ = 84, EOPNOTSUPP = 95, EADDRINUSE = 98, ECONNRESET = 104, ENOBUFS = 105,
    ENOTCONN = 107, ESHUTDOWN = 108, ETIMEDOUT = 110,
    ECONNREFUSED = 111, EHOSTUNREACH = 113, ESTALE = 116, EREMOTEIO = 121, EDQUOT = 122,
#pragma warning restore CS1591
}

/// <summary>Error numbers from results, and in words.</summary>
public static class ErrnoExtensions
{
    private const int Last = 4095; // MAX_ERRNO of the kernel

    extension(Errno errno)
    {
        /// <summary>The error of a result that is negative where something failed; what is no error number is EIO.</summary>
        public static Errno Of(long result) => result switch { >= 0 => Errno.None, < -Last => Errno.EIO, _ => (Errno)(-result) };

        /// <summary>The result that says so: 0 or negative.</summary>
        public int Result => -(int)errno;

        /// <summary>The error in the system's words, e.g. "No space left on device".</summary>
        public string Text => Marshal.GetPInvokeErrorMessage((int)errno);
    }
}
