using System.Runtime.InteropServices;
using LunKit.Backstores;
using LunKit.Linux;
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

    private readonly IReadOnlyDictionary<string, TcmuHandlerFactory> _subtypes;
    private readonly ILogger _log;
    private readonly EventFd _wake = new();
    private readonly NetlinkSocket _socket;
    private readonly ushort _family;
    private readonly Dictionary<string, KernelDevice> _devices = [];
    private readonly Dictionary<string, Task> _work = [];
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private uint _sequence = 1;
    private bool _replies;
    private volatile bool _stopping;

    private TcmuHandler(IReadOnlyDictionary<string, TcmuHandlerFactory> subtypes, ILogger log, NetlinkSocket socket, ushort family)
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
    public static TcmuHandler Start(IReadOnlyDictionary<string, TcmuHandlerFactory> subtypes, ILogger? log = null, bool replies = true)
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

    /// <summary>
    /// Handles one subtype until Ctrl-C, SIGTERM or cancellation: all that a program which is a handler needs.
    /// </summary>
    /// <param name="subtype">The handler's name.</param>
    /// <param name="open">Makes the disk of a device.</param>
    /// <param name="log">Where to log.</param>
    /// <param name="cancellationToken">Stops handling.</param>
    public static async Task RunAsync(string subtype, Func<TcmuConfig, IBackstore> open, ILogger? log = null, CancellationToken cancellationToken = default)
    {
        var stop = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        void Stop(PosixSignalContext context) => context.Cancel = stop.TrySetResult();
        using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Stop);
        using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Stop);
        using var cancel = cancellationToken.Register(() => stop.TrySetResult());
        var handler = Start(new Dictionary<string, TcmuHandlerFactory> { [subtype] = (config, _) => ValueTask.FromResult(open(config)) }, log);
        await using var scope = handler.ConfigureAwait(false);
        await stop.Task.ConfigureAwait(false);
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
            if (_replies) lock (_devices) _socket.Send(TcmuMessages.SetFeatures(_family, _sequence++, replies: true));
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
            if (_replies && e.Kind == TcmuEventKind.Added) _ = RefuseIfNobodyHandlesAsync(e);
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
    /// The kernel waits without a limit for a reply to a new device; when no handler has opened it after a while, none will.
    /// </summary>
    private async Task RefuseIfNobodyHandlesAsync(TcmuEvent e)
    {
        await Task.Delay(s_othersPatience).ConfigureAwait(false);
        try
        {
            new UioFile($"/dev/uio{e.Minor}").Dispose();
        }
        catch (LinuxException)
        {
            // Another handler has it, or it is gone.
            return;
        }
        LogMessages.NobodyHandles(_log, e.DeviceName);
        Reply(e, -2);
    }

    private void Add(string key, UioDevice device, TcmuEvent? e, bool takesOver)
    {
        var opened = new KernelDevice(device, TcmuBackstoreFolder.Of(device.Name), _subtypes[device.Name.Subtype], _log);
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
        _devices.Remove(key);
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
            lock (_devices) _socket.Send(TcmuMessages.Done(_family, _sequence++, e, status));
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
