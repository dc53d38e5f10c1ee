using System.Runtime.InteropServices;

namespace LunKit.Linux;

/// <summary>An operating system error of a Linux call: the errno and the name of the call that failed.</summary>
public sealed class LinuxException : IOException
{
    /// <summary>The errno of <c>errno.h</c>, e.g. 28 for ENOSPC.</summary>
    public int Errno { get; }

    /// <summary>Creates the exception for <paramref name="call"/>, which failed with <paramref name="errno"/>.</summary>
    public LinuxException(string call, int errno)
        : base($"{call}: {Marshal.GetPInvokeErrorMessage(errno)} (errno {errno})") => Errno = errno;

    /// <summary>No space is left for the data (ENOSPC, EDQUOT or EFBIG).</summary>
    public bool IsNoSpace => Errno is 28 or 122 or 27;

    /// <summary>Somebody else has it (EBUSY).</summary>
    public bool IsBusy => Errno == 16;

    /// <summary>The medium failed (EIO, EREMOTEIO, EILSEQ or ENODATA).</summary>
    public bool IsMedium => Errno is 5 or 121 or 84 or 61;

    /// <summary>The file or device does not take writes (EROFS, EACCES or EPERM).</summary>
    public bool IsReadOnly => Errno is 30 or 13 or 1;
}
