using LunKit.Linux;
using LunKit.Tcmu.Devices;
using Microsoft.Extensions.Logging;

namespace LunKit.Tcmu.Target;

/// <summary>A handler process that is connected to this target: its thread reads what it says. Sending is thread safe and never throws.</summary>
internal sealed class HandlerConnection
{
    private readonly HandlerListener _listener;
    private readonly UnixChannel _channel;
    private readonly EventFd _wake = new();
    private readonly ILogger _log;
    private volatile string? _endReason;

    public HandlerConnection(HandlerListener listener, UnixChannel channel, PeerCredentials peer, ILogger log)
    {
        (_listener, _channel, _log, Peer) = (listener, channel, log, peer);
        Thread = new Thread(Run, maxStackSize: 256 * 1024) { IsBackground = true, Name = "lunkit-handlers" };
    }

    public PeerCredentials Peer { get; }

    public Thread Thread { get; }

    /// <summary>Ends it. Any thread.</summary>
    public void End(string reason)
    {
        _endReason ??= reason;
        _wake.Signal();
    }

    /// <summary>Gives up what it has, instead of running: there is no thread for it.</summary>
    public void Abandon()
    {
        _channel.Dispose();
        _wake.Dispose();
    }

    public void Send(ReadOnlySpan<byte> message, params ReadOnlySpan<System.Runtime.InteropServices.SafeHandle> descriptors)
    {
        try
        {
            _channel.Send(message, descriptors);
        }
        catch (Exception e) when (e is LinuxException or ObjectDisposedException)
        {
            // It is gone, or does not read what it is told.
            End(e.Message);
        }
    }

    private void Run()
    {
        var buffer = new byte[UserMessages.MaxLength];
        string reason = "closed by the handler";
        try
        {
            while (_endReason is null)
            {
                int length = _channel.Receive(buffer, out var descriptors);
                // A handler has none to give.
                foreach (var descriptor in descriptors) descriptor.Dispose();
                if (length == 0) break;
                if (length < 0)
                {
                    _channel.Wait(_wake, -1);
                    continue;
                }
                ReadOnlySpan<byte> rest = buffer.AsSpan(0, length);
                if (NetlinkMessage.TryTake(ref rest, out var message)) _listener.Handle(this, message);
            }
            reason = _endReason ?? reason;
        }
        catch (LinuxException e)
        {
            reason = e.Message;
        }
        catch (Exception e)
        {
            // A fault of ours ends this handler's connection, and nothing else.
            reason = "internal fault";
            LogMessages.HandlerCrashed(_log, e);
        }
        LogMessages.HandlerConnectionEnded(_log, Peer.ProcessId, reason);
        _listener.Ended(this);
        _channel.Dispose();
        _wake.Dispose();
    }
}
