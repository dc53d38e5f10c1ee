using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using LunKit.Linux;

namespace LunKit.Ceph.Native;

/// <summary>Raw bindings of librbd (<c>rbd/librbd.h</c>). Everything returns a negative errno when it fails.</summary>
internal static unsafe partial class Rbd
{
    public const string Library = "librbd.so.1";

    /// <summary><c>RBD_WRITE_ZEROES_FLAG_THICK_PROVISION</c>.</summary>
    public const int ThickProvision = 1;

    /// <summary><c>rbd_image_info_t</c>.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct ImageInfo
    {
        public ulong Size, ObjectSize, Objects;
        public int Order;
        private fixed byte _prefix[24];
        private readonly long _parentPool;
        private fixed byte _parentName[96];
    }

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)] public static partial int rbd_open(nint context, string name, out nint image, string? snapshot);
    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)] public static partial int rbd_open_read_only(nint context, string name, out nint image, string? snapshot);
    [LibraryImport(Library)] public static partial int rbd_close(nint image);
    [LibraryImport(Library)] public static partial int rbd_stat(nint image, ImageInfo* info, nuint size);
    [LibraryImport(Library)] public static partial int rbd_get_size(nint image, out ulong size);
    [LibraryImport(Library)] public static partial int rbd_update_watch(nint image, out ulong watch, delegate* unmanaged[Cdecl]<void*, void> callback, nint argument);
    [LibraryImport(Library)] public static partial int rbd_update_unwatch(nint image, ulong watch);
    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int rbd_diff_iterate2(nint image, string? from, ulong offset, ulong length, byte includeParent, byte wholeObject, delegate* unmanaged[Cdecl]<ulong, nuint, int, void*, int> callback, void* argument);

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)] private static partial int rbd_metadata_get(nint image, string key, byte* value, nuint* length);
    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)] public static partial int rbd_metadata_set(nint image, string key, string value);
    [LibraryImport(Library)] private static partial int rbd_lock_get_owners(nint image, out int mode, nint* owners, nuint* count);
    [LibraryImport(Library)] private static partial void rbd_lock_get_owners_cleanup(nint* owners, nuint count);
    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)] private static partial int rbd_lock_break(nint image, int mode, string owner);

    [LibraryImport(Library)] private static partial int rbd_aio_create_completion(nint argument, delegate* unmanaged[Cdecl]<nint, nint, void> callback, out nint completion);
    [LibraryImport(Library)] private static partial nint rbd_aio_get_return_value(nint completion);
    [LibraryImport(Library)] public static partial void rbd_aio_release(nint completion);
    [LibraryImport(Library)] public static partial int rbd_aio_readv(nint image, nint vector, int count, ulong offset, nint completion);
    [LibraryImport(Library)] public static partial int rbd_aio_writev(nint image, nint vector, int count, ulong offset, nint completion);
    [LibraryImport(Library)] public static partial int rbd_aio_write_zeroes(nint image, ulong offset, nuint length, nint completion, int zeroFlags, int flags);
    [LibraryImport(Library)] public static partial int rbd_aio_writesame(nint image, ulong offset, nuint length, nint data, nuint dataLength, nint completion, int flags);
    [LibraryImport(Library)] public static partial nint rbd_aio_compare_and_write(nint image, ulong offset, nuint length, nint compare, nint data, nint completion, nint mismatch, int flags);
    [LibraryImport(Library)] public static partial int rbd_aio_flush(nint image, nint completion);

    /// <summary>A value of the image's metadata; null when there is none.</summary>
    public static string? MetadataOf(nint image, string key)
    {
        const int most = 1024;
        byte* value = stackalloc byte[most];
        nuint length = most;
        return rbd_metadata_get(image, key, value, &length) < 0 ? null : Marshal.PtrToStringUTF8((nint)value);
    }

    /// <summary>Breaks the exclusive lock if that address has it; the cluster shuts the address out first. 0, or a negative errno.</summary>
    public static int BreakLockOf(nint image, string address)
    {
        nint owner = 0;
        nuint count = 1;
        int error = rbd_lock_get_owners(image, out int mode, &owner, &count);
        if (error < 0) return error;
        bool isOwner = count == 1 && Marshal.PtrToStringUTF8(owner) == address;
        if (count > 0) rbd_lock_get_owners_cleanup(&owner, count);
        return isOwner ? rbd_lock_break(image, mode, address) : Errno.ENOENT.Result;
    }

    /// <summary>A completion that completes an operation; the library's when the operation is submitted, else to be released.</summary>
    public static nint CreateCompletion(Linux.NativeOperation operation)
    {
        // It does not fail but by ending the process for want of memory.
        _ = rbd_aio_create_completion(operation.Handle, &Completed, out nint completion);
        return completion;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static void Completed(nint completion, nint argument)
    {
        long result = rbd_aio_get_return_value(completion);
        rbd_aio_release(completion);
        Linux.NativeOperation.Of(argument).Complete(result);
    }
}
