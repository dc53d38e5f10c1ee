namespace LunKit.Linux;

/// <summary>Why a file could not be opened, read or written, in words that an operator knows; without the path, which the caller names.</summary>
public static class FileErrors
{
    private const int LastErrno = 4095;

    /// <summary>The reason, e.g. "the folder does not exist" or "Read-only file system".</summary>
    public static string Why(Exception e) => e switch
    {
        FileNotFoundException => "it does not exist",
        DirectoryNotFoundException => "its folder does not exist",
        _ when ErrnoOf(e) is { } errno and not Errno.None => errno.Text,
        UnauthorizedAccessException => Errno.EACCES.Text,
        _ => e.Message,
    };

    /// <summary>The error number behind an exception of .NET's file calls; <see cref="Errno.None"/> where none is known.</summary>
    public static Errno ErrnoOf(Exception e) => e switch
    {
        LinuxException linux => linux.Errno,
        // .NET gives the number as the HResult of what it has no exception for, and wraps such a one in those that it has.
        IOException { HResult: > 0 and <= LastErrno and var number } => (Errno)number,
        UnauthorizedAccessException { InnerException: IOException { HResult: > 0 and <= LastErrno and var number } } => (Errno)number,
        _ => Errno.None,
    };
}
