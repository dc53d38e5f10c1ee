using System.Runtime.Versioning;

namespace LunKit.Linux.SystemBus;

/// <summary>
/// A connection to the system bus (D-Bus) that answers method calls: takes one after the other, whatever object they are for. One
/// thread uses it. Needs libsystemd.
/// </summary>
[SupportedOSPlatform("linux")]
public sealed unsafe class BusConnection : IDisposable
{
    private nint _bus;

    private BusConnection(nint bus) => _bus = bus;

    /// <summary>Connects and takes a name. Null, with the reason, when there is no bus, no library, or the name is somebody else's.</summary>
    public static BusConnection? TryOpen(string name, out string reason)
    {
        reason = "libsystemd.so.0 is not installed";
        if (!SdBus.IsInstalled) return null;
        int error = SdBus.sd_bus_open_system(out nint bus);
        reason = $"the system bus cannot be reached: {new LinuxException("connect", Errno.Of(error)).Message}";
        if (error < 0) return null;
        var connection = new BusConnection(bus);
        error = SdBus.sd_bus_request_name(bus, name, 0);
        if (error >= 0) return connection;
        connection.Dispose();
        reason = $"the name {name} cannot be had, another handler may have it, or the bus's policy forbids it: {new LinuxException("request", Errno.Of(error)).Message}";
        return null;
    }

    /// <summary>The next method call, or null when <paramref name="wake"/> was signalled. The caller disposes it.</summary>
    /// <exception cref="LinuxException">The bus is gone.</exception>
    public BusCall? Receive(EventFd wake)
    {
        while (true)
        {
            int done = SdBus.sd_bus_process(_bus, out nint message);
            if (done < 0) throw new LinuxException("sd_bus_process", Errno.Of(done));
            if (message != 0)
            {
                SdBus.sd_bus_message_get_type(message, out byte type);
                if (type == SdBus.MethodCall) return new BusCall(_bus, message);
                SdBus.sd_bus_message_unref(message);
            }
            if (done > 0) continue;
            if (Poll.Wait(SdBus.sd_bus_get_fd(_bus), wake, -1) == PollResult.Nothing) return null;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_bus != 0) SdBus.sd_bus_flush_close_unref(_bus);
        _bus = 0;
    }
}
