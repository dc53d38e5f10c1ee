using LunKit.Linux;
using LunKit.Tcmu.Devices;
using Microsoft.Extensions.Logging;

namespace LunKit.Tcmu.Target;

/// <summary>
/// The target's door for handler processes: offers devices over a Unix socket with the messages of TCM-USER, and gives each to one handler
/// at a time, over the ring of TCMU in shared memory. A device without a handler waits for one, and so do its commands. Thread safe.
/// </summary>
public sealed class HandlerListener : IDisposable
{
    // A handler is a process of this machine; more than this are a mistake, or ill will.
    private const int MaxConnections = 64;
    private const int TickMilliseconds = 200;
    private static readonly TimeSpan s_refusedPause = TimeSpan.FromSeconds(2);

    private readonly Lock _gate = new();
    private readonly ILogger _log;
    private readonly UnixChannel _listener;
    private readonly EventFd _wake = new();
    private readonly Thread _thread;
    private readonly Dictionary<uint, UserDevice> _devices = [];
    private readonly List<HandlerConnection> _connections = [];
    private readonly IReadOnlySet<uint> _users;
    private uint _lastNumber;
    private volatile bool _stopping;

    /// <summary>Listens.</summary>
    /// <param name="path">A path, or '@' and a name in the abstract namespace.</param>
    /// <param name="log">Where to log.</param>
    /// <param name="users">User ids that may handle devices besides root and this process's own; the file's mode is opened to them.</param>
    /// <exception cref="System.Net.Sockets.SocketException">The path is in use, or not allowed.</exception>
    /// <exception cref="IOException">Its folder does not take files.</exception>
    /// <exception cref="UnauthorizedAccessException">Likewise.</exception>
    public HandlerListener(string path, ILogger log, params ReadOnlySpan<uint> users)
    {
        Path = path;
        _log = log;
        _users = new HashSet<uint>([0, Account.EffectiveUserId, .. users]);
        var mode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
        // Who exactly may is asked of the kernel when it connects.
        if (users.Length > 0) mode |= UnixFileMode.GroupRead | UnixFileMode.GroupWrite | UnixFileMode.OtherRead | UnixFileMode.OtherWrite;
        _listener = UnixChannel.Listen(path, mode);
        _thread = new Thread(Run, maxStackSize: 256 * 1024) { IsBackground = true, Name = "lunkit-handlers" };
        _thread.Start();
    }

    /// <summary>Where handlers connect.</summary>
    public string Path { get; }

    /// <summary>What the data areas of all devices may have together; 1 GiB unless somebody says otherwise. Share one among listeners.</summary>
    public DataAreaBudget Memory { get; init; } = new(1L << 30);

    /// <summary>Starts the thread of a connection; a test has one that fails.</summary>
    internal Action<Thread> StartThread { get; init; } = static thread => thread.Start();

    /// <summary>What the rings take from the system; a test has a clock of its own.</summary>
    internal RingRuntime Runtime { get; init; } = RingRuntime.System;

