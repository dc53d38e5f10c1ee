using LunKit.Backstores;
using LunKit.Linux;

namespace LunKit.Gluster;

/// <summary>What libgfapi means by its error numbers.</summary>
internal static class GlusterErrors
{
    public const int Enoent = 2, Eio = 5, Enxio = 6, Einval = 22, Enotconn = 107, Ebadfd = 77, Eopnotsupp = 95, Enosys = 38;
    private const int Enospc = 28, Edquot = 122, Efbig = 27, Erofs = 30, Eacces = 13, Eperm = 1, Etimedout = 110, Econnrefused = 111, Econnreset = 104, Estale = 116, Ehostunreach = 113;

    /// <summary>Whether the servers have said that it fails; all else says that nobody answers, or nothing at all.</summary>
    public static bool IsFinal(int errno) => errno is Enospc or Edquot or Efbig or Erofs or Eacces or Eperm or Eio or Einval;

    /// <summary>Nobody answers, for now.</summary>
    public static bool IsUnreachable(int errno) => errno is Enotconn or Etimedout or Econnrefused or Econnreset or Ehostunreach or Ebadfd;

    /// <summary>The open file is not one any more for the server; the file itself may be.</summary>
    public static bool NeedsReopening(int errno) => errno is Ebadfd or Estale;

    public static BackstoreException OfOperation(int errno, string what, string file, long offset, bool writes) => new(errno switch
    {
        Enospc or Edquot => BackstoreError.NoSpace,
        Erofs or Eacces or Eperm when writes => BackstoreError.ReadOnly,
        _ when !IsFinal(errno) => BackstoreError.Unreachable,
        _ => writes ? BackstoreError.MediumWrite : BackstoreError.MediumRead,
    }, $"gluster:{file}: {what} at {offset}: {Text(errno)}", offset, new LinuxException(what, errno));

    public static BackstoreException OfOpening(int errno, string what, string hint) =>
        new(IsUnreachable(errno) ? BackstoreError.Unreachable : BackstoreError.Internal, $"{what}: {Text(errno)}{hint}", null, new LinuxException(what, errno));

    private static string Text(int errno) => errno == Enotconn ? "no server of the volume answers" : $"{System.Runtime.InteropServices.Marshal.GetPInvokeErrorMessage(errno)} (errno {errno})";
}
