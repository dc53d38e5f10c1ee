namespace LunKit.Linux;

/// <summary>An operating system error of a Linux call: the errno and the name of the call that failed.</summary>
public sealed class LinuxException : IOException
{
    /// <summary>The error, e.g. ENOSPC.</summary>
    public Errno Errno { get; }

    /// <summary>Creates the exception for <paramref name="call"/>, which failed with <paramref name="errno"/>.</summary>
    public LinuxException(string call, Errno errno)
        : base($"{call}: {errno.Text} (errno {(int)errno})") => Errno = errno;

    /// <summary>No space is left for the data (ENOSPC, EDQUOT or EFBIG).</summary>
    public bool IsNoSpace => Errno is Errno.ENOSPC or Errno.EDQUOT or Errno.EFBIG;

    /// <summary>
    /// Memory or room in a queue was missing, so that the call did nothing, and may be there in a moment (ENOMEM, EAGAIN, ENOBUFS; EDOM is what a SCSI
    /// device with too many commands says).
    /// </summary>
    public bool IsTransient => Errno is Errno.ENOMEM or Errno.EAGAIN or Errno.ENOBUFS or Errno.EDOM;

    /// <summary>The device is not there any more (ENODEV, ENXIO).</summary>
    public bool IsGone => Errno is Errno.ENODEV or Errno.ENXIO;

    /// <summary>Somebody else has it (EBUSY).</summary>
    public bool IsBusy => Errno == Errno.EBUSY;

    /// <summary>
    /// Descriptors or memory have run out (EMFILE, ENFILE, ENOMEM), which says nothing of what was to be opened; also an exception of .NET's own.
    /// </summary>
    public static bool IsShortage(Exception e) =>
        (e is LinuxException linux ? linux.Errno : (Errno)e.HResult) is Errno.EMFILE or Errno.ENFILE or Errno.ENOMEM && e is IOException;

    /// <summary>The file or device does not take writes (EROFS, EACCES or EPERM).</summary>
    public bool IsReadOnly => Errno is Errno.EROFS or Errno.EACCES or Errno.EPERM;
}
