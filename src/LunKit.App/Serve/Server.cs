using System.Net;
using System.Net.Sockets;
using LunKit.Backstores;
using LunKit.Diagnostics;
using LunKit.Iscsi;
using LunKit.LogicalUnits;
using LunKit.Targets;
using Microsoft.Extensions.Logging;

namespace LunKit.App.Serve;

/// <summary>A running target: its units and its iSCSI server, opened and closed together.</summary>
internal sealed class Server : IAsyncDisposable
{
    private readonly IscsiServer _iscsi;
    private readonly LunKitMetrics _metrics = new();

    private Server(IscsiServer iscsi, IReadOnlyList<BlockUnit> units)
    {
        _iscsi = iscsi;
        Units = units;
        foreach (var unit in units) _metrics.Add(unit);
    }

    public IReadOnlyList<BlockUnit> Units { get; }
    public IReadOnlyList<Portal> Portals => _iscsi.Portals;
    public int SessionCount => _iscsi.SessionCount;

    public static async Task<Server> StartAsync(ServeOptions options, ILogger log)
    {
        var units = new List<BlockUnit>();
        try
        {
            for (int lun = 0; lun < options.Backstores.Count; lun++)
                units.Add(BackstoreSpec.Parse(options.Backstores[lun]).Open(options.ReadOnly, options.WriteCache, $"{options.Iqn} lun {lun}", log));
            var target = new Target
            {
                Name = options.Iqn,
                Luns = units.Select((u, lun) => KeyValuePair.Create(lun, (LogicalUnit)u)).ToDictionary(),
                Chap = options.Chap is { } chap ? [chap] : [],
                MutualChap = options.MutualChap,
                Acls = [.. options.Allow.Select(name => new NodeAcl(name))],
            };
            var server = new IscsiServer(new IscsiServerOptions
            {
                Portals = options.Portals, Targets = [target], DiscoveryChap = target.Chap,
            }, log);
            server.Start();
            return new Server(server, units);
        }
        catch (Exception e)
        {
            foreach (var unit in units) await unit.DisposeAsync();
            if (e is SocketException s) throw new UserException(Explain(s, options.Portals));
            throw;
        }
    }

    private static string Explain(SocketException e, IReadOnlyList<Portal> portals)
    {
        string where = string.Join(", ", portals.Select(p => p.EndPoint));
        return e.SocketErrorCode switch
        {
            SocketError.AddressAlreadyInUse => $"portal {where}: the port is taken by another process; stop it, or choose another with --portal HOST:PORT",
            SocketError.AccessDenied => $"portal {where}: ports below 1024 need privileges; choose a higher one",
            SocketError.AddressNotAvailable => $"portal {where}: this machine has no such address",
            _ => $"portal {where}: {e.Message}",
        };
    }

    /// <summary>Stops serving: initiators log out, commands finish, caches are flushed. Throws when a flush fails.</summary>
    public async ValueTask DisposeAsync()
    {
        await _iscsi.StopAsync();
        List<string> failures = [];
        foreach (var unit in Units)
        {
            try
            {
                await unit.FlushAsync();
            }
            catch (IOException e)
            {
                failures.Add($"{unit.Identity.Name}: data may be lost, the last flush failed: {e.Message}");
            }
            await unit.DisposeAsync();
        }
        _metrics.Dispose();
        if (failures.Count > 0) throw new UserException(string.Join("; ", failures));
    }
}
