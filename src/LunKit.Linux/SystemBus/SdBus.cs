using System.Runtime.InteropServices;

namespace LunKit.Linux.SystemBus;

/// <summary>Raw bindings of libsystemd's sd-bus. Everything returns a negative errno when it fails.</summary>
internal static unsafe partial class SdBus
{
    private const string Library = "libsystemd.so.0";

    /// <summary>Message types of the D-Bus specification.</summary>
    public const byte MethodCall = 1;

    public static bool IsInstalled { get; } = NativeLibrary.TryLoad(Library, out _);

    [LibraryImport(Library)] public static partial int sd_bus_open_system(out nint bus);
    [LibraryImport(Library)] public static partial nint sd_bus_flush_close_unref(nint bus);
    [LibraryImport(Library)] public static partial int sd_bus_get_fd(nint bus);
    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)] public static partial int sd_bus_request_name(nint bus, string name, ulong flags);
    [LibraryImport(Library)] public static partial int sd_bus_process(nint bus, out nint message);
    [LibraryImport(Library)] public static partial int sd_bus_send(nint bus, nint message, ulong* cookie);
    [LibraryImport(Library)] public static partial int sd_bus_flush(nint bus);
    [LibraryImport(Library)] public static partial nint sd_bus_message_unref(nint message);
    [LibraryImport(Library)] public static partial int sd_bus_message_get_type(nint message, out byte type);
    [LibraryImport(Library)] public static partial nint sd_bus_message_get_path(nint message);
    [LibraryImport(Library)] public static partial nint sd_bus_message_get_interface(nint message);
    [LibraryImport(Library)] public static partial nint sd_bus_message_get_member(nint message);
    [LibraryImport(Library)] public static partial int sd_bus_message_read_basic(nint message, byte type, out nint value);
    [LibraryImport(Library)] public static partial int sd_bus_message_new_method_return(nint call, out nint reply);
    [LibraryImport(Library)] public static partial int sd_bus_message_new_method_error(nint call, out nint reply, Error* error);
    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)] public static partial int sd_bus_message_append_basic(nint message, byte type, string value);
    [LibraryImport(Library)] public static partial int sd_bus_message_append_basic(nint message, byte type, int* value);
    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)] public static partial int sd_bus_message_open_container(nint message, byte type, string contents);
    [LibraryImport(Library)] public static partial int sd_bus_message_close_container(nint message);

    /// <summary><c>sd_bus_error</c>: name and message, which stay the caller's.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct Error
    {
        public byte* Name;
        public byte* Message;
        public int NeedFree;
    }
}
