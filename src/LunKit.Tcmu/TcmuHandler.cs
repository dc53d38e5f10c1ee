using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using LunKit.Backstores;
using LunKit.Linux;
using LunKit.LogicalUnits;
using LunKit.Tcmu.ConfigFs;
using LunKit.Tcmu.Kernel;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace LunKit.Tcmu;

/// <summary>
/// The handler process of TCMU (what tcmu-runner is): answers the SCSI commands of those of the kernel's user backstores whose subtype it
/// knows, from the moment that they are enabled until they are removed. Needs root. Thread safe.
/// </summary>
public sealed class TcmuHandler : IAsyncDisposable
{
    private static readonly TimeSpan s_othersPatience = TimeSpan.FromSeconds(5);

    private readonly IReadOnlyDictionary<string, TcmuUnitFactory> _subtypes;
    private readonly ILogger _log;
    private readonly EventFd _wake = new();
    private readonly NetlinkSocket _socket;
    private readonly ushort _family;
    private readonly ConcurrentDictionary<string, KernelDevice> _devices = [];
    private readonly Dictionary<string, Task> _work = [];
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Lock _sending = new();
    private uint _sequence = 1;
    private bool _replies;
    private volatile bool _stopping;

    private TcmuHandler(IReadOnlyDictionary<string, TcmuUnitFactory> subtypes, ILogger log, NetlinkSocket socket, ushort family)
    {
        _subtypes = subtypes;
        _log = log;
        _socket = socket;
        _family = family;
    }

    /// <summary>Begins to handle: the devices that are there, and those to come.</summary>
    /// <param name="subtypes">Factories by subtype; a device belongs to a handler when the subtypes are equal.</param>
    /// <param name="log">Where to log.</param>
    /// <param name="replies">
    /// The kernel waits for a handler's reply before a device is enabled, changed or removed, and gives its error to whoever asked for
    /// that. The switch is the kernel's, for all handlers; without it nobody waits.
    /// </param>
    /// <exception cref="TcmuException">This kernel has no TCMU, or this process may not use it.</exception>
    public static TcmuHandler Start(IReadOnlyDictionary<string, TcmuHandlerFactory> subtypes, ILogger? log = null, bool replies = true) =>
        Start(subtypes.ToDictionary(s => s.Key, s => Unit(s.Value, log)), log, replies);

    /// <inheritdoc cref="Start(IReadOnlyDictionary{string, TcmuHandlerFactory}, ILogger?, bool)"/>
    public static TcmuHandler Start(IReadOnlyDictionary<string, TcmuUnitFactory> subtypes, ILogger? log = null, bool replies = true)
    {
        foreach (string subtype in subtypes.Keys)
            if (subtype.Length == 0 || subtype.AsSpan().ContainsAny("/:,")) throw new ArgumentException($"'{subtype}' is no subtype: it has no '/', ':' or ','", nameof(subtypes));
        var socket = new NetlinkSocket();
        try
        {
            var (family, group) = Resolve(socket);
            socket.Join(group);
            var handler = new TcmuHandler(subtypes, log ?? NullLogger.Instance, socket, family) { _replies = replies };
            new Thread(handler.Run, maxStackSize: 256 * 1024) { IsBackground = true, Name = "lunkit-tcmu" }.Start();
            return handler;
        }
        catch (Exception e)
        {
            socket.Dispose();
            if (e is LinuxException { Errno: 1 or 13 }) throw new TcmuException("only root may handle TCMU devices", e);
            throw;
        }
    }

    private static TcmuUnitFactory Unit(TcmuHandlerFactory open, ILogger? log) => async (config, cancellationToken) =>
    {
        var store = await open(config, cancellationToken).ConfigureAwait(false);
        return new BlockUnit(store, config.Identity.Name, new VolatileUnitState(config.Identity.Id), new BlockUnitOptions { Identity = config.Identity }, log);
    };

    /// <summary>
    /// Handles one subtype until Ctrl-C, SIGTERM or cancellation: all that a program which is a handler needs.
    /// </summary>
    /// <param name="subtype">The handler's name.</param>
    /// <param name="open">Makes the disk of a device.</param>
    /// <param name="log">Where to log.</param>
    /// <param name="cancellationToken">Stops handling.</param>
    public static Task RunAsync(string subtype, Func<TcmuConfig, IBackstore> open, ILogger? log = null, CancellationToken cancellationToken = default) =>
        RunAsync(subtype, Unit((config, _) => ValueTask.FromResult(open(config)), log), log, cancellationToken);

    /// <inheritdoc cref="RunAsync(string, Func{TcmuConfig, IBackstore}, ILogger?, CancellationToken)"/>
    public static Task RunAsync(string subtype, Func<TcmuConfig, LogicalUnit> open, ILogger? log = null, CancellationToken cancellationToken = default) =>
        RunAsync(subtype, (config, _) => ValueTask.FromResult(open(config)), log, cancellationToken);

