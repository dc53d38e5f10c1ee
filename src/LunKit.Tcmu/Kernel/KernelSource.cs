using LunKit.Linux;
using LunKit.Tcmu.ConfigFs;
using LunKit.Tcmu.Devices;
using LunKit.Tcmu.Handler;
using Microsoft.Extensions.Logging;

namespace LunKit.Tcmu.Kernel;

/// <summary>The kernel's TCMU devices, told by generic netlink.</summary>
internal sealed class KernelSource : IDeviceSource
{
    private const int RetryMilliseconds = 1000, ScanMilliseconds = 2000;

    private readonly ILogger _log;
    private readonly EventFd _wake = new();
    private readonly NetlinkSocket _socket = new();
    private readonly ushort _family;
    private readonly bool _replies;
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Lock _sending = new();
    private HandledDevices _devices = null!;
    private readonly LeftEvents _left = new(IsEnabled, static () => Environment.TickCount64);
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
            if (e is LinuxException { Errno: Errno.EPERM or Errno.EACCES }) throw new TcmuException("only root may handle TCMU devices", e);
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
                if (TcmuMessages.ParseEvent(message, _family) is { } e) _ = AnswerAsync(e, DecideAsync(e));
        }
    }

    /// <summary>
    /// Takes up devices of ours that are there and not known, among them those that could not be taken up before, and lets go of those that are gone.
    /// </summary>
    /// <param name="isFirst">No event was told before: what is there has been there.</param>
    private void Rescan(bool isFirst = false)
    {
        var found = UioDevice.Find().Where(d => _devices.Handles(d.Name.Subtype)).ToDictionary(KeyOf);
        foreach (string gone in _devices.Keys.Except(found.Keys).ToList()) _ = _devices.RemoveAsync(gone);
        foreach (string lost in _devices.Keys.Where(_devices.HasFailed).ToList()) _ = _devices.RemoveAsync(lost);
        _devices.ForgetRefused(found.ContainsKey);
        foreach (var (key, device) in found)
        {
            // One that has just come is told by an event, and not taken over but new.
            if ((isFirst || _seen.Contains(key)) && !_devices.Contains(key)) _ = _devices.AddAsync(key, new KernelDeviceAccess(device), takesOver: true);
        }
        _seen = [.. found.Keys];
        _scannedAt = Environment.TickCount64;
    }

    private static string KeyOf(UioDevice device) => $"{device.Name.ConfigFsPath}@{device.Number}";

    /// <summary>
    /// What an event is answered, or null when another handler has to. Whoever has made the event waits for that without a limit: there is no way
    /// out of this without a decision, and <see cref="AnswerAsync"/> sends it.
    /// </summary>
    private async Task<DeviceReply?> DecideAsync(TcmuEvent e)
    {
        if (TcmuDeviceName.Parse(e.DeviceName) is not { } name || !_devices.Handles(name.Subtype)) return null;
        string key = $"{name.ConfigFsPath}@{e.Minor}";
        Task<DeviceReply?> work;
        switch (e.Kind)
        {
            case TcmuEventKind.Added when _devices.Contains(key):
                work = _devices.IsAddedAsync(key);
                break;
            case TcmuEventKind.Added:
                if (UioDevice.Find().FirstOrDefault(d => KeyOf(d) == key) is not { } device) return new DeviceReply(Errno.ENODEV);
                work = _devices.AddAsync(key, new KernelDeviceAccess(device), takesOver: false);
                break;
            case TcmuEventKind.Removed:
                // Not taken up again by a look that comes before it is gone.
                _seen.Remove(key);
                work = _devices.RemoveAsync(key);
                break;
            default:
                work = _devices.ReconfigureAsync(key, e);
                break;
        }
        return await work.ConfigureAwait(false);
    }

    private async Task AnswerAsync(TcmuEvent e, Task<DeviceReply?> decision)
    {
        try
        {
            if (await decision.ConfigureAwait(false) is { } reply) Reply(e, reply);
            else LeaveToOthers(e);
        }
        catch (Exception fault)
        {
            LogMessages.HandlerCrashed(_log, fault);
            Reply(e, new DeviceReply(Errno.EIO));
        }
    }

    /// <summary>
    /// The kernel waits without a limit for a reply; when no handler has the device open after a while, none will reply. A handler of a new device may be
    /// late.
    /// </summary>
    private void LeaveToOthers(TcmuEvent e)
    {
        if (!_replies) return;
        if (e.Kind != TcmuEventKind.Added && Find(e) is { } device && !IsHeld(device)) AnswerForNobody(e, Errno.ENODEV);
        else _left.Add(e);
    }

    private static bool IsEnabled(TcmuEvent e) => TcmuDeviceName.Parse(e.DeviceName) is { } name && UserBackstore.Of(name).IsEnabled;

    private static UioDevice? Find(TcmuEvent e) => UioDevice.Find().FirstOrDefault(d => d.Number == e.Minor && d.Name == TcmuDeviceName.Parse(e.DeviceName));

    // The second look finds handlers in other containers. Not as the first one, and late: a handler that comes at that moment finds the device busy.
    private static bool IsHeld(UioDevice device) => OpenFiles.HolderOf(device.Path) is not null || DeviceNode.IsHandled(device.Path) is not false;

    /// <summary>Answers the events that were left to others, and that none of them has answered.</summary>
    private void LookAtLeft()
    {
        foreach (var e in _left.Take())
        {
            if (Find(e) is not { } device) continue;
            bool isOurs = _devices.Contains(KeyOf(device));
            // Whoever had it is gone, and it was taken over here.
            if (isOurs && e.Kind == TcmuEventKind.Added) _ = AnswerAsync(e, _devices.IsAddedAsync(KeyOf(device)));
            else if (isOurs && e.Kind == TcmuEventKind.Removed || !IsHeld(device)) AnswerForNobody(e, Errno.ENOENT);
            // Who has it may still die before it answers, and a removal that nobody answers holds all of the target.
            else if (e.Kind == TcmuEventKind.Removed) _left.Add(e);
        }
    }

    /// <summary>Nothing keeps a device from going; a new one, or a change, needs a handler.</summary>
    private void AnswerForNobody(TcmuEvent e, Errno error)
    {
        if (e.Kind == TcmuEventKind.Added) LogMessages.NobodyHandles(_log, e.DeviceName);
        Reply(e, e.Kind == TcmuEventKind.Removed ? DeviceReply.Done : new DeviceReply(error));
    }

    private void Reply(TcmuEvent e, DeviceReply reply)
    {
        if (!_replies || reply.IsUnasked) return;
        try
        {
            lock (_sending) _socket.Send(TcmuMessages.Done(_family, _sequence++, e, reply.Error));
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
