using System.Collections.Concurrent;
using System.Globalization;
using LunKit.Linux;
using Tmds.DBus.Protocol;

namespace LunKit.App.Handle.Bus;

/// <summary>
/// A name on a bus. Method calls, whatever object they are for, are answered one after the other on a thread of its own, so an answer that
/// waits for a disk holds up no other part of the process.
/// </summary>
internal sealed class BusConnection : IPathMethodHandler, IDisposable
{
    private const string Failed = "org.freedesktop.DBus.Error.Failed";
    // The library cannot write every text that is longer (BusText).
    private const int MaxErrorText = 1000;
    private const uint DoNotQueue = 4, PrimaryOwner = 1, AlreadyOwner = 4;
    private static readonly TimeSpan s_stopLimit = TimeSpan.FromSeconds(2);

    private readonly BlockingCollection<MethodContext> _calls = [];
    private readonly Action<MethodContext> _answer;
    private readonly Options _options;
    private readonly DBusConnection _connection;
    private readonly Thread _thread;
    private volatile bool _disposed;

    private BusConnection(string address, Action<MethodContext> answer)
    {
        _answer = answer;
        _options = new Options(address);
        _connection = new DBusConnection(_options);
        _thread = new Thread(Run, maxStackSize: 256 * 1024) { IsBackground = true, Name = "lunkit-dbus" };
        _thread.Start();
    }

    string IPathMethodHandler.Path => "/";

    bool IPathMethodHandler.HandlesChildPaths => true;

    /// <summary>Connects and takes a name. Gives up after <paramref name="limit"/>, or when <paramref name="stop"/> ends.</summary>
    /// <param name="address">The bus.</param>
    /// <param name="name">The name, which must be free.</param>
    /// <param name="answer">Answers a call; a call that it does not answer is refused as unknown.</param>
    /// <param name="stop">Ends when the process stops.</param>
    /// <param name="limit">How long to wait for the bus.</param>
    /// <exception cref="BusException">There is no bus, or the name is not available.</exception>
    public static async Task<BusConnection> OpenAsync(string address, string name, Action<MethodContext> answer, Task stop, TimeSpan limit)
    {
        var bus = new BusConnection(address, answer);
        try
        {
            var opening = bus.ConnectAsync(name);
            if (await Task.WhenAny(opening, stop).WaitAsync(limit).ConfigureAwait(false) != opening) throw new BusException("the process stops");
            // The library completes it on its reading loop, which must not run the caller's next steps.
            await opening.ConfigureAwait(ConfigureAwaitOptions.ForceYielding);
            return bus;
        }
        catch (TimeoutException e)
        {
            bus.Dispose();
            throw new BusException($"the system bus has not answered within {limit.TotalSeconds:F0} s", e);
        }
        catch
        {
            bus.Dispose();
            throw;
        }
    }

    private async Task ConnectAsync(string name)
    {
        try
        {
            await _connection.ConnectAsync().ConfigureAwait(false);
            _connection.AddMethodHandler(this);
        }
        catch (Exception e)
        {
            throw new BusException($"the system bus is not reachable: {e.Message}", e);
        }
        uint owner;
        try
        {
            owner = await _connection.CallMethodAsync(NameRequest(name), static (message, _) => message.GetBodyReader().ReadUInt32()).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            throw new BusException($"the name {name} is not available; the bus's policy may forbid it: {e.Message}", e);
        }
        if (owner is not (PrimaryOwner or AlreadyOwner)) throw new BusException($"the name {name} is not available: another process, perhaps another handler, has it");
    }

    private MessageBuffer NameRequest(string name)
    {
        using var writer = _connection.GetMessageWriter();
        writer.WriteMethodCallHeader("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "RequestName", "su");
        writer.WriteString(name);
        writer.WriteUInt32(DoNotQueue);
        return writer.CreateMessage();
    }

    /// <summary>Ends when the connection has ended, with the reason; null after <see cref="Dispose"/>.</summary>
    public async Task<string?> LostAsync()
    {
        Exception? reason = await _connection.DisconnectedAsync().ConfigureAwait(false);
        return _disposed ? null : reason?.Message ?? "the connection has ended";
    }

    ValueTask IPathMethodHandler.HandleMethodAsync(MethodContext context)
    {
        // No method changes anything: without a caller that waits for the answer there is nothing to do.
        if (context.NoReplyExpected) return default;
        context.DisposesAsynchronously = true;
        try
        {
            _calls.Add(context);
        }
        catch (InvalidOperationException)
        {
            // This process stops.
        }
        return default;
    }

    private void Run()
    {
        foreach (var call in _calls.GetConsumingEnumerable())
        {
            if (_disposed) continue;
            try
            {
                using (call) Answer(call);
            }
            catch (Exception e)
            {
                // The connection has ended meanwhile. LostAsync reports it.
                _ = e;
            }
        }
    }

    private void Answer(MethodContext call)
    {
        try
        {
            _answer(call);
        }
        catch (Exception e)
        {
            call.ReplyError(Failed, e.Message.Length > MaxErrorText ? e.Message[..MaxErrorText] : e.Message);
        }
    }

    /// <summary>Gives the name back. Waits for the answer that is being made, but not for long.</summary>
    public void Dispose()
    {
        _disposed = true;
        _calls.CompleteAdding();
        _thread.Join(s_stopLimit);
        _connection.Dispose();
        _options.Close();
    }

    /// <summary>Connects for the library, through a stream that bounds what it holds.</summary>
    private sealed class Options(string address) : DBusConnectionOptions
    {
        private readonly CancellationTokenSource _closed = new();
        private BusStream? _stream;

        protected override async ValueTask<SetupResult> SetupAsync(CancellationToken cancellationToken)
        {
            _stream = new BusStream(await BusAddress.ConnectAsync(address, _closed.Token).ConfigureAwait(false));
            if (_closed.IsCancellationRequested) _stream.Dispose();
            return new SetupResult { ConnectionStream = _stream, UserId = Account.EffectiveUserId.ToString(CultureInfo.InvariantCulture), MachineId = MachineId };
        }

        /// <summary>Ends a connection attempt too.</summary>
        public void Close()
        {
            _closed.Cancel();
            _stream?.Dispose();
        }

        private static string MachineId
        {
            get
            {
                try
                {
                    return File.ReadAllText("/etc/machine-id").Trim();
                }
                catch (Exception e) when (e is IOException or UnauthorizedAccessException)
                {
                    return new string('0', 32);
                }
            }
        }
    }
}