    private static async Task RunAsync(string subtype, TcmuUnitFactory open, ILogger? log, CancellationToken cancellationToken)
    {
        var stop = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        void Stop(PosixSignalContext context) => context.Cancel = stop.TrySetResult();
        using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Stop);
        using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Stop);
        using var cancel = cancellationToken.Register(() => stop.TrySetResult());
        var handler = Start(new Dictionary<string, TcmuUnitFactory> { [subtype] = open }, log);
        await using var scope = handler.ConfigureAwait(false);
        await stop.Task.ConfigureAwait(false);
    }

    /// <summary>The devices that it handles now, or tried to.</summary>
    public IReadOnlyList<TcmuDeviceStatus> Devices => [.. _devices.Values.Select(d => d.Status)];

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
        var buffer = new byte[64 * 1024];
        try
        {
            // Writers that wait for a handler that has died would wait for ever.
            TcmuModule.ReleaseWaiters();
            if (_replies) lock (_sending) _socket.Send(TcmuMessages.SetFeatures(_family, _sequence++, replies: true));
            Rescan();
            TcmuModule.AllowEvents();
            while (!_stopping)
            {
                int length = _socket.Receive(buffer, out bool lost);
                if (lost) Rescan();
                if (length < 0)
                {
                    _socket.Wait(_wake, 1000);
                    continue;
                }
                ReadOnlySpan<byte> rest = buffer.AsSpan(0, length);
                while (NetlinkMessage.TryTake(ref rest, out var message))
                    if (TcmuMessages.ParseEvent(message, _family) is { } e) Handle(e);
            }
        }
        catch (Exception e)
        {
            LogMessages.HandlerCrashed(_log, e);
        }
        _ended.SetResult();
    }

    /// <summary>Takes up devices of ours that are there and not known, and lets go of those that are gone.</summary>
    private void Rescan()
    {
        var found = UioDevice.Find().Where(d => _subtypes.ContainsKey(d.Name.Subtype)).ToDictionary(KeyOf);
        foreach (string gone in _devices.Keys.Except(found.Keys).ToList()) Remove(gone, null);
        foreach (var (key, device) in found)
            if (!_devices.ContainsKey(key)) Add(key, device, null, takesOver: true);
    }

    private static string KeyOf(UioDevice device) => $"{device.Name.ConfigFsPath}@{device.Number}";

    private void Handle(TcmuEvent e)
    {
        if (TcmuDeviceName.Parse(e.DeviceName) is not { } name) return;
        if (!_subtypes.ContainsKey(name.Subtype))
        {
            if (_replies) _ = AnswerIfNobodyHandlesAsync(e);
            return;
        }
        string key = $"{name.ConfigFsPath}@{e.Minor}";
        switch (e.Kind)
        {
            case TcmuEventKind.Added:
                if (UioDevice.Find().FirstOrDefault(d => KeyOf(d) == key) is not { } device) Reply(e, -19);
                else if (!_devices.ContainsKey(key)) Add(key, device, e, takesOver: false);
                break;
            case TcmuEventKind.Removed:
                Remove(key, e);
                break;
            default:
                Follow(key, e, d => d.ReconfigureAsync(e));
                break;
        }
    }

    /// <summary>
    /// The kernel waits without a limit for a reply; when no handler has the device open after a while, none will reply.
    /// </summary>
    private async Task AnswerIfNobodyHandlesAsync(TcmuEvent e)
    {
        await Task.Delay(s_othersPatience).ConfigureAwait(false);
        // Not by opening it at once: the handler that is late would find it busy.
        var device = UioDevice.Find().FirstOrDefault(d => d.Number == e.Minor);
        if (device is null || device.Name != TcmuDeviceName.Parse(e.DeviceName) || OpenFiles.HolderOf(device.Path) is not null || DeviceNode.IsHandled(device.Path)) return;
        if (e.Kind == TcmuEventKind.Added) LogMessages.NobodyHandles(_log, e.DeviceName);
        // Nothing keeps a device from going; a new one, or a change, needs a handler.
        Reply(e, e.Kind == TcmuEventKind.Removed ? 0 : -2);
    }

    private void Add(string key, UioDevice device, TcmuEvent? e, bool takesOver)
    {
        var opened = new KernelDevice(device, UserBackstore.Of(device.Name), _subtypes[device.Name.Subtype], _log);
        _devices[key] = opened;
        Follow(key, e, d => d.OpenAsync(takesOver));
    }

    private void Remove(string key, TcmuEvent? e)
    {
        Follow(key, e, async d =>
        {
            await d.CloseAsync().ConfigureAwait(false);
            return 0;
        });
        _devices.TryRemove(key, out _);
    }

    /// <summary>Does something with a device when what was begun before is done, and replies. Other devices go on meanwhile.</summary>
    private void Follow(string key, TcmuEvent? e, Func<KernelDevice, Task<int>> act)
    {
        if (!_devices.TryGetValue(key, out var device))
        {
            if (e is not null) Reply(e, e.Kind == TcmuEventKind.Removed ? 0 : -19);
            return;
        }
        _work[key] = ThenAsync(_work.GetValueOrDefault(key, Task.CompletedTask));

        async Task ThenAsync(Task before)
        {
            await before.ConfigureAwait(false);
            int status;
            try
            {
                status = await act(device).ConfigureAwait(false);
            }
            catch (Exception fault)
            {
                LogMessages.HandlerCrashed(_log, fault);
                status = -5;
            }
            if (e is not null) Reply(e, status);
        }
    }

    private void Reply(TcmuEvent e, int status)
    {
        if (!_replies) return;
        try
        {
            lock (_sending) _socket.Send(TcmuMessages.Done(_family, _sequence++, e, status));
        }
        catch (Exception fault) when (fault is LinuxException or ObjectDisposedException)
        {
            LogMessages.ReplyFailed(_log, e.DeviceName, fault.Message);
        }
    }

    /// <summary>Stops: every device completes what it has begun and is flushed; the kernel keeps the devices.</summary>
    public async ValueTask DisposeAsync()
    {
        _stopping = true;
        _wake.Signal();
        await _ended.Task.ConfigureAwait(false);
        await Task.WhenAll(_work.Values).ConfigureAwait(false);
        await Task.WhenAll(_devices.Values.Select(d => d.CloseAsync())).ConfigureAwait(false);
        _socket.Dispose();
        _wake.Dispose();
    }
}
