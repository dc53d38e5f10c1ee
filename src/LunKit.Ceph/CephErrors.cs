using LunKit.Backstores;
using LunKit.Linux;

namespace LunKit.Ceph;

/// <summary>What librados and librbd mean by their error numbers.</summary>
internal static class CephErrors
{
    public const int Enoent = -2, Eacces = -13, Ebusy = -16, Einval = -22, Enospc = -28, Erofs = -30, Eilseq = -84, Enotconn = -107, Eshutdown = -108, Etimedout = -110, Edquot = -122;
    private const int Eperm = -1, Econnrefused = -111, Ehostunreach = -113;

    /// <summary>The cluster has shut this client out (blocklisted): it needs a new connection.</summary>
    public static bool IsFenced(int error) => error == Eshutdown;

    /// <summary>Nobody answers, for now.</summary>
    public static bool IsUnreachable(int error) => error is Etimedout or Enotconn or Eshutdown or Econnrefused or Ehostunreach;

    /// <summary>An operation on the image failed.</summary>
    /// <param name="error">The negative errno.</param>
    /// <param name="what">The operation, as in "read".</param>
    /// <param name="image">The image.</param>
    /// <param name="offset">Where.</param>
    /// <param name="writes">Whether it writes.</param>
    public static BackstoreException OfOperation(int error, string what, string image, long offset, bool writes) => new(error switch
    {
        Enospc or Edquot => BackstoreError.NoSpace,
        // The exclusive lock is another client's, who does not give it up now.
        Erofs or Ebusy => BackstoreError.Unreachable,
        Eperm or Eacces when writes => BackstoreError.ReadOnly,
        _ when IsUnreachable(error) => BackstoreError.Unreachable,
        _ => writes ? BackstoreError.MediumWrite : BackstoreError.MediumRead,
    }, $"rbd:{image}: {what} at {offset}: {Text(error)}", offset);

    /// <summary>The image or the cluster cannot be opened; the message tells the operator what to do.</summary>
    public static BackstoreException OfOpening(int error, string what, string hint) =>
        new(IsUnreachable(error) ? BackstoreError.Unreachable : BackstoreError.Internal, $"{what}: {Text(error)}{hint}", null, new LinuxException(what, -error));

    private static string Text(int error) => error switch
    {
        Etimedout => "the cluster does not answer in time",
        Eshutdown => "the cluster has shut this client out (blocklisted)",
        Erofs => "another client has the exclusive lock",
        _ => $"{System.Runtime.InteropServices.Marshal.GetPInvokeErrorMessage(-error)} (errno {-error})",
    };
}
