using System.Runtime.InteropServices;

namespace LunKit.Ceph.Native;

/// <summary>Raw bindings of librados (<c>rados/librados.h</c>). Everything returns a negative errno when it fails.</summary>
internal static unsafe partial class Rados
{
    public const string Library = "librados.so.2";

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)] public static partial int rados_create(out nint cluster, string? id);
    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)] public static partial int rados_conf_read_file(nint cluster, string? path);
    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)] public static partial int rados_conf_set(nint cluster, string option, string value);
    [LibraryImport(Library)] public static partial int rados_connect(nint cluster);
    [LibraryImport(Library)] private static partial int rados_getaddrs(nint cluster, out nint addresses);
    [LibraryImport(Library)] private static partial void rados_buffer_free(nint buffer);
    [LibraryImport(Library)] public static partial void rados_shutdown(nint cluster);
    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)] public static partial int rados_ioctx_create(nint cluster, string pool, out nint context);
    [LibraryImport(Library)] public static partial void rados_ioctx_destroy(nint context);
    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)] public static partial void rados_ioctx_set_namespace(nint context, string name);

    /// <summary>The address of this client in the cluster; null when it cannot be told.</summary>
    public static string? AddressOf(nint cluster)
    {
        if (rados_getaddrs(cluster, out nint text) < 0) return null;
        string? address = Marshal.PtrToStringUTF8(text);
        rados_buffer_free(text);
        return address;
    }
}
