using System.Net.Sockets;
using LunKit.App.Backstores;
using LunKit.App.Config;
using LunKit.Hosting;
using LunKit.Iscsi;
using LunKit.LogicalUnits;
using LunKit.Targets;
using Microsoft.Extensions.Logging;

namespace LunKit.App.Serve;

/// <summary>What a configuration asks for, running: units, targets and the iSCSI server, opened and closed together, and changed by a reload.</summary>
internal sealed partial class Server : IAsyncDisposable
{
    private readonly ILogger _log;
    private readonly TargetHost _host;
    private readonly IscsiServer _iscsi;
    private readonly HandlerDesk _handlers;
    private readonly StateFolder _states;
    private readonly Dictionary<string, ServedUnit> _units = new(StringComparer.Ordinal);
    private volatile LunKitConfig _config;

    private Server(LunKitConfig config, ILogger log)
    {
        (_config, _log) = (config, log);
        _states = new StateFolder(Path.GetFullPath(config.StatePath), log);
        _handlers = new HandlerDesk(config.HandlersPath, config.HandlerMemoryBytes, _states.Path, log);
        _host = new TargetHost(log);
        _iscsi = new IscsiServer(new IscsiServerOptions
        {
            Portals = config.Portals, DiscoveryChap = config.DiscoveryChap, AllowsTargetColdReset = config.ColdReset, Limits = config.Limits,
        }, log);
    }

    /// <summary>What is in force.</summary>
    public LunKitConfig Config => _config;

    /// <summary>A unit that is served, by its name.</summary>
    public ServedUnit this[string unit]
    {
        get { lock (_units) return _units[unit]; }
    }

    /// <summary>The units that are served.</summary>
    public IReadOnlyList<ServedUnit> Units
    {
        get { lock (_units) return [.. _units.Values]; }
    }

    /// <summary>Where handler processes connect; null when no unit needs one.</summary>
    public string? HandlersPath => _handlers.Path;

    public IReadOnlyList<Portal> Portals => _iscsi.Portals;
    public int SessionCount => _iscsi.SessionCount;

    /// <summary>What it does, in a line.</summary>
    public string Status => $"{_host.Targets.All.Count} targets, {_host.Units.Count} units, {SessionCount} sessions";

    /// <summary>Opens and serves what a configuration asks for. Throws <see cref="UserException"/>, and nothing is left then.</summary>
    public static async Task<Server> StartAsync(LunKitConfig config, ILogger log)
    {
        var server = new Server(config, log);
        List<UnitSpec> opened = [];
        try
        {
            server._host.AddFabric(server._iscsi);
            // First: a port that is taken is the commonest mistake, and nothing has been opened or created then.
            server._iscsi.Bind();
            foreach (var (name, unit) in config.Units)
            {
                server.Open(name, unit);
                opened.Add(unit.Spec);
            }
            server.StartHandlers(config);
            server._host.Update(_ => server.TargetsOf(config));
            server._iscsi.Start();
            return server;
        }
        catch (Exception e)
        {
            foreach (var spec in opened) spec.DeleteCreated();
            await server._host.StopAsync(async () => await server._handlers.StopAsync());
            server._handlers.Dispose();
            if (e is SocketException s) throw new UserException(Explain(s, config.Portals));
            if (e is HostException h) throw new UserException(h.Message);
            throw;
        }
    }

    /// <summary>Opens a unit, and gives it to the host. Throws <see cref="UserException"/>, and nothing is left of it then.</summary>
    private void Open(string name, UnitConfig unit)
    {
        var served = unit.Spec.Open(new UnitContext(name, unit.Identity, _states, _log, () => _handlers.Listener) { ReadOnly = unit.ReadOnly, WriteCache = unit.WriteCache });
        try
        {
            _host.AddUnit(name, served.Unit);
            lock (_units) _units.Add(name, served);
        }
        catch (Exception e)
        {
            unit.Spec.DeleteCreated();
            served.Unit.DisposeAsync().AsTask().GetAwaiter().GetResult();
            throw e is HostException ? new UserException(e.Message, inner: e) : e;
        }
    }

    private void StartHandlers(LunKitConfig config)
    {
        foreach (string command in config.Units.Values.Select(u => u.Spec.Handler).OfType<string>()) _handlers.Start(command);
    }

    private TargetSet TargetsOf(LunKitConfig config) =>
        TargetSet.Of(config.Targets.Select(t => t.Definition with { Luns = t.Luns.ToDictionary(l => l.Key, l => this[l.Value].Unit) }));

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
    public Task RefreshSizesAsync() =>
        // At once: one that hangs keeps no other waiting.
        Task.WhenAll(Units.Select(served => served.Unit).OfType<BlockUnit>().Select(unit => RefreshSizeAsync(unit, _log)));

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
        await StopReloadingAsync();
        List<string> failures = [];
        // Handlers complete and flush what they have while their devices are still there.
        failures.AddRange(await _host.StopAsync(async () => failures.AddRange(await _handlers.StopAsync())));
        _handlers.Dispose();
        if (failures.Count > 0) throw new UserException(string.Join("; ", failures));
    }
}
