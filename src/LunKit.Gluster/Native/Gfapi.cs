using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using LunKit.Linux;

namespace LunKit.Gluster.Native;

/// <summary>
/// Raw bindings of libgfapi (<c>glusterfs/api/glfs.h</c>). What fails returns -1 or null, with errno; an asynchronous call has its errno on the
/// thread of the callback, whose form is that of Gluster 6 and later.
/// </summary>
internal static unsafe partial class Gfapi
{
    public const string Library = "libgfapi.so.0";
    public const int ReadWrite = 2, ReadOnly = 0, Create = 0x40, DataSync = 0x1000, SeekData = 3, SeekHole = 4, SeekEnd = 2;

    [LibraryImport(Library, SetLastError = true, StringMarshalling = StringMarshalling.Utf8)] public static partial nint glfs_new(string volume);
    [LibraryImport(Library, SetLastError = true, StringMarshalling = StringMarshalling.Utf8)] public static partial int glfs_set_volfile_server(nint volume, string transport, string host, int port);
    [LibraryImport(Library, SetLastError = true, StringMarshalling = StringMarshalling.Utf8)] public static partial int glfs_set_logging(nint volume, string file, int level);
    [LibraryImport(Library, SetLastError = true, StringMarshalling = StringMarshalling.Utf8)] public static partial int glfs_set_xlator_option(nint volume, string translator, string key, string value);
    [LibraryImport(Library, SetLastError = true)] public static partial int glfs_init(nint volume);
    [LibraryImport(Library, SetLastError = true)] public static partial int glfs_fini(nint volume);
    [LibraryImport(Library, SetLastError = true, StringMarshalling = StringMarshalling.Utf8)] public static partial nint glfs_open(nint volume, string path, int flags);
    [LibraryImport(Library, SetLastError = true, StringMarshalling = StringMarshalling.Utf8)] public static partial nint glfs_creat(nint volume, string path, int flags, uint mode);
    [LibraryImport(Library, SetLastError = true)] public static partial int glfs_close(nint file);
    [LibraryImport(Library, SetLastError = true)] public static partial long glfs_lseek(nint file, long offset, int whence);
    [LibraryImport(Library, SetLastError = true)] private static partial int glfs_ftruncate(nint file, long length, void* before, void* after);
    [LibraryImport(Library, SetLastError = true)] public static partial int glfs_fallocate(nint file, int keepSize, long offset, nuint length);
    [LibraryImport(Library, SetLastError = true)] public static partial int glfs_fdatasync(nint file, void* before, void* after);

    [LibraryImport(Library, SetLastError = true)] private static partial int glfs_preadv_async(nint file, nint vector, int count, long offset, int flags, delegate* unmanaged[Cdecl]<nint, nint, void*, void*, nint, void> callback, nint argument);
    [LibraryImport(Library, SetLastError = true)] private static partial int glfs_pwritev_async(nint file, nint vector, int count, long offset, int flags, delegate* unmanaged[Cdecl]<nint, nint, void*, void*, nint, void> callback, nint argument);
    [LibraryImport(Library, SetLastError = true)] private static partial int glfs_fdatasync_async(nint file, delegate* unmanaged[Cdecl]<nint, nint, void*, void*, nint, void> callback, nint argument);
    [LibraryImport(Library, SetLastError = true)] private static partial int glfs_discard_async(nint file, long offset, nuint length, delegate* unmanaged[Cdecl]<nint, nint, void*, void*, nint, void> callback, nint argument);
    [LibraryImport(Library, SetLastError = true)] private static partial int glfs_zerofill_async(nint file, long offset, long length, delegate* unmanaged[Cdecl]<nint, nint, void*, void*, nint, void> callback, nint argument);

    [LibraryImport("libc", StringMarshalling = StringMarshalling.Utf8)] private static partial nint dlvsym(nint library, string symbol, string version);

    /// <summary>Whether the library is there, and its callbacks are of the form that is used here.</summary>
    public static bool IsUsable(out string why)
    {
        if (!NativeLibrary.TryLoad(Library, out nint library))
        {
            why = "libgfapi is missing: install libgfapi0 (Debian), glusterfs-common (Ubuntu) or glusterfs-api (others)";
            return false;
        }
        why = "libgfapi is older than Gluster 6: install a newer one";
        return dlvsym(library, "glfs_preadv_async", "GFAPI_6.0") != 0;
    }

    public static int Truncate(nint file, long length) => glfs_ftruncate(file, length, null, null);

    public static int Read(nint file, NativeOperation operation, long offset) => glfs_preadv_async(file, operation.Vector.Address, operation.Vector.Count, offset, 0, &Completed, operation.Handle);

    public static int Write(nint file, NativeOperation operation, long offset) => glfs_pwritev_async(file, operation.Vector.Address, operation.Vector.Count, offset, 0, &Completed, operation.Handle);

    public static int Flush(nint file, NativeOperation operation) => glfs_fdatasync_async(file, &Completed, operation.Handle);

    public static int Discard(nint file, NativeOperation operation, long offset, long length) => glfs_discard_async(file, offset, (nuint)length, &Completed, operation.Handle);

    public static int ZeroFill(nint file, NativeOperation operation, long offset, long length) => glfs_zerofill_async(file, offset, length, &Completed, operation.Handle);

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static void Completed(nint file, nint result, void* before, void* after, nint argument)
    {
        // Before anything else of the runtime's can change it. A read that fails sets none, and where this thread was unknown to the runtime
        // until now it is another: GlusterErrors knows which are believed.
        int errno = Marshal.GetLastSystemError();
        NativeOperation.Of(argument).Complete(result < 0 ? (errno == 0 ? Errno.ENOTCONN.Result : -errno) : result);
    }
}
