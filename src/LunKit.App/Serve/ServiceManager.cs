using System.Globalization;
using System.Net.Sockets;
using System.Text;

namespace LunKit.App.Serve;

/// <summary>
/// Tells systemd how the service does (sd_notify(3)): ready, reloading, stopping, alive. Does nothing where nobody asks for it. Never throws: a service manager that
/// does not listen is no reason to stop serving. Thread safe.
/// </summary>
internal sealed class ServiceManager : IDisposable
{
    private readonly Socket? _socket;
    private readonly UnixDomainSocketEndPoint? _to;

    /// <summary>As the environment says: $NOTIFY_SOCKET, $WATCHDOG_USEC and $WATCHDOG_PID.</summary>
    public ServiceManager() : this(Environment.GetEnvironmentVariable("NOTIFY_SOCKET"), Environment.GetEnvironmentVariable("WATCHDOG_USEC"), Environment.GetEnvironmentVariable("WATCHDOG_PID"))
    {
    }

    /// <summary>Connects.</summary>
    /// <param name="socket">A path, or '@' and a name in the abstract namespace; null or empty: nobody asks.</param>
    /// <param name="watchdogMicroseconds">How often it wants to hear that the service is alive.</param>
    /// <param name="watchdogProcess">Whose sign of life it waits for; null: this process's.</param>
    public ServiceManager(string? socket, string? watchdogMicroseconds, string? watchdogProcess)
    {
        if (string.IsNullOrEmpty(socket)) return;
        try
        {
            _to = new UnixDomainSocketEndPoint(socket[0] == '@' ? "\0" + socket[1..] : socket);
            _socket = new Socket(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);
        }
        catch (Exception e) when (e is SocketException or ArgumentException or PlatformNotSupportedException)
        {
            return;
        }
        if (watchdogProcess is { Length: > 0 } && watchdogProcess != Environment.ProcessId.ToString(CultureInfo.InvariantCulture)) return;
        // Twice as often, as sd_watchdog_enabled(3) recommends.
        if (long.TryParse(watchdogMicroseconds, NumberStyles.None, CultureInfo.InvariantCulture, out long period) && period > 0) WatchdogPause = TimeSpan.FromMicroseconds(period / 2.0);
    }

    /// <summary>How often a sign of life is due; null: never.</summary>
    public TimeSpan? WatchdogPause { get; }

    /// <summary>The service serves.</summary>
    public void Ready(string status) => Send($"READY=1\nSTATUS={status}");

    /// <summary>The service goes over to another configuration; <see cref="Ready"/> ends that.</summary>
    public void Reloading() => Send(string.Create(CultureInfo.InvariantCulture, $"RELOADING=1\nMONOTONIC_USEC={Environment.TickCount64 * 1000}"));

    /// <summary>The service stops.</summary>
    public void Stopping() => Send("STOPPING=1\nSTATUS=initiators log out, caches are flushed");

    /// <summary>A sign of life.</summary>
    public void Alive() => Send("WATCHDOG=1");

    private void Send(string message)
    {
        try
        {
            _socket?.SendTo(Encoding.UTF8.GetBytes(message), SocketFlags.None, _to!);
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // It does not listen any more.
        }
    }

    public void Dispose() => _socket?.Dispose();
}
