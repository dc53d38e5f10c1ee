using LunKit.Backstores;
using LunKit.Linux;

namespace LunKit.Ceph;

/// <summary>What librados and librbd mean by their error numbers.</summary>
internal static class CephErrors
{
    /// <summary>The cluster has shut this client out (blocklisted): it needs a new connection.</summary>
    public static bool IsFenced(Errno error) => error == Errno.ESHUTDOWN;

    /// <summary>Nobody answers, for now.</summary>
    public static bool IsUnreachable(Errno error) => error is Errno.ETIMEDOUT or Errno.ENOTCONN or Errno.ESHUTDOWN or Errno.ECONNREFUSED or Errno.EHOSTUNREACH;

    /// <summary>An operation on the image failed.</summary>
    /// <param name="error">What failed.</param>
    /// <param name="what">The operation, as in "read".</param>
    /// <param name="image">The image.</param>
    /// <param name="offset">Where.</param>
    /// <param name="writes">Whether it writes.</param>
    public static BackstoreException OfOperation(Errno error, string what, string image, long offset, bool writes) => new(error switch
    {
        Errno.ENOSPC or Errno.EDQUOT => BackstoreError.NoSpace,
        // The exclusive lock is another client's, who does not give it up now.
        Errno.EROFS or Errno.EBUSY => BackstoreError.Unreachable,
        Errno.EPERM or Errno.EACCES when writes => BackstoreError.ReadOnly,
        _ when IsUnreachable(error) => BackstoreError.Unreachable,
        _ => writes ? BackstoreError.MediumWrite : BackstoreError.MediumRead,
    }, $"rbd:{image}: {what} at {offset}: {Text(error)}", offset);

    /// <summary>The image or the cluster cannot be opened; the message tells the operator what to do.</summary>
    public static BackstoreException OfOpening(Errno error, string what, string hint) =>
        new(IsUnreachable(error) ? BackstoreError.Unreachable : BackstoreError.Internal, $"{what}: {Text(error)}{hint}", null, new LinuxException(what, error));

    private static string Text(Errno error) => error switch
    {
        Errno.ETIMEDOUT => "the cluster does not answer in time",
        Errno.ESHUTDOWN => "the cluster has shut this client out (blocklisted)",
        Errno.EROFS => "another client has the exclusive lock",
        _ => $"{error.Text} (errno {(int)error})",
    };
}
