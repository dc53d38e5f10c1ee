using System.Collections.Concurrent;
using LunKit.Linux;
using LunKit.Tcmu.Devices;
using LunKit.Tcmu.Handler;
using Microsoft.Extensions.Logging;

namespace LunKit.Tcmu.Kernel;

/// <summary>The kernel's TCMU devices, told by generic netlink.</summary>
internal sealed class KernelSource : IDeviceSource
{
    private const int RetryMilliseconds = 1000, ScanMilliseconds = 2000;
    private const int OthersPatienceMilliseconds = 5000;
    private const int NoHandler = -2, NoDevice = -19;

    private readonly ILogger _log;
    private readonly EventFd _wake = new();
    private readonly NetlinkSocket _socket = new();
    private readonly ushort _family;
    private readonly bool _replies;
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Lock _sending = new();
    private HandledDevices _devices = null!;
    private readonly ConcurrentQueue<(TcmuEvent Event, long Due)> _left = new();
    private HashSet<string> _seen = [];
    private long _scannedAt;
    private uint _sequence = 1;
    private volatile bool _stopping;

    /// <summary>Listens. Throws <see cref="TcmuException"/> when this kernel has no TCMU, or this process may not use it.</summary>
    public KernelSource(ILogger log, bool replies)
    {
        (_log, _replies) = (log, replies);
        try
        {
            (_family, uint group) = Resolve(_socket);
            _socket.Join(group);
        }
        catch (Exception e)
        {
            _socket.Dispose();
            if (e is LinuxException { Errno: 1 or 13 }) throw new TcmuException("only root may handle TCMU devices", e);
            throw;
        }
    }

    public void Start(HandledDevices devices)
    {
        _devices = devices;
        new Thread(Run, maxStackSize: 256 * 1024) { IsBackground = true, Name = "lunkit-tcmu" }.Start();
    }

    /// <summary>Why this machine's kernel has no devices to handle; null when it has TCMU.</summary>
    public static string? WhyNot()
    {
        try
        {
            using var socket = new NetlinkSocket();
            Resolve(socket);
            return null;
        }
        catch (IOException e)
        {
            return e.Message;
        }
    }

    private static (ushort Family, uint Group) Resolve(NetlinkSocket socket)
    {
        socket.Send(TcmuMessages.GetFamily(1));
        using var wake = new EventFd();
        var buffer = new byte[8192];
        for (int tries = 0; tries < 50; tries++)
        {
            socket.Wait(wake, 100);
            int length = socket.Receive(buffer, out _);
            ReadOnlySpan<byte> rest = length > 0 ? buffer.AsSpan(0, length) : default;
            while (NetlinkMessage.TryTake(ref rest, out var message))
            {
                if (TcmuMessages.ParseFamily(message) is { } ids) return ids;
                if (message is { Type: NetlinkMessage.TypeError, Error: < 0 })
                    throw new TcmuException("the kernel has no TCMU: load its module (modprobe target_core_user), or use a kernel that has it");
            }
        }
        throw new TcmuException("the kernel does not answer on generic netlink");
    }

    private void Run()
    {
        // Writers that wait for a handler that has died would wait for ever.
        if (!_stopping) Try(TcmuModule.ReleaseWaiters);
        while (!_stopping)
        {
            // Again after a failure, e.g. for want of a descriptor or a thread: the kernel's writers wait for the events that nobody takes.
            if (!Try(Listen) && !_stopping) _wake.Wait(RetryMilliseconds);
        }
        _ended.SetResult();
    }

    private bool Try(Action action)
    {
        try
        {
            action();
            return true;
        }
        catch (Exception e)
        {
            LogMessages.HandlerCrashed(_log, e);
            return false;
        }
    }

    private void Listen()
    {
        var buffer = new byte[64 * 1024];
        if (_replies) lock (_sending) _socket.Send(TcmuMessages.SetFeatures(_family, _sequence++, replies: true));
        Rescan(isFirst: true);
        TcmuModule.AllowEvents();
        while (!_stopping)
        {
            int length = _socket.Receive(buffer, out bool lost);
            if (lost || length < 0 && Environment.TickCount64 - _scannedAt >= ScanMilliseconds) Rescan();
            LookAtLeft();
            if (length < 0)
            {
                _socket.Wait(_wake, 1000);
                continue;
            }
            ReadOnlySpan<byte> rest = buffer.AsSpan(0, length);
            while (NetlinkMessage.TryTake(ref rest, out var message))
                if (TcmuMessages.ParseEvent(message, _family) is { } e && !Try(() => Handle(e))) Reply(e, -5); // EIO
        }
    }

