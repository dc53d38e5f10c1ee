using System.Collections.Concurrent;
using LunKit.Tcmu.Devices;
using Microsoft.Extensions.Logging;

namespace LunKit.Tcmu.Handler;

/// <summary>
/// The devices of one handler. What happens to one device is done in order, different devices side by side. The source's thread calls it,
/// except where something else is said.
/// </summary>
internal sealed class HandledDevices(IReadOnlyDictionary<string, TcmuUnitFactory> subtypes, IDeviceSource source, ILogger log)
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

    /// <summary>
    /// Takes up a device, and replies to <paramref name="e"/> when it is served, or cannot be. One that cannot be is forgotten: the kernel has none
    /// that it was refused, and gives its number to the next.
    /// </summary>
    public void Add(string key, IDeviceAccess access, TcmuEvent? e, bool takesOver, Action? lost = null)
    {
        _devices[key] = new HandledDevice(access, subtypes[access.Name.Subtype], log) { Lost = lost };
        Follow(key, e, async d =>
        {
            var reply = await d.OpenAsync(takesOver).ConfigureAwait(false);
            if (reply is { Status: 0 }) _refused.TryRemove(key, out _);
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

    /// <summary>Answers an event that says that a device is there which is known already.</summary>
    public void AnswerAdded(string key, TcmuEvent e) => Follow(key, e, d => d.IsAddedAsync());

    /// <summary>Forgets why devices could not be taken up that are not there any more.</summary>
    public void ForgetRefused(Func<string, bool> isThere)
    {
        foreach (string key in _refused.Keys.Where(k => !isThere(k))) _refused.TryRemove(key, out _);
    }

    /// <summary>Lets go of a device.</summary>
    public void Remove(string key, TcmuEvent? e)
    {
        if (_devices.TryGetValue(key, out var leaving)) leaving.Leave();
        Follow(key, e, async d =>
        {
            await d.CloseAsync(CloseLimit).ConfigureAwait(false);
            return new DeviceReply(0);
        }, isRemoval: true);
        _devices.TryRemove(key, out _);
        _refused.TryRemove(key, out _);
    }

    /// <summary>Changes a device.</summary>
    public void Reconfigure(string key, TcmuEvent e) => Follow(key, e, d => d.ReconfigureAsync(e));

    /// <summary>Whether a device could not be opened, or its ring was lost. Any thread.</summary>
    public bool HasFailed(string key) => _devices.TryGetValue(key, out var device) && device.Status.State == TcmuDeviceState.Failed;

    /// <summary>Does something with a device when what was begun before is done, and replies. Other devices go on meanwhile.</summary>
    private void Follow(string key, TcmuEvent? e, Func<HandledDevice, Task<DeviceReply?>> act, bool isRemoval = false)
    {
        if (!_devices.TryGetValue(key, out var device))
        {
            if (e is not null) source.LeaveToOthers(e);
            return;
        }
        _work[key] = ThenAsync(_work.GetValueOrDefault(key, Task.CompletedTask));

        async Task ThenAsync(Task before)
        {
            // Whoever removes a device holds its folder, which its opening may be reading: neither would ever go on.
            if (isRemoval && e is not null && await Task.WhenAny(before, Task.Delay(s_removing)).ConfigureAwait(false) != before)
            {
                source.Reply(e, 0);
                e = null;
            }
            await before.ConfigureAwait(false);
            DeviceReply? reply;
            try
            {
                reply = await act(device).ConfigureAwait(false);
            }
            catch (Exception fault)
            {
                LogMessages.HandlerCrashed(log, fault);
                reply = new DeviceReply(-5) { Reason = fault.Message };
            }
            if (e is null) return;
            if (reply is { } said) source.Reply(e, said);
            else source.LeaveToOthers(e);
        }
    }

    /// <summary>Every device completes what it has begun and is flushed. The source tells nothing more.</summary>
    public async Task CloseAsync()
    {
        await Task.WhenAll(_work.Values).ConfigureAwait(false);
        await Task.WhenAll(_devices.Values.Select(d => d.CloseAsync(CloseLimit))).ConfigureAwait(false);
    }
}
