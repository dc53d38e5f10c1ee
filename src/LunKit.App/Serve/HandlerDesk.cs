using LunKit.Tcmu.Target;
using Microsoft.Extensions.Logging;

namespace LunKit.App.Serve;

/// <summary>
/// The handlers of a target: where they connect, begun when the first unit needs one, and the processes that are started with the target. One process serves
/// all units that name the same command. The target's own: not thread safe.
/// </summary>
internal sealed class HandlerDesk(string path, long memoryBytes, string statePath, ILogger log) : IDisposable
{
    private readonly Dictionary<string, HandlerProcess> _processes = new(StringComparer.Ordinal);
    private HandlerListener? _listener;
    private HandlerMetrics? _metrics;

    /// <summary>Where they connect; null when no unit needs one.</summary>
    public string? Path => _listener?.Path;

    /// <summary>The door for handlers. Throws <see cref="UserException"/> when its place is taken.</summary>
    public HandlerListener Listener
    {
        get
        {
            _listener ??= HandlerSocket.Listen(path, memoryBytes, log);
            _metrics ??= new HandlerMetrics(_listener);
            return _listener;
        }
    }

    /// <summary>Starts a handler that does not run yet, and again whenever it ends.</summary>
    public void Start(string command)
    {
        if (!_processes.ContainsKey(command)) _processes.Add(command, new HandlerProcess(command, Listener.Path, statePath, log));
    }

    /// <summary>Stops the processes, which complete and flush what they have; their devices must still be there. Returns what may be lost, a line for each device.</summary>
    public async Task<IReadOnlyList<string>> StopAsync()
    {
        if (_listener is null) return [];
        _listener.IsStopping = true;
        var before = _listener.Devices;
        foreach (var process in _processes.Values) await process.DisposeAsync();
        // The target sees that they are gone a moment later.
        for (int tries = 0; tries < 20 && _processes.Count > 0 && _listener.Devices.Any(d => d.IsServed); tries++) await Task.Delay(50);
        return [.. _listener.Devices.Where(d => before.Any(b => b.Name == d.Name && b.Losses < d.Losses)).Select(d => $"{d.Name}: data may be lost, the last flush of its handler failed")];
    }

    /// <summary>Closes the door: the units are closed.</summary>
    public void Dispose()
    {
        _metrics?.Dispose();
        _listener?.Dispose();
    }
}
