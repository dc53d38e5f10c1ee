using LunKit.Backstores;
using LunKit.Linux;

namespace LunKit.Gluster;

/// <summary>What libgfapi means by its error numbers.</summary>
internal static class GlusterErrors
{
    /// <summary>Whether the servers have said that it fails; all else says that nobody answers, or nothing at all.</summary>
    public static bool IsFinal(Errno errno) => errno is Errno.ENOSPC or Errno.EDQUOT or Errno.EFBIG or Errno.EROFS or Errno.EACCES or Errno.EPERM or Errno.EIO or Errno.EINVAL;

    /// <summary>Nobody answers, for now.</summary>
    public static bool IsUnreachable(Errno errno) => errno is Errno.ENOTCONN or Errno.ETIMEDOUT or Errno.ECONNREFUSED or Errno.ECONNRESET or Errno.EHOSTUNREACH or Errno.EBADFD;

    /// <summary>The open file is not one any more for the server; the file itself may be.</summary>
    public static bool NeedsReopening(Errno errno) => errno is Errno.EBADFD or Errno.ESTALE;

    public static BackstoreException OfOperation(Errno errno, string what, string file, long offset, bool writes) => new(errno switch
    {
        Errno.ENOSPC or Errno.EDQUOT => BackstoreError.NoSpace,
        Errno.EROFS or Errno.EACCES or Errno.EPERM when writes => BackstoreError.ReadOnly,
        _ when !IsFinal(errno) => BackstoreError.Unreachable,
        _ => writes ? BackstoreError.MediumWrite : BackstoreError.MediumRead,
    }, $"gluster:{file}: {what} at {offset}: {Text(errno)}", offset, new LinuxException(what, errno));

    public static BackstoreException OfOpening(Errno errno, string what, string hint) =>
        new(IsUnreachable(errno) ? BackstoreError.Unreachable : BackstoreError.Internal, $"{what}: {Text(errno)}{hint}", null, new LinuxException(what, errno));

    private static string Text(Errno errno) => errno == Errno.ENOTCONN ? "no server of the volume answers" : $"{errno.Text} (errno {(int)errno})";
}