    /// <summary>
    /// Takes up devices of ours that are there and not known, among them those that could not be taken up before, and lets go of those that are gone.
    /// </summary>
    /// <param name="isFirst">No event was told before: what is there has been there.</param>
    private void Rescan(bool isFirst = false)
    {
        var found = UioDevice.Find().Where(d => _devices.Handles(d.Name.Subtype)).ToDictionary(KeyOf);
        foreach (string gone in _devices.Keys.Except(found.Keys).ToList()) _devices.Remove(gone, null);
        foreach (string lost in _devices.Keys.Where(_devices.HasFailed).ToList()) _devices.Remove(lost, null);
        _devices.ForgetRefused(found.ContainsKey);
        foreach (var (key, device) in found)
        {
            // One that has just come is told by an event, and not taken over but new.
            if ((isFirst || _seen.Contains(key)) && !_devices.Contains(key)) _devices.Add(key, new KernelDeviceAccess(device), null, takesOver: true);
        }
        _seen = [.. found.Keys];
        _scannedAt = Environment.TickCount64;
    }

    private static string KeyOf(UioDevice device) => $"{device.Name.ConfigFsPath}@{device.Number}";

    private void Handle(TcmuEvent e)
    {
        if (TcmuDeviceName.Parse(e.DeviceName) is not { } name) return;
        if (!_devices.Handles(name.Subtype))
        {
            LeaveToOthers(e);
            return;
        }
        string key = $"{name.ConfigFsPath}@{e.Minor}";
        switch (e.Kind)
        {
            case TcmuEventKind.Added:
                if (UioDevice.Find().FirstOrDefault(d => KeyOf(d) == key) is not { } device) Reply(e, NoDevice);
                else if (_devices.Contains(key)) _devices.AnswerAdded(key, e);
                else _devices.Add(key, new KernelDeviceAccess(device), e, takesOver: false);
                break;
            case TcmuEventKind.Removed:
                _devices.Remove(key, e);
                break;
            default:
                _devices.Reconfigure(key, e);
                break;
        }
    }

    /// <summary>
    /// The kernel waits without a limit for a reply; when no handler has the device open after a while, none will reply. A handler of a new device may be
    /// late.
    /// </summary>
    public void LeaveToOthers(TcmuEvent e)
    {
        if (!_replies) return;
        if (e.Kind != TcmuEventKind.Added && Find(e) is { } device && !IsHeld(device)) Reply(e, e.Kind == TcmuEventKind.Removed ? 0 : NoDevice);
        else _left.Enqueue((e, Environment.TickCount64 + OthersPatienceMilliseconds));
    }

    private static UioDevice? Find(TcmuEvent e) => UioDevice.Find().FirstOrDefault(d => d.Number == e.Minor && d.Name == TcmuDeviceName.Parse(e.DeviceName));

    // The second look finds handlers in other containers. Not as the first one, and late: a handler that comes at that moment finds the device busy.
    private static bool IsHeld(UioDevice device) => OpenFiles.HolderOf(device.Path) is not null || DeviceNode.IsHandled(device.Path);

    /// <summary>Answers the events that were left to others, and that none of them has answered.</summary>
    private void LookAtLeft()
    {
        while (_left.TryPeek(out var left) && left.Due <= Environment.TickCount64 && _left.TryDequeue(out left))
        {
            if (Find(left.Event) is not { } device) continue;
            string key = KeyOf(device);
            // Whoever had it is gone, and it was taken over here.
            if (left.Event.Kind == TcmuEventKind.Added && _devices.Contains(key)) _devices.AnswerAdded(key, left.Event);
            else if (!IsHeld(device)) AnswerForNobody(left.Event);
        }
    }

    private void AnswerForNobody(TcmuEvent e)
    {
        if (e.Kind == TcmuEventKind.Added) LogMessages.NobodyHandles(_log, e.DeviceName);
        // Nothing keeps a device from going; a new one, or a change, needs a handler.
        Reply(e, e.Kind == TcmuEventKind.Removed ? 0 : NoHandler);
    }

    public void Reply(TcmuEvent e, DeviceReply reply)
    {
        if (!_replies) return;
        try
        {
            lock (_sending) _socket.Send(TcmuMessages.Done(_family, _sequence++, e, reply.Status));
        }
        catch (Exception fault) when (fault is LinuxException or ObjectDisposedException)
        {
            LogMessages.ReplyFailed(_log, e.DeviceName, fault.Message);
        }
    }

    public async ValueTask StopAsync()
    {
        _stopping = true;
        _wake.Signal();
        await _ended.Task.ConfigureAwait(false);
    }

    public ValueTask DisposeAsync()
    {
        _socket.Dispose();
        _wake.Dispose();
        return ValueTask.CompletedTask;
    }
}
