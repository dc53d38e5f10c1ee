using LunKit.Linux;
using LunKit.Tcmu.Devices;
using LunKit.Tcmu.Handler;
using Microsoft.Extensions.Logging;

namespace LunKit.Tcmu.Kernel;

/// <summary>
/// What the kernel's events are answered, and by whom. Whoever has made an event waits for that without a limit, so each event ends in one of three ways:
/// this handler has the device and answers, its device or its wait is gone, or it is left to others and looked at again and again until one of the first
/// two holds, or nobody can answer but this handler. What cannot be told, e.g. for want of a descriptor, is looked at again. One thread calls it.
/// </summary>
/// <param name="devices">The devices of this handler.</param>
/// <param name="view">The kernel.</param>
/// <param name="replies">Whether the kernel waits for replies.</param>
/// <param name="clock">The time in milliseconds.</param>
/// <param name="send">Sends a reply. Any thread.</param>
/// <param name="log">Where to log.</param>
internal sealed class KernelEvents(HandledDevices devices, IKernelView view, bool replies, Func<long> clock, Action<TcmuEvent, DeviceReply> send, ILogger log)
{
    private readonly LeftEvents _left = new(view.IsInForce, clock);

    // Devices whose removal was told, until sysfs has them no more: none of them is taken up again, however long its closing takes, or its going.
    private readonly Dictionary<string, Task> _removing = [];
    private HashSet<string> _seen = [];
    private int _answering;

    /// <summary>Whether somebody may be waiting for an answer of this handler.</summary>
    public bool IsAnswering => Volatile.Read(ref _answering) > 0 || !_left.IsEmpty;

    /// <summary>The kernel has told an event.</summary>
    public void Told(TcmuEvent e)
    {
        _left.Told(e);
        _ = AnswerAsync(e, DecideAsync(e));
    }

    /// <summary>
    /// Takes up devices of ours that are there and not known, among them those that could not be taken up before, and lets go of those that are gone.
    /// </summary>
    /// <param name="isFirst">No event was told before: what is there has been there.</param>
    /// <param name="wasLost">Events were lost: a device whose removal is answered may have come again.</param>
    public void Look(bool isFirst = false, bool wasLost = false)
    {
        var found = view.Devices().Where(d => devices.Handles(d.Name.Subtype)).ToDictionary(KeyOf);
        foreach (string gone in devices.Keys.Except(found.Keys).ToList()) _ = devices.RemoveAsync(gone);
        foreach (string lost in devices.Keys.Where(devices.HasFailed).ToList()) _ = devices.RemoveAsync(lost);
        devices.ForgetRefused(found.ContainsKey);
        foreach (var (key, answer) in _removing.ToList())
        {
            if (!found.ContainsKey(key) || wasLost && answer.IsCompleted) _removing.Remove(key);
        }
        foreach (var (key, device) in found)
        {
            // One that has just come is told by an event, and not taken over but new.
            if (!isFirst && !_seen.Contains(key) || _removing.ContainsKey(key) || devices.Contains(key)) continue;
            // Who enables it waits for a handler that was told, which this one was not, and could not answer for it.
            bool isTold = _left.NewestOf(device.Number) is { Kind: TcmuEventKind.Added } e && TcmuDeviceName.Parse(e.DeviceName) == device.Name;
            _ = devices.AddAsync(key, view.Access(device, mustBeEnabled: !isTold), takesOver: true);
        }
        _seen = [.. found.Keys];
    }

    private static string KeyOf(UioDevice device) => $"{device.Name.ConfigFsPath}@{device.Number}";

    /// <summary>What an event is answered, or null when another handler has to.</summary>
    private async Task<DeviceReply?> DecideAsync(TcmuEvent e)
    {
        if (TcmuDeviceName.Parse(e.DeviceName) is not { } name || !devices.Handles(name.Subtype)) return null;
        string key = $"{name.ConfigFsPath}@{e.Minor}";
        Task<DeviceReply?> work;
        switch (e.Kind)
        {
            case TcmuEventKind.Added when devices.Contains(key):
                work = devices.IsAddedAsync(key);
                break;
            case TcmuEventKind.Added:
                // It has the name and the number of one that is gone.
                _removing.Remove(key);
                if (Find(e) is not { } device) return new DeviceReply(Errno.ENODEV);
                work = devices.AddAsync(key, view.Access(device, mustBeEnabled: false), takesOver: false);
                break;
            case TcmuEventKind.Removed:
                _removing[key] = work = devices.RemoveAsync(key);
                break;
            default:
                work = devices.ReconfigureAsync(key, e);
                break;
        }
        return await work.ConfigureAwait(false);
    }

    private async Task AnswerAsync(TcmuEvent e, Task<DeviceReply?> decision)
    {
        Interlocked.Increment(ref _answering);
        try
        {
            if (await decision.ConfigureAwait(false) is { } reply) Reply(e, reply);
            else LeaveToOthers(e);
        }
        catch (Exception fault)
        {
            // Whether this handler has the device is not known.
            LogMessages.HandlerCrashed(log, fault);
            if (replies) _left.Add(e);
        }
        Interlocked.Decrement(ref _answering);
    }

    /// <summary>
    /// The kernel waits without a limit for a reply; when no handler has the device open after a while, none will reply. A handler of a new device may be
    /// late, and one that has just let a device go has still to say so. Where no other handler was told, nobody is waited for: a removal holds all of the target.
    /// </summary>
    private void LeaveToOthers(TcmuEvent e)
    {
        if (!replies) return;
        if (e.Kind == TcmuEventKind.Removed && !view.MayOthersAnswer()) _left.AddUntold(e);
        else _left.Add(e);
    }

    /// <summary>Answers the events that were left to others, and that none of them has answered.</summary>
    public void LookAtLeft()
    {
        foreach (var left in _left.Take())
        {
            try
            {
                LookAt(left);
            }
            catch (Exception fault)
            {
                LogMessages.HandlerCrashed(log, fault);
                _left.Add(left.Event);
            }
        }
    }

    private void LookAt(LeftEvent left)
    {
        var e = left.Event;
        if (Find(e) is not { } device) return;
        // Whoever had it is gone, and it was taken over here; or it is just being looked at whether it can be, and is another's all the same.
        if (e.Kind != TcmuEventKind.Reconfigured && devices.Contains(KeyOf(device))) _ = AnswerAsync(e, DecideAsync(e));
        // A change that another handler may have refused is not made.
        else if (devices.IsOwn(KeyOf(device))) AnswerForNobody(e);
        // Who has it may still die before it answers.
        else if (view.IsHeld(device) is not false) _left.Add(e);
        // Who had it may have let it go to answer.
        else if (!left.WasFree) _left.AddFree(e);
        else AnswerForNobody(e);
    }

    private UioDevice? Find(TcmuEvent e) => view.Devices().FirstOrDefault(d => d.Number == e.Minor && d.Name == TcmuDeviceName.Parse(e.DeviceName));

    /// <summary>Nothing keeps a device from going, or from being what it is; a new one, or a change, needs a handler.</summary>
    private void AnswerForNobody(TcmuEvent e)
    {
        if (e.Kind == TcmuEventKind.Added) LogMessages.NobodyHandles(log, e.DeviceName);
        Reply(e, e.Kind == TcmuEventKind.Removed || _left.ChangesNothing(e) ? DeviceReply.Done : new DeviceReply(Errno.ENOENT));
    }

    private void Reply(TcmuEvent e, DeviceReply reply)
    {
        // An answer to a wait that is over would be taken for that to a newer one.
        if (replies && !reply.IsUnasked && _left.IsNewest(e)) send(e, reply);
    }
}
