using System.Collections.Concurrent;
using LunKit.Linux;
using LunKit.Tcmu.Devices;
using Microsoft.Extensions.Logging;

namespace LunKit.Tcmu.Handler;

/// <summary>
/// The devices of one handler. What happens to one device is done in order, different devices side by side. The source's thread calls it,
/// except where something else is said. Whatever a source says of a device is answered: each of these methods returns what whoever waits is told, or null
/// where that is for another handler; none of these tasks fails, and none waits for more than the device's own work.
/// </summary>
internal sealed class HandledDevices(IReadOnlyDictionary<string, TcmuUnitFactory> subtypes, ILogger log)
{
    private readonly ConcurrentDictionary<string, HandledDevice> _devices = [];
    private static readonly TimeSpan s_removing = TimeSpan.FromSeconds(2);

    private readonly Dictionary<string, Task> _work = [];

    // What could not be taken up, and why: it is forgotten, so that it can be taken up anew, but not for whoever asks.
    private readonly ConcurrentDictionary<string, TcmuDeviceStatus> _refused = [];

    /// <summary>How long the closing of a device is waited for; then it goes on alone.</summary>
    public TimeSpan CloseLimit { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>Any thread.</summary>
    public IReadOnlyList<TcmuDeviceStatus> Statuses => [.. _devices.Values.Select(d => d.Status), .. _refused.Where(r => !_devices.ContainsKey(r.Key)).Select(r => r.Value)];

    public IReadOnlyCollection<string> Keys => [.. _devices.Keys];

    public bool Handles(string subtype) => subtypes.ContainsKey(subtype);

    public bool Contains(string key) => _devices.ContainsKey(key);

    /// <summary>Whether this process has taken a device.</summary>
    public bool IsOwn(string key) => _devices.TryGetValue(key, out var device) && device.IsOwn;

    /// <summary>
    /// Takes up a device; over when it is served, or cannot be. One that cannot be is forgotten: the kernel has none that it was refused, and gives its
    /// number to the next.
    /// </summary>
    public Task<DeviceReply?> AddAsync(string key, IDeviceAccess access, bool takesOver, Action? lost = null)
    {
        _devices[key] = new HandledDevice(access, subtypes[access.Name.Subtype], log) { Lost = lost };
        return FollowAsync(key, async d =>
        {
            var reply = await d.OpenAsync(takesOver).ConfigureAwait(false);
            if (reply is { Error: Errno.None }) _refused.TryRemove(key, out _);
            else Refused(key, d);
            return reply;
        });
    }

    private void Refused(string key, HandledDevice device)
    {
        var status = device.Status;
        // Once for each reason: it is tried again and again.
        if (!_refused.TryGetValue(key, out var before) || before != status)
        {
            if (status.State == TcmuDeviceState.Elsewhere) LogMessages.ServedElsewhere(log, device.FullName);
            else LogMessages.NotServed(log, device.FullName, status.Error ?? "");
        }
        _refused[key] = status;
        _devices.TryRemove(KeyValuePair.Create(key, device));
    }

    /// <summary>Whether a device is served that is known already.</summary>
    public Task<DeviceReply?> IsAddedAsync(string key) => FollowAsync(key, d => d.IsAddedAsync());

    /// <summary>Forgets why devices could not be taken up that are not there any more.</summary>
    public void ForgetRefused(Func<string, bool> isThere)
    {
        foreach (string key in _refused.Keys.Where(k => !isThere(k))) _refused.TryRemove(key, out _);
    }

    /// <summary>
    /// Lets go of a device; over when nothing of it is used any more. Whoever removes a device holds its folder, which its opening may be reading: the
    /// answer does not wait for an opening for long, or neither would ever go on.
    /// </summary>
    public async Task<DeviceReply?> RemoveAsync(string key)
    {
        if (_devices.TryGetValue(key, out var leaving)) leaving.Leave();
        var opening = _work.GetValueOrDefault(key, Task.CompletedTask);
        var closing = FollowAsync(key, async d =>
        {
            await d.CloseAsync(CloseLimit).ConfigureAwait(false);
            return d.IsOwn ? DeviceReply.Done : null;
        });
        bool isKnown = _devices.TryRemove(key, out _);
        _refused.TryRemove(key, out _);
        if (isKnown && await Task.WhenAny(opening, Task.Delay(s_removing)).ConfigureAwait(false) != opening)
            return leaving!.IsOwn ? DeviceReply.Done with { IsUnasked = leaving.IsUnasked } : null;
        return await closing.ConfigureAwait(false);
    }

    /// <summary>Changes a device.</summary>
    public Task<DeviceReply?> ReconfigureAsync(string key, TcmuEvent change) => FollowAsync(key, d => d.ReconfigureAsync(change));

    /// <summary>Whether a device could not be opened, or its ring was lost. Any thread.</summary>
    public bool HasFailed(string key) => _devices.TryGetValue(key, out var device) && device.Status.State == TcmuDeviceState.Failed;

    /// <summary>Does something with a device when what was begun before is done. Other devices go on meanwhile.</summary>
    private Task<DeviceReply?> FollowAsync(string key, Func<HandledDevice, Task<DeviceReply?>> act)
    {
        if (!_devices.TryGetValue(key, out var device)) return Task.FromResult<DeviceReply?>(null);
        var work = ThenAsync(_work.GetValueOrDefault(key, Task.CompletedTask));
        _work[key] = work;
        return work;

        async Task<DeviceReply?> ThenAsync(Task before)
        {
            await before.ConfigureAwait(false);
            try
            {
                return await act(device).ConfigureAwait(false) is { } reply ? reply with { IsUnasked = device.IsUnasked } : null;
            }
            catch (Exception fault)
            {
                LogMessages.HandlerCrashed(log, fault);
                return new DeviceReply(Errno.EIO) { Reason = fault.Message };
            }
        }
    }

    /// <summary>Every device completes what it has begun and is flushed. The source tells nothing more.</summary>
    public async Task CloseAsync()
    {
        await Task.WhenAll(_work.Values).ConfigureAwait(false);
        await Task.WhenAll(_devices.Values.Select(d => d.CloseAsync(CloseLimit))).ConfigureAwait(false);
    }
}
