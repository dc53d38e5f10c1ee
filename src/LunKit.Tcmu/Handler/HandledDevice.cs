using LunKit.Backstores;
using LunKit.Linux;
using LunKit.LogicalUnits;
using LunKit.Tcmu.Devices;
using Microsoft.Extensions.Logging;

namespace LunKit.Tcmu.Handler;

/// <summary>
/// One device that is handled, from its opening to its end: backstore, unit, ring. A broken ring is reset and served again. Nothing of it
/// touches another device. Its methods are called one after the other.
/// </summary>
internal sealed class HandledDevice(IDeviceAccess access, TcmuUnitFactory factory, ILogger log)
{
    // The kernel heeds the states and changes them by configfs; SET TARGET PORT GROUPS comes here, and has nothing that it could change.
    private const int ImplicitAccess = 1;
    private static readonly TimeSpan s_recoveryPause = TimeSpan.FromSeconds(1);

    private readonly CancellationTokenSource _closing = new();
    private LogicalUnit? _unit;
    private volatile RingDevice? _ring;
    private Task _serving = Task.CompletedTask;

    private volatile TcmuDeviceState _state = TcmuDeviceState.Connecting;
    private volatile string? _error;
    private volatile bool _isOwn;

    public TcmuDeviceStatus Status => new(access.Name.Hba, access.Name.Name, _state, _error);

    /// <inheritdoc cref="DeviceReply.IsUnasked"/>
    public bool IsUnasked { get; private set; }

    /// <summary>
    /// Whether this process has taken the device: what it is told of it is for it to answer. Not yet, or not, when that is not known, e.g. for want of a
    /// descriptor.
    /// </summary>
    public bool IsOwn => _isOwn;

    private string Name => $"tcm-user/{access.Name.Hba}/{access.Name.Name}";

    /// <summary>
    /// Opens the backstore and begins to serve. <paramref name="takesOver"/>: another process may have served the ring before, and its
    /// entries need not be the commands that are out, so the ring is reset (initiators repeat what was out).
    /// </summary>
    /// <returns>What whoever offers it is told; null: nothing, for the device is, or may be, another process's.</returns>
    public async Task<DeviceReply?> OpenAsync(bool takesOver)
    {
        // The caller goes on meanwhile: one backend that cannot be reached delays nobody else.
        await Task.Yield();
        try
        {
            if (!access.TryOwn())
            {
                (_state, _error) = (TcmuDeviceState.Elsewhere, "another process serves it");
                return null;
            }
            _isOwn = true;
            var snapshot = access.ReadSnapshot();
            IsUnasked = !snapshot.WaitsForReplies;
            // It may have taken until the device was gone.
            _closing.Token.ThrowIfCancellationRequested();
            var config = new TcmuConfig(access.Name.Subtype, access.Name.Path, $"{Name}/{access.Name.Subtype}/{access.Name.Path}", snapshot.SizeBytes, snapshot.BlockSize, DeviceIdentity.Of(Name, snapshot))
            {
                MustExist = takesOver || snapshot.WasServed, StateWasKept = snapshot.StateWasKept, Epoch = snapshot.Epoch,
            };
            _unit = await factory(config, _closing.Token).ConfigureAwait(false);
            _unit.Alua = access.PortGroups is { } groups ? new Alua(groups) { AccessTypes = ImplicitAccess } : Alua.Elsewhere;
            if (_unit is BlockUnit block) await FitAsync(block, snapshot).ConfigureAwait(false);
            await AttachAsync(takesOver).ConfigureAwait(false);
            _state = TcmuDeviceState.Serving;
            LogMessages.Serving(log, config.DeviceName, access.Path, snapshot.SizeBytes);
            _serving = SuperviseAsync();
            return DeviceReply.Done;
        }
        catch (Exception e)
        {
            // Whatever a factory throws: the device is let go, and who looks for the reason finds it.
            bool isWorded = e is IOException or UnauthorizedAccessException or OperationCanceledException or ArgumentException;
            string reason = isWorded ? e.Message : $"{e.GetType().Name}: {e.Message}";
            (_state, _error) = (TcmuDeviceState.Failed, reason);
            if (_unit is not null) await _unit.DisposeAsync().ConfigureAwait(false);
            _unit = null;
            access.Dispose();
            // Another process may have what this one could not even open.
            return _isOwn ? new DeviceReply(ErrnoOf(e)) { Reason = reason } : null;
        }
    }

