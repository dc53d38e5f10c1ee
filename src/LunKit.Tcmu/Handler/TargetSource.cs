using System.Net.Sockets;
using LunKit.Linux;
using LunKit.Tcmu.Devices;
using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;

namespace LunKit.Tcmu.Handler;

/// <summary>
/// The devices of a LunKit target, told over its socket. When the target is gone all of them are let go, and it is looked for again. A target
/// says which files and devices a handler opens, with the handler's rights, and whoever comes first can listen at a name: so it is
/// believed only when it is of a user that is trusted.
/// </summary>
/// <param name="path">Where the target listens.</param>
/// <param name="users">User ids that a target may have.</param>
/// <param name="log">Where to log.</param>
internal sealed class TargetSource(string path, IReadOnlySet<uint> users, ILogger log) : IDeviceSource
{
    private const int RetryMilliseconds = 250;

    private readonly EventFd _wake = new();
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Dictionary<uint, TcmuEvent> _opening = [];
    private HandledDevices _devices = null!;
    private volatile UnixChannel? _channel;
    private volatile bool _stopping;
    private uint _sequence;
    private string? _told;
    private bool _hasServed;

    public void Start(HandledDevices devices)
    {
        _devices = devices;
        new Thread(Run, maxStackSize: 256 * 1024) { IsBackground = true, Name = "lunkit-handler" }.Start();
    }

    private void Run()
    {
        while (!_stopping)
        {
            try
            {
                using var channel = UnixChannel.Connect(path);
                var peer = channel.Peer;
                if (!users.Contains(peer.UserId)) throw new IOException($"process {peer.ProcessId} of user {peer.UserId} listens there, which is not trusted");
                _channel = channel;
                _told = null;
                _hasServed = true;
                LogMessages.TargetConnected(log, path);
                Serve(channel);
            }
            catch (Exception e) when (e is SocketException or IOException)
            {
                // What .NET makes of ENOENT.
                string reason = e is SocketException { SocketErrorCode: SocketError.AddressNotAvailable } ? "there is no such socket" : e.Message;
                // Once for each reason: nobody listens for a while, and then one who is not trusted.
                if (_told != reason && _hasServed) LogMessages.TargetGone(log, path, reason);
                else if (_told != reason) LogMessages.TargetMissing(log, path, reason);
                _told = reason;
            }
            catch (Exception e)
            {
                LogMessages.HandlerCrashed(log, e);
            }
            // What is still executed ends; the target, or its successor, has new rings.
            if (!_stopping) foreach (string key in _devices.Keys) _ = _devices.RemoveAsync(key);
            _opening.Clear();
            if (!_stopping) _wake.Wait(RetryMilliseconds);
        }
        _ended.SetResult();
    }

    private void Serve(UnixChannel channel)
    {
        var buffer = new byte[UserMessages.MaxLength];
        while (!_stopping)
        {
            int length = channel.Receive(buffer, out var descriptors);
            try
            {
                if (length == 0) throw new IOException("it has closed the connection");
                ReadOnlySpan<byte> rest = length > 0 ? buffer.AsSpan(0, length) : default;
                if (NetlinkMessage.TryTake(ref rest, out var message)) Handle(channel, message, descriptors);
            }
            finally
            {
                // Whoever keeps one has made it invalid here.
                foreach (var descriptor in descriptors) descriptor.Dispose();
            }
            if (length < 0) channel.Wait(_wake, 1000);
            ForgetFailed();
        }
    }

    private static string KeyOf(uint device) => $"{device}";

    private void Handle(UnixChannel channel, NetlinkMessage message, SafeFileHandle[] descriptors)
    {
        if (TcmuMessages.ParseEvent(message, UserMessages.Family) is { } e)
        {
            string key = KeyOf(e.DeviceId);
            if (e.Kind == TcmuEventKind.Added)
            {
                if (TcmuDeviceName.Parse(e.DeviceName) is not { } name || !_devices.Handles(name.Subtype) || _devices.Contains(key)) return;
                _opening[e.DeviceId] = e;
                channel.Send(UserMessages.Open(e.DeviceId));
            }
            else if (e.Kind == TcmuEventKind.Removed)
            {
                _ = AnswerAsync(e, _devices.RemoveAsync(key));
            }
            else
            {
                _ = AnswerAsync(e, _devices.ReconfigureAsync(key, e));
            }
            return;
        }
        if (UserMessages.Parse(message) is not { } user) return;
        // Another handler may have it: then its end will be told.
        if (user.Command != UserMessages.Command.Grant || !_opening.Remove(user.DeviceId, out var opening) || user.Error != Errno.None) return;
        var access = new TargetDeviceAccess(user, descriptors);
        _ = AnswerAsync(opening, _devices.AddAsync(KeyOf(user.DeviceId), access, takesOver: false, lost: _wake.Signal));
    }

    /// <summary>Lets go of devices that could not be opened: the target offers them again after a while.</summary>
    private void ForgetFailed()
    {
        foreach (string key in _devices.Keys.Where(_devices.HasFailed)) _ = _devices.RemoveAsync(key);
    }

    /// <summary>A target gives a device to one handler: there are no others who would answer.</summary>
    private async Task AnswerAsync(TcmuEvent e, Task<DeviceReply?> decision)
    {
        var reply = await decision.ConfigureAwait(false) ?? (e.Kind == TcmuEventKind.Removed ? DeviceReply.Done : new DeviceReply(Errno.ENODEV));
        Send(UserMessages.Done(Interlocked.Increment(ref _sequence), e, reply));
        // A device that cannot be opened is let go at once.
        if (reply.Error != Errno.None) _wake.Signal();
    }

    private void Send(byte[] message)
    {
        try
        {
            _channel?.Send(message);
        }
        catch (Exception fault) when (fault is LinuxException or ObjectDisposedException)
        {
            // The connection is over, which its reader says; nobody waits for this.
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
        _channel?.Dispose();
        _wake.Dispose();
        return ValueTask.CompletedTask;
    }
}