    /// <summary>How long a device may be without a handler before the log says so.</summary>
    internal TimeSpan Patience { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>How long a handler may take for a change of its device.</summary>
    internal TimeSpan ChangeLimit { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>Whether the target stops: that handlers leave is expected then, and no warning.</summary>
    public bool IsStopping { get; set; }

    /// <summary>The devices and who has them.</summary>
    public IReadOnlyList<UserDeviceStatus> Devices
    {
        get { lock (_gate) return [.. _devices.Values.Select(d => d.Status)]; }
    }

    /// <summary>Makes a device: a logical unit whose commands a handler answers. Its disposal removes the device.</summary>
    public RingUnit Add(UserDeviceOptions options)
    {
        string name = $"tcm-user/{options.Hba}/{options.Name}/{options.Config}";
        if (TcmuDeviceName.Parse(name) is not { Subtype.Length: > 0 } parsed || parsed.Name != options.Name || name.Length > 1000)
            throw new ArgumentException($"'{options.Config}' is no configuration: write SUBTYPE/PATH", nameof(options));
        if (options.SizeBytes < options.BlockSize) throw new ArgumentException($"a device of {options.SizeBytes} bytes has no block of {options.BlockSize}", nameof(options));
        var ring = new UserRing(name, options.Ring, Memory, _log, Runtime);
        var unit = new RingUnit(ring, options.BlockSize, options.Identity, options.State, _log);
        UserDevice device;
        lock (_gate)
        {
            device = new UserDevice(++_lastNumber, options, ring, unit);
            _devices.Add(device.Number, device);
            device.IsOffered = true;
            Offer(device, _connections);
        }
        _wake.Signal();
        unit.Removing = () => Remove(device);
        ring.HandlerGone = () => HandlerGone(device);
        ring.Broken = () => RingBroken(device);
        return unit;
    }

    private static TcmuEvent Event(UserDevice device, TcmuEventKind kind) => new(kind, device.Name, device.Number, device.Number);

    private static void Offer(UserDevice device, IEnumerable<HandlerConnection> to)
    {
        var message = TcmuMessages.Event(UserMessages.Family, Event(device, TcmuEventKind.Added));
        foreach (var connection in to) connection.Send(message);
    }

    private void Run()
    {
        while (!_stopping)
        {
            UnixChannel? channel = null;
            try
            {
                channel = _listener.Accept();
                if (channel is not null) Admit(channel);
                else _listener.Wait(_wake, OfferAgain());
            }
            catch (Exception e)
            {
                // No descriptor, thread or memory is left, or the caller is gone already: those who are connected go on.
                channel?.Dispose();
                LogMessages.HandlerCrashed(_log, e);
                _wake.Wait(TickMilliseconds);
            }
        }
    }

    private void Admit(UnixChannel channel)
    {
        var peer = channel.Peer;
        lock (_gate)
        {
            if (_users.Contains(peer.UserId) && _connections.Count < MaxConnections)
            {
                var connection = new HandlerConnection(this, channel, peer, _log);
                _connections.Add(connection);
                foreach (var device in _devices.Values.Where(d => d.IsOffered)) Offer(device, [connection]);
                try
                {
                    StartThread(connection.Thread);
                }
                catch
                {
                    _connections.Remove(connection);
                    connection.Abandon();
                    throw;
                }
                return;
            }
        }
        LogMessages.HandlerNotAdmitted(_log, peer.ProcessId, peer.UserId);
        channel.Dispose();
    }

    /// <summary>Offers devices whose pause is over, and names those that nobody takes; how long to wait until the next look.</summary>
    private int OfferAgain()
    {
        lock (_gate)
        {
            long now = Environment.TickCount64;
            bool waiting = false;
            foreach (var device in _devices.Values.Where(d => d.Holder is null))
            {
                if (!device.IsOffered && device.OfferAt <= now)
                {
                    device.IsOffered = true;
                    Offer(device, _connections);
                }
                // Whoever refused it has said why.
                if (device is { IsMissed: false, LastError: Errno.None } && now - device.FreeSince >= Patience.TotalMilliseconds)
                {
                    device.IsMissed = true;
                    LogMessages.WaitsForHandler(_log, device.Name, Path);
                }
                waiting |= !device.IsOffered || !device.IsMissed && device.LastError == Errno.None;
            }
            return waiting ? TickMilliseconds : -1;
        }
    }

    internal void Handle(HandlerConnection connection, NetlinkMessage message)
    {
        if (UserMessages.ParseDone(message) is { } done) HandleReply(connection, done.Kind, done.DeviceId, done.Reply);
        else if (UserMessages.Parse(message) is { Command: UserMessages.Command.Open } open) HandleOpen(connection, open.DeviceId);
        else if (UserMessages.Parse(message) is { Command: UserMessages.Command.FreeKept } free && Of(connection, free.DeviceId) is { } device) device.Ring.FreeKept((ushort)free.CommandId);
    }

    /// <summary>A device that a handler has; null when it has no business with it.</summary>
    private UserDevice? Of(HandlerConnection connection, uint number)
    {
        lock (_gate) return _devices.TryGetValue(number, out var device) && device.Holder == connection ? device : null;
    }

    /// <summary>A handler that refuses a device and leaves at once may be gone before its reply is read: why it did is to be seen all the same.</summary>
    private UserDevice? JustLeft(HandlerConnection connection, uint number, Errno error)
    {
        lock (_gate) return error != Errno.None && _devices.TryGetValue(number, out var device) && device is { Holder: null } && device.LastHolder == connection ? device : null;
    }

    private void HandleOpen(HandlerConnection connection, uint number)
    {
        lock (_gate)
        {
            if (!_devices.TryGetValue(number, out var device) || device.Holder is not null || !device.IsOffered)
            {
                connection.Send(UserMessages.Refuse(number, device is null ? Errno.ENODEV : Errno.EBUSY));
                return;
            }
            // First: it may fail for want of a descriptor, and the device is offered again then.
            var grant = device.Ring.Attach();
            (device.Holder, device.LastHolder, device.IsServed, device.IsOffered, device.IsMissed) = (connection, connection, false, false, false);
            connection.Send(UserMessages.Grant(number, device.Name, device.Ring.RegionBytes, device.Snapshot), grant.Memory, grant.ToHandler, grant.ToTarget, grant.Lease);
            grant.Lease.Dispose();
        }
    }

    private void HandleReply(HandlerConnection connection, TcmuEventKind kind, uint number, DeviceReply said)
    {
        if ((Of(connection, number) ?? JustLeft(connection, number, said.Error)) is not { } device) return;
        TaskCompletionSource<DeviceReply>? reply = null;
        bool isNews = true;
        lock (_gate)
        {
            // Also here: what a handler that is gone has said does not hold for the next.
            if (said.Error == Errno.None && device.Holder != connection) return;
            if (kind == TcmuEventKind.Added)
            {
                device.IsServed = said.Error == Errno.None;
                // It is offered again and again: a refusal for the same reason is no news.
                isNews = (device.LastError, device.LastReason) != (said.Error, said.Reason);
                (device.LastError, device.LastReason) = (said.Error, said.Reason);
            }
            else if (kind == TcmuEventKind.Reconfigured)
            {
                if (device.OverdueChange is null) reply = device.Reply;
                // Whoever asked for it was told that it had no answer; it is made all the same.
                else if (said.Error == Errno.None) device.OverdueChange(device);
                device.OverdueChange = null;
            }
        }
        reply?.TrySetResult(said);
        if (kind != TcmuEventKind.Added) return;
        if (said.Error == Errno.None)
        {
            LogMessages.HandlerAttached(_log, device.Name, connection.Peer.ProcessId);
            return;
        }
        if (isNews) LogMessages.HandlerRefuses(_log, device.Name, connection.Peer.ProcessId, said.Reason ?? said.Error.Text, (int)said.Error);
    }

    /// <summary>The lease of a device is over: its handler is gone, or has let go. On the ring's thread.</summary>
    private void HandlerGone(UserDevice device)
    {
        lock (_gate)
        {
            bool served = device.IsServed;
            device.Reply?.TrySetResult(new DeviceReply(Errno.EIO));
            (device.Holder, device.IsServed, device.OverdueChange, device.FreeSince) = (null, false, null, Environment.TickCount64);
            device.OfferAt = served ? 0 : Environment.TickCount64 + (long)s_refusedPause.TotalMilliseconds;
            if (served && !IsStopping) LogMessages.HandlerGone(_log, device.Name);
        }
        _wake.Signal();
    }

    /// <summary>Its handler is disconnected; the device is offered again, after a pause, when the lease is over. On the ring's thread.</summary>
    private void RingBroken(UserDevice device)
    {
        lock (_gate)
        {
            device.IsServed = false;
            device.Holder?.End("it broke the ring of a device");
        }
    }

    internal void Ended(HandlerConnection connection)
    {
        // Its devices stay with it until their leases are over.
        lock (_gate) _connections.Remove(connection);
    }

    /// <summary>Changes the size of a device. Its handler follows first; initiators are told. Throws <see cref="IOException"/> when it does not follow.</summary>
    public async Task ResizeAsync(RingUnit unit, long sizeBytes)
    {
        await ReconfigureAsync(unit, e => e with { SizeBytes = (ulong)sizeBytes }, d =>
        {
            d.SizeBytes = sizeBytes;
            unit.EstablishForOthers(null, Scsi.Sense.CapacityChanged);
        }).ConfigureAwait(false);
    }

    /// <summary>Changes the state of the write cache, likewise.</summary>
    public Task SetWriteCacheAsync(RingUnit unit, bool on) => ReconfigureAsync(unit, e => e with { WriteCache = on }, d => d.WriteCache = on);

    private async Task ReconfigureAsync(RingUnit unit, Func<TcmuEvent, TcmuEvent> change, Action<UserDevice> apply)
    {
        UserDevice device;
        Task<DeviceReply> reply;
        lock (_gate)
        {
            device = _devices.Values.First(d => d.Unit == unit);
            if (device is not { Holder: { } holder, IsServed: true }) throw new IOException($"{device.Name} has no handler now");
            if (device.Reply is not null) throw new IOException($"{device.Name} is being changed already");
            if (device.OverdueChange is not null) throw new IOException($"{device.Name}: its handler has not answered the change before this one");
            device.Reply = new TaskCompletionSource<DeviceReply>(TaskCreationOptions.RunContinuationsAsynchronously);
            reply = device.Reply.Task;
            holder.Send(TcmuMessages.Event(UserMessages.Family, change(Event(device, TcmuEventKind.Reconfigured))));
        }
        try
        {
            await Task.WhenAny(reply, Task.Delay(ChangeLimit)).ConfigureAwait(false);
            lock (_gate)
            {
                if (!reply.IsCompleted)
                {
                    if (device.Holder is not null) device.OverdueChange = apply;
                    throw new IOException($"{device.Name}: its handler does not answer");
                }
            }
            var said = await reply.ConfigureAwait(false);
            if (said.Error != Errno.None) throw new IOException($"{device.Name}: its handler refuses the change ({said.Reason ?? said.Error.Text})");
            lock (_gate) apply(device);
        }
        finally
        {
            lock (_gate) device.Reply = null;
        }
    }

    private void Remove(UserDevice device)
    {
        HandlerConnection? holder;
        lock (_gate)
        {
            if (!_devices.Remove(device.Number)) return;
            holder = device.Holder;
            // That its handler goes from here on is no news.
            device.IsServed = false;
        }
        holder?.Send(TcmuMessages.Event(UserMessages.Family, Event(device, TcmuEventKind.Removed)));
    }

    /// <summary>Closes the door; handlers are disconnected, devices end with their units.</summary>
    public void Dispose()
    {
        if (_stopping) return;
        _stopping = true;
        _wake.Signal();
        _thread.Join();
        List<HandlerConnection> connections;
        lock (_gate) connections = [.. _connections];
        foreach (var connection in connections) connection.End("the target stops");
        foreach (var connection in connections) connection.Thread.Join();
        _listener.Dispose();
        _wake.Dispose();
    }
}