    /// <summary>
    /// Initiators learn size and blocks from the unit, and whoever made the device has his own idea of them: they are the same. What is longer was made so for a growth of
    /// which nobody heard, or for one to come: the device is its first part.
    /// </summary>
    private async Task FitAsync(BlockUnit unit, DeviceDescription snapshot)
    {
        if (snapshot.BlockSize is not (512 or 4096)) throw new TcmuException($"blocks of {snapshot.BlockSize} bytes (hw_block_size) are not supported: 512 or 4096");
        unit.HostTransferBytes = snapshot.MaxTransferBytes;
        if (unit.BlockSize != snapshot.BlockSize)
            throw new TcmuException($"the backstore has blocks of {unit.BlockSize} bytes, the device of {snapshot.BlockSize} (hw_block_size)");
        // Its initiators do not flush.
        if (!snapshot.WriteCache) await unit.SetWriteCacheAsync(false).ConfigureAwait(false);
        long length = unit.Store.Geometry.LengthBytes;
        if (length < snapshot.SizeBytes && unit.Store.Has(BackstoreFeatures.Resize)) await unit.ResizeAsync(snapshot.SizeBytes).ConfigureAwait(false);
        else if (length < snapshot.SizeBytes) throw new TcmuException($"the backstore has {length} bytes, the device {snapshot.SizeBytes} (dev_size)");
        else if (length > snapshot.SizeBytes) LogMessages.IsLonger(log, Name, length, snapshot.SizeBytes);
        unit.ServeFirst(snapshot.SizeBytes);
    }

    /// <summary>The error number of what went wrong at the bottom; whoever words it for people wraps it.</summary>
    private static Errno ErrnoOf(Exception e) => e switch
    {
        LinuxException linux => linux.Errno,
        // So .NET says what the system refused.
        IOException { HResult: > 0 and < 4096 } io => (Errno)io.HResult,
        UnauthorizedAccessException => Errno.EACCES,
        FileNotFoundException or DirectoryNotFoundException => Errno.ENOENT,
        BackstoreException { Error: BackstoreError.NoSpace } => Errno.ENOSPC,
        BackstoreException { Error: BackstoreError.InUse } => Errno.EBUSY,
        { InnerException: { } inner } => ErrnoOf(inner),
        // What nothing at the bottom has refused was not asked for rightly.
        TcmuException or ArgumentException or NotSupportedException or BackstoreException { Error: BackstoreError.Internal } => Errno.EINVAL,
        _ => Errno.EIO,
    };

    private async Task AttachAsync(bool takesOver)
    {
        var ring = new RingDevice(Name, access.OpenRing(takesOver), _unit!, log);
        bool runs = false;
        try
        {
            ring.Start();
            runs = true;
            access.Admit(takesOver);
        }
        catch
        {
            // Whoever hears of this closes the unit and lets the device go: nothing uses them any more then.
            if (runs)
            {
                ring.Stop();
                await ring.Ended.ConfigureAwait(false);
            }
            else
            {
                ring.Dispose();
            }
            throw;
        }
        _ring = ring;
        // Who closes the device has stopped the ring that it saw, which may have been the one before.
        if (_closing.IsCancellationRequested) ring.Stop();
    }

    /// <summary>Serves until the device is closed or gone; a broken ring is reset.</summary>
    private async Task SuperviseAsync()
    {
        while (true)
        {
            var end = await _ring!.Ended.ConfigureAwait(false);
            if (end == RingEnd.ProducerGone) Lost?.Invoke();
            if (end != RingEnd.Broken || _closing.IsCancellationRequested) return;
            try
            {
                await Task.Delay(s_recoveryPause, _closing.Token).ConfigureAwait(false);
                await AttachAsync(takesOver: true).ConfigureAwait(false);
                LogMessages.Recovered(log, Name);
            }
            catch (Exception e)
            {
                // Whatever it is, no thread for the ring included: nothing serves the device any more, which must not be a secret.
                (_state, _error) = (TcmuDeviceState.Failed, e.Message);
                LogMessages.NotServed(log, Name, e.Message);
                Lost?.Invoke();
                return;
            }
        }
    }

