using LunKit.Linux;
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
    private readonly NetlinkSocket _socket;
    private readonly KernelView _view;
    private readonly ushort _family;
    private readonly bool _replies;
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Lock _sending = new();
    private KernelEvents _events = null!;
    private bool _owesRelease;
    private bool _holdsEvents;
    private long _scannedAt;
    private uint _sequence = 1;
    private volatile bool _stopping;

    /// <summary>Listens. Throws <see cref="TcmuException"/> when this kernel has no TCMU, or this process may not use it.</summary>
    public KernelSource(ILogger log, bool replies)
    {
        (_log, _replies, _owesRelease) = (log, replies, replies);
        _socket = replies ? new() : Repliers.OpenQuiet();
        try
        {
            (_family, uint group) = Resolve(_socket);
            _socket.Join(group);
            _view = new(new Repliers(group, _socket.Port));
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
        _events = new(devices, _view, _replies, static () => Environment.TickCount64, Send, _log);
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
        bool isFirst = EndOldWaits();
        if (_replies) lock (_sending) _socket.Send(TcmuMessages.SetFeatures(_family, _sequence++, replies: true));
        Look(isFirst);
        // Also when a handler has died that had held them back.
        AllowEvents();
        while (!_stopping)
        {
            int length = _socket.Receive(buffer, out bool lost);
            if (lost || length < 0 && Environment.TickCount64 - _scannedAt >= ScanMilliseconds)
            {
                if (!lost) EndOldWaits();
                Look(wasLost: lost);
                if (_holdsEvents) AllowEvents();
            }
            _events.LookAtLeft();
            if (length < 0)
            {
                _socket.Wait(_wake, 1000);
                continue;
            }
            ReadOnlySpan<byte> rest = buffer.AsSpan(0, length);
            while (NetlinkMessage.TryTake(ref rest, out var message))
                if (TcmuMessages.ParseEvent(message, _family) is { } e) _events.Told(e);
        }
    }

    private void Look(bool isFirst = false, bool wasLost = false)
    {
        _events.Look(isFirst, wasLost);
        _scannedAt = Environment.TickCount64;
    }

    private void AllowEvents()
    {
        TcmuModule.AllowEvents();
        _holdsEvents = false;
    }

    /// <summary>
    /// Ends the waits for answers that no process will give any more. The kernel can only end all waits at once, also those for other handlers that live:
    /// as long as another one listens, the old waits are its, and it is looked at again until it is gone. Not by a handler that does not answer.
    /// </summary>
    /// <returns>Whether events are held back, and none was told.</returns>
    private bool EndOldWaits()
    {
        if (!_owesRelease || _view.MayOthersAnswer()) return false;
        _holdsEvents = true;
        TcmuModule.HoldEvents();
        // What was told before that waits for this handler's answer, and gets it.
        if (_events.IsAnswering || _socket.Wait(_wake, 0)) return false;
        TcmuModule.EndWaits();
        _owesRelease = false;
        return true;
    }

    private void Send(TcmuEvent e, DeviceReply reply)
    {
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
