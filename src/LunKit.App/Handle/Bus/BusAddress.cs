using System.Globalization;
using System.Net.Sockets;

namespace LunKit.App.Handle.Bus;

/// <summary>Where a bus listens, as the D-Bus specification writes it: entries such as <c>unix:path=/run/dbus/system_bus_socket</c>, tried in order.</summary>
internal static class BusAddress
{
    /// <summary>The system bus of this machine.</summary>
    public static string System => Environment.GetEnvironmentVariable("DBUS_SYSTEM_BUS_ADDRESS") is { Length: > 0 } address ? address : "unix:path=/run/dbus/system_bus_socket";

    /// <summary>Connects to the first entry that answers.</summary>
    /// <exception cref="BusException">The address names no place, or one of an unknown type.</exception>
    /// <exception cref="SocketException">Nothing listens there.</exception>
    public static async Task<Socket> ConnectAsync(string address, CancellationToken cancellationToken)
    {
        Exception failure = new BusException($"the address '{address}' has no entry");
        foreach (string entry in address.Split(';', StringSplitOptions.RemoveEmptyEntries))
        {
            try
            {
                return await ConnectToAsync(entry, cancellationToken).ConfigureAwait(false);
            }
            catch (Exception e) when (e is SocketException or BusException or ArgumentException)
            {
                failure = e;
            }
        }
        throw failure;
    }

    private static async Task<Socket> ConnectToAsync(string entry, CancellationToken cancellationToken)
    {
        int colon = entry.IndexOf(':', StringComparison.Ordinal);
        var keys = entry[(colon + 1)..].Split(',').Select(p => p.Split('=', 2)).Where(p => p.Length == 2).ToLookup(p => p[0], p => Uri.UnescapeDataString(p[1]));
        string? path = keys["path"].FirstOrDefault(), name = keys["abstract"].FirstOrDefault(), host = keys["host"].FirstOrDefault();
        bool unix = entry.StartsWith("unix:", StringComparison.Ordinal) && (path ?? name) is not null;
        if (!unix && !(entry.StartsWith("tcp:", StringComparison.Ordinal) && host is not null)) throw new BusException($"the address '{entry}' is not supported");
        var socket = unix ? new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified) : new Socket(SocketType.Stream, ProtocolType.Tcp);
        try
        {
            if (unix) await socket.ConnectAsync(new UnixDomainSocketEndPoint(path ?? "\0" + name), cancellationToken).ConfigureAwait(false);
            else if (int.TryParse(keys["port"].FirstOrDefault(), NumberStyles.None, CultureInfo.InvariantCulture, out int port)) await socket.ConnectAsync(host!, port, cancellationToken).ConfigureAwait(false);
            else throw new BusException($"the address '{entry}' has no port");
            return socket;
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }
}