    /// <summary>Called when its ring is gone and nothing of it can be served any more. Any thread.</summary>
    public Action? Lost { get; set; }

    /// <summary>It is about to be closed: its opening ends.</summary>
    public void Leave() => _closing.Cancel();

    /// <summary>What its full name is in a log.</summary>
    public string FullName => $"{Name}/{access.Name.Subtype}/{access.Name.Path}";

    /// <summary>What an event is told that says that the device is there, when it was taken up before that: whether it is served; null when another process may have it.</summary>
    public Task<DeviceReply?> IsAddedAsync() => Task.FromResult<DeviceReply?>(_state switch
    {
        TcmuDeviceState.Serving => DeviceReply.Done,
        _ when !_isOwn => null,
        _ => new DeviceReply(Errno.EIO) { Reason = _error },
    });

    /// <summary>What the kernel wants to change.</summary>
    public async Task<DeviceReply?> ReconfigureAsync(TcmuEvent change)
    {
        if (!_isOwn) return null;
        if (_unit is null || _state != TcmuDeviceState.Serving) return new DeviceReply(Errno.EIO);
        // Whoever restores a configuration writes the text that is there; the kernel passes on a line's end, too.
        if (change.Config?.Trim() == $"{access.Name.Subtype}/{access.Name.Path}") return DeviceReply.Done;
        // The same disk under another name would be another disk.
        if (_unit is not BlockUnit unit || change is { SizeBytes: null, WriteCache: null }) return new DeviceReply(Errno.EOPNOTSUPP);
        try
        {
            if (change.SizeBytes is { } size)
            {
                if (WhyNotSize(unit, size) is { } why)
                {
                    LogMessages.NotReconfigured(log, Name, why);
                    _ = access.KeepSizeAsync(unit.BlockCount * unit.BlockSize);
                    return new DeviceReply(Errno.EINVAL) { Reason = why };
                }
                await unit.ResizeAsync(checked((long)size)).ConfigureAwait(false);
                _ring?.CapacityIsTold();
            }
            else if (!await unit.SetWriteCacheAsync(change.WriteCache!.Value).ConfigureAwait(false))
            {
                return new DeviceReply(Errno.EOPNOTSUPP);
            }
            return DeviceReply.Done;
        }
        catch (Exception e) when (e is IOException or ArgumentException or OverflowException)
        {
            LogMessages.NotReconfigured(log, Name, e.Message);
            return new DeviceReply(e is IOException ? ErrnoOf(e) : Errno.EINVAL) { Reason = e.Message };
        }
    }

    /// <summary>A typing error in a size must not cut off what is in use: to make a disk smaller is for its owner, at the image itself.</summary>
    private static string? WhyNotSize(BlockUnit unit, ulong size)
    {
        long there = unit.BlockCount * unit.BlockSize;
        if (size > long.MaxValue || size % (ulong)unit.BlockSize != 0) return $"{size} bytes are no multiple of a block of {unit.BlockSize}";
        return (long)size < there ? $"{size} bytes are less than the {there} that the disk has: a disk in use is not cut off" : null;
    }

    /// <summary>
    /// Stops serving: what was read is completed and flushed. Past a limit the log names what hangs, and the device is left open, and its
    /// lease held, until that has ended: nothing is closed under a command that may still use it.
    /// </summary>
    public async Task CloseAsync(TimeSpan limit)
    {
        await _closing.CancelAsync().ConfigureAwait(false);
        var closing = CloseWhenOverAsync();
        if (await Task.WhenAny(closing, Task.Delay(limit)).ConfigureAwait(false) == closing) return;
        string held = string.Join("; ", _unit?.Tasks.Describe(8) ?? []);
        LogMessages.NotDrained(log, Name, limit.TotalSeconds, held.Length > 0 ? held : "its flush");
    }

    private async Task CloseWhenOverAsync()
    {
        if (_ring is { } ring)
        {
            ring.Stop();
            await _serving.ConfigureAwait(false);
        }
        if (_unit is { } unit) await unit.CloseAsync(Timeout.InfiniteTimeSpan).ConfigureAwait(false);
        access.Dispose();
        _state = TcmuDeviceState.Closed;
        LogMessages.Closed(log, Name);
    }
}
