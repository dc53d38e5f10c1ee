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
    private readonly IReadOnlyList<(BlockUnit Unit, string Path)> _images;

    private Server(IscsiServer iscsi, IReadOnlyList<BlockUnit> units, IReadOnlyList<(BlockUnit Unit, string Path)> images)
    {
        _iscsi = iscsi;
        _images = images;
        Units = units;
        foreach (var unit in units) _metrics.Add(unit);
    }

    public IReadOnlyList<BlockUnit> Units { get; }
    public IReadOnlyList<Portal> Portals => _iscsi.Portals;
    public int SessionCount => _iscsi.SessionCount;

    public static async Task<Server> StartAsync(ServeOptions options, ILogger log)
    {
        var units = new List<BlockUnit>();
        var images = new List<(BlockUnit, string)>();
        try
        {
            for (int lun = 0; lun < options.Backstores.Count; lun++)
            {
                var spec = BackstoreSpec.Parse(options.Backstores[lun]);
                units.Add(spec.Open(options.ReadOnly, options.WriteCache, $"{options.Iqn} lun {lun}", log));
                if (spec.Kind == "file") images.Add((units[^1], Path.GetFullPath(spec.Argument)));
            }
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
            return new Server(server, units, images);
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

    /// <summary>Takes over the length of image files that were grown (or cut) meanwhile; initiators are told.</summary>
    public async Task RefreshSizesAsync(ILogger log)
    {
        foreach (var (unit, path) in _images)
        {
            try
            {
                long length = new FileInfo(path).Length;
                if (length != unit.Store.Geometry.LengthBytes) await unit.ResizeAsync(length);
            }
            catch (Exception e) when (e is IOException or ArgumentException)
            {
                ServeLog.NotResized(log, path, e.Message);
            }
        }
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
