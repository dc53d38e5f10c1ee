using System.Net;
using System.Net.Sockets;
using LunKit.Hosting;
using LunKit.Iscsi;
using LunKit.LogicalUnits;
using LunKit.Targets;
using LunKit.Tcmu.Target;
using Microsoft.Extensions.Logging;

namespace LunKit.App.Serve;

/// <summary>A running target: its units and its iSCSI server, opened and closed together.</summary>
internal sealed class Server : IAsyncDisposable
{
    private readonly TargetHost _host;
    private readonly IscsiServer _iscsi;
    private readonly HandlerMetrics? _handlerMetrics;
    private readonly HandlerListener? _handlers;
    private readonly IReadOnlyList<HandlerProcess> _processes;

    private Server(TargetHost host, IscsiServer iscsi, IReadOnlyList<ServedUnit> units, HandlerListener? handlers, IReadOnlyList<HandlerProcess> processes)
    {
        _host = host;
        _iscsi = iscsi;
        Units = units;
        _handlers = handlers;
        _processes = processes;
        _handlerMetrics = handlers is null ? null : new HandlerMetrics(handlers);
    }

    public IReadOnlyList<ServedUnit> Units { get; }

    /// <summary>Where handler processes connect; null when no unit needs one.</summary>
    public string? HandlersPath => _handlers?.Path;

    public IReadOnlyList<Portal> Portals => _iscsi.Portals;
    public int SessionCount => _iscsi.SessionCount;

    public static async Task<Server> StartAsync(ServeOptions options, ILogger log)
    {
        var units = new List<ServedUnit>();
        var opened = new List<BackstoreSpec>();
        var processes = new List<HandlerProcess>();
        var commands = new List<string>();
        HandlerListener? handlers = null;
        var states = new StateFolder(Path.GetFullPath(options.StatePath), log);
        IReadOnlyList<ChapCredential> credentials = options.Chap is { } chap ? [chap] : [];
        var host = new TargetHost(log);
        var server = new IscsiServer(new IscsiServerOptions
        {
            Portals = options.Portals, DiscoveryChap = credentials, AllowsTargetColdReset = options.ColdReset,
        }, log);
        try
        {
            host.AddFabric(server);
            // First: a port that is taken is the commonest mistake, and nothing has been opened or created then.
            server.Bind();
            for (int lun = 0; lun < options.Backstores.Count; lun++)
            {
                string text = options.Backstores[lun], identity = $"{options.Iqn} lun {lun}";
                if (PassThroughSpec.Matches(text))
                {
                    units.Add(ServedUnit.Of(PassThroughSpec.Parse(text).Open(options.ReadOnly, log, states)));
                    continue;
                }
                if (!UserUnitSpec.Matches(text))
                {
                    var spec = BackstoreSpec.Parse(text);
                    units.Add(ServedUnit.Of(spec.Open(options.ReadOnly, options.WriteCache, identity, log, names: null, states)));
                    opened.Add(spec);
                    continue;
                }
                var user = UserUnitSpec.Parse(text);
                handlers ??= HandlerSocket.Listen(options.HandlersPath, options.HandlerMemoryBytes, log);
                units.Add(ServedUnit.Of(user.Open(handlers, $"lun{lun}", identity), user));
                if (user.Handler is { } command && !commands.Contains(command)) commands.Add(command);
            }
            for (int lun = 0; lun < units.Count; lun++) host.AddUnit($"lun{lun}", units[lun].Unit);
            // One process serves all devices that name the same command.
            foreach (string command in commands) processes.Add(new HandlerProcess(command, handlers!.Path, states.Path, log));
            host.AddTarget(new Target
            {
                Name = options.Iqn,
                Luns = units.Select((u, lun) => KeyValuePair.Create(lun, u.Unit)).ToDictionary(),
                Chap = credentials,
                MutualChap = options.MutualChap,
                ExplicitAlua = options.ExplicitAlua,
                Acls = [.. options.Allow.Select(name => new NodeAcl(name))],
            });
            server.Start();
            return new Server(host, server, units, handlers, processes);
        }
        catch (Exception e)
        {
            foreach (var process in processes) await process.DisposeAsync();
            foreach (var spec in opened) spec.DeleteCreated();
            await host.StopAsync();
            // Those that the host has not taken over.
            foreach (var unit in units) await unit.Unit.DisposeAsync();
            handlers?.Dispose();
            if (e is SocketException s) throw new UserException(Explain(s, options.Portals));
            if (e is HostException h) throw new UserException(h.Message);
            throw;
        }
    }

    /// <summary>The devices whose handlers have left with acknowledged writes that they could not make durable.</summary>
    private async Task<IEnumerable<string>> LossesSinceAsync(IReadOnlyList<UserDeviceStatus> before)
    {
        // The target sees that they are gone a moment later.
        for (int tries = 0; tries < 20 && _processes.Count > 0 && _handlers!.Devices.Any(d => d.IsServed); tries++) await Task.Delay(50);
        return _handlers!.Devices.Where(d => before.Any(b => b.Name == d.Name && b.Losses < d.Losses)).Select(d => $"{d.Name}: data may be lost, the last flush of its handler failed");
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

    /// <summary>Takes over the length of image files that were grown (or cut) meanwhile; initiators are told. Those that were deleted are named. Never throws.</summary>
    public Task RefreshSizesAsync(ILogger log) =>
        // At once: one that hangs keeps no other waiting.
        Task.WhenAll(Units.Select(served => served.Unit).OfType<BlockUnit>().Select(unit => RefreshSizeAsync(unit, log)));

    internal static async Task RefreshSizeAsync(BlockUnit unit, ILogger log)
    {
        try
        {
            if (await unit.Store.IsDeletedAsync()) ServeLog.ImageIsDeleted(log, unit.Identity.Name);
            await unit.RefreshSizeAsync();
        }
        // Whatever it is: a signal began this, and nobody is there to catch it. The unit may be closing in this moment.
        catch (Exception e)
        {
            ServeLog.NotResized(log, unit.Identity.Name, e.Message);
        }
    }

    /// <summary>Stops serving: initiators log out, commands finish, caches are flushed. Throws when a flush fails.</summary>
    public async ValueTask DisposeAsync()
    {
        List<string> failures = [];
        // Handlers complete and flush what they have while their devices are still there.
        failures.AddRange(await _host.StopAsync(async () =>
        {
            if (_handlers is not null) _handlers.IsStopping = true;
            var before = _handlers?.Devices;
            foreach (var process in _processes) await process.DisposeAsync();
            if (before is not null) failures.AddRange(await LossesSinceAsync(before));
        }));
        _handlerMetrics?.Dispose();
        _handlers?.Dispose();
        if (failures.Count > 0) throw new UserException(string.Join("; ", failures));
    }
}
