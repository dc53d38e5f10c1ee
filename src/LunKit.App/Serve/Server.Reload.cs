using LunKit.App.Config;
using LunKit.Backstores;
using LunKit.Hosting;
using LunKit.LogicalUnits;

namespace LunKit.App.Serve;

/// <summary>
/// The configuration changes while it is served: what is another than before is done, and nothing else is touched. A reload that cannot be done as a whole is
/// refused as a whole; what can only fail afterwards (the flush of a unit that was removed, a growth for which there is no room) is told.
/// </summary>
internal sealed partial class Server
{
    private readonly SemaphoreSlim _reloading = new(1, 1);
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(5);

    private volatile bool _isStopping;

    /// <summary>Goes over to another configuration. One after the other; never throws.</summary>
    public async Task ReloadAsync(LunKitConfig next)
    {
        await _reloading.WaitAsync();
        try
        {
            if (!_isStopping) await ReloadNowAsync(next);
        }
        catch (Exception e)
        {
            ServeLog.ReloadRefused(_log, e.Message);
        }
        finally
        {
            _reloading.Release();
        }
    }

    private async Task ReloadNowAsync(LunKitConfig next)
    {
        var difference = new ConfigDifference(_config, next);
        var refused = difference.Changes.Where(c => c.Effect == Effect.Refused).ToList();
        if (refused.Count > 0)
        {
            foreach (var change in refused) ServeLog.ReloadRefused(_log, change.What);
            return;
        }
        if (!await TryChangeTargetsAsync(difference, next)) return;
        var before = _config;
        // What needs a restart is still as it was, and is named at each reload until then.
        _config = next with
        {
            Portals = before.Portals, DiscoveryChap = before.DiscoveryChap, Limits = before.Limits, StatePath = before.StatePath, HandlersPath = before.HandlersPath,
            HandlerMemoryBytes = before.HandlerMemoryBytes, ColdReset = before.ColdReset,
        };
        if (_log is ConsoleLogger console) console.Minimum = next.LogLevel;
        foreach (var change in difference.Changes)
        {
            if (change.Effect == Effect.Live) ServeLog.Changed(_log, change.What);
            else ServeLog.ChangesAtRestart(_log, change.What);
        }
        foreach (string name in difference.FilteredUnits) await ChangeFiltersAsync(name, next.Units[name]);
        foreach (var (name, bytes) in difference.GrownUnits) await GrowAsync(name, bytes);
        // At once: one that hangs takes its time, and no other's.
        await Task.WhenAll(difference.RemovedUnits.Select(RemoveAsync));
        ServeLog.Reloaded(_log, difference.Changes.Count);
    }

    /// <summary>Opens what is new, and shows initiators what they are to see from here on: both, or neither.</summary>
    private async Task<bool> TryChangeTargetsAsync(ConfigDifference difference, LunKitConfig next)
    {
        List<string> opened = [];
        try
        {
            foreach (string name in difference.AddedUnits)
            {
                Open(name, next.Units[name]);
                opened.Add(name);
            }
            // Before: behind the update nothing fails that would have to undo it.
            StartHandlers(next);
            _host.Update(_ => TargetsOf(next));
            return true;
        }
        catch (Exception e) when (e is UserException or HostException)
        {
            ServeLog.ReloadRefused(_log, e.Message);
            foreach (string name in opened)
            {
                next.Units[name].Spec.DeleteCreated();
                await RemoveAsync(name);
            }
            return false;
        }
    }

    private async Task RemoveAsync(string name)
    {
        lock (_units) _units.Remove(name);
        var end = await _host.RemoveUnitAsync(name);
        if (!end.IsClosed) ServeLog.NotRemoved(_log, name);
        if (end.FlushFailure is { } e) ServeLog.RemovedWithLoss(_log, name, e.Message);
    }

    private async Task ChangeFiltersAsync(string name, UnitConfig unit)
    {
        var filters = this[name].Filters;
        var specs = ((BackstoreSpec)unit.Spec).Filters;
        for (int i = 0; i < filters.Count; i++)
        {
            try
            {
                await specs[i].TryChange(filters[i]);
            }
            catch (BackstoreException e)
            {
                ServeLog.NotChanged(_log, name, specs[i].Text, e.Message);
            }
        }
    }

    private async Task GrowAsync(string name, long bytes)
    {
        try
        {
            // One that is larger already stays so: a size creates and grows.
            if (this[name].Unit is BlockUnit unit && unit.BlockCount * unit.BlockSize < bytes) await unit.ResizeAsync(bytes);
        }
        catch (Exception e) when (e is IOException or ArgumentException or NotSupportedException)
        {
            ServeLog.NotResized(_log, name, e.Message);
        }
    }

    /// <summary>
    /// No reload begins any more. One that is under way is waited for a while: when it hangs in opening an image, the host, which stops, does not take that unit.
    /// </summary>
    private async Task StopReloadingAsync()
    {
        _isStopping = true;
        if (await _reloading.WaitAsync(s_patience)) _reloading.Release();
    }
}
