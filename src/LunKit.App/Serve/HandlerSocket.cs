using System.Net.Sockets;
using LunKit.Linux;
using LunKit.Tcmu.Target;
using Microsoft.Extensions.Logging;

namespace LunKit.App.Serve;

/// <summary>Where handler processes and <c>lunkit serve</c> find each other, if nobody says another place.</summary>
internal static class HandlerSocket
{
    public static string DefaultPath
    {
        get
        {
            // Of systemd's RuntimeDirectory=, which a service that is no root can use.
            if (Environment.GetEnvironmentVariable("RUNTIME_DIRECTORY") is { Length: > 0 } service) return Path.Combine(service.Split(':')[0], "handlers.sock");
            if (Account.EffectiveUserId == 0) return "/run/lunkit/handlers.sock";
            string? runtime = Environment.GetEnvironmentVariable("XDG_RUNTIME_DIR");
            return string.IsNullOrEmpty(runtime) ? $"@lunkit-handlers-{Account.EffectiveUserId}" : Path.Combine(runtime, "lunkit", "handlers.sock");
        }
    }

    public static HandlerListener Listen(string path, long memoryBytes, ILogger log)
    {
        try
        {
            if (!path.StartsWith('@') && Path.GetDirectoryName(path) is { Length: > 0 } folder) Directory.CreateDirectory(folder);
            return new HandlerListener(path, log) { Memory = new DataAreaBudget(memoryBytes) };
        }
        catch (Exception e) when (e is SocketException or IOException or UnauthorizedAccessException or ArgumentException)
        {
            string why = e is SocketException { SocketErrorCode: SocketError.AddressAlreadyInUse } ? "another target listens there; choose another place with --handlers" : e.Message;
            throw new UserException($"handlers at {path}: {why}", inner: e);
        }
    }
}
