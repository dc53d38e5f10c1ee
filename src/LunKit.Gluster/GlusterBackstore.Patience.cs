using LunKit.Backstores;
using LunKit.Linux;

namespace LunKit.Gluster;

/// <summary>Connecting, waiting for a volume that does not answer, and the size.</summary>
public sealed partial class GlusterBackstore
{
    private static readonly TimeSpan s_pause = TimeSpan.FromMilliseconds(250), s_secondLook = TimeSpan.FromMilliseconds(20);

    private readonly Reconnection _reconnection;
    private volatile GlusterFile? _file;
    private bool _wasOpen;
    private int _waiting;
    private int _reopening;

    /// <inheritdoc/>
    public string? Unavailable => _reconnection.Unavailable;

    private BackstoreException NotConnected()
    {
        _reconnection.Ensure();
        return new(BackstoreError.Connecting, $"gluster:{_options.Name} is {Unavailable ?? "connecting"}");
    }

    private void Connect()
    {
        // The size is asked for once: afterwards it is the file's.
        var file = GlusterFile.Open(_wasOpen ? _options with { SizeBytes = null } : _options, out long bytes);
        _wasOpen = true;
        Interlocked.Exchange(ref _file, file)?.Dispose();
        LogMessages.Connected(_log, _options.Name, bytes);
        if (bytes == _geometry.LengthBytes) return;
        _geometry = GeometryOf(bytes);
        GeometryChanged?.Invoke();
    }

    /// <summary>
    /// How long one operation waits for a volume that does not answer. Everything that is done here may be done twice: the initiator has no
    /// answer yet.
    /// </summary>
    private sealed class Patience(GlusterBackstore store, long started, CancellationToken cancellationToken)
    {
        private readonly long _deadline = started + (long)store._options.Timeout.TotalMilliseconds;
        private bool _waits;
        private Errno _errno;

        /// <summary>Waits a little after a failure; throws when that failure is final, or the time is over.</summary>
        public async ValueTask WaitAsync(Errno errno, string what, long offset, bool writes)
        {
            if (store._file is null)
            {
                End();
                throw store.NotConnected();
            }
            // The first callback on a thread of the library's may come with another errno than the library's: one that comes twice is believed.
            bool isFirst = _errno != errno;
            _errno = errno;
            bool isFinal = GlusterErrors.IsFinal(errno);
            bool looksAgain = isFinal && isFirst;
            if (isFinal && !looksAgain || Environment.TickCount64 >= _deadline)
            {
                End();
                throw GlusterErrors.OfOperation(errno, what, store._options.Name, offset, writes);
            }
            if (!looksAgain) Begin(errno);
            try
            {
                if (GlusterErrors.NeedsReopening(errno)) await store.ReopenAsync().ConfigureAwait(false);
                await Task.Delay(looksAgain ? s_secondLook : s_pause, cancellationToken).ConfigureAwait(false);
            }
            catch (OperationCanceledException)
            {
                End();
                throw;
            }
        }

        /// <summary>The first of all operations that wait says so.</summary>
        private void Begin(Errno errno)
        {
            if (!_waits && Interlocked.Increment(ref store._waiting) == 1)
                LogMessages.Waiting(store._log, store._options.Name, errno.Text, store._options.Timeout.TotalSeconds);
            _waits = true;
        }

        /// <summary>The volume has answered.</summary>
        public void Relieve()
        {
            if (End()) LogMessages.AnswersAgain(store._log, store._options.Name);
        }

        private bool End()
        {
            if (!_waits) return false;
            _waits = false;
            return Interlocked.Decrement(ref store._waiting) == 0;
        }
    }

    /// <summary>The servers do not know the open file any more: it is opened again, by the first that notices.</summary>
    private async ValueTask ReopenAsync()
    {
        if (Interlocked.Exchange(ref _reopening, 1) != 0) return;
        try
        {
            await _workers.RunAsync(static s => s.Connect(), this).ConfigureAwait(false);
        }
        catch (BackstoreException)
        {
            // The next attempt, or the deadline, tells.
        }
        finally
        {
            Volatile.Write(ref _reopening, 0);
        }
    }

    /// <summary>Asks something of the open file that waits, on a worker, one after the other.</summary>
    private async ValueTask SeekingAsync(Action<GlusterFile> ask)
    {
        if (_file is not { } file || !file.TryUse()) throw NotConnected();
        try
        {
            await _workers.RunAsync(static s =>
            {
                lock (s.Gate) s.Ask(s.File);
            }, (Gate: _seeking, Ask: ask, File: file)).ConfigureAwait(false);
        }
        finally
        {
            file.Release();
        }
    }

    /// <inheritdoc/>
    public async ValueTask<long> MeasureAsync()
    {
        long length = 0;
        await SeekingAsync(file => length = file.ReadLength($"gluster:{_options.Name}")).ConfigureAwait(false);
        return length;
    }

    /// <inheritdoc/>
    public async ValueTask GrowAsync(long lengthBytes, CancellationToken cancellationToken)
    {
        await SeekingAsync(file => file.Grow(lengthBytes, $"gluster:{_options.Name}")).ConfigureAwait(false);
        _geometry = GeometryOf(lengthBytes);
    }

    /// <inheritdoc/>
    public async ValueTask TakeLengthAsync(long lengthBytes, CancellationToken cancellationToken)
    {
        await SeekingAsync(file =>
        {
            string name = $"gluster:{_options.Name}";
            if (file.ReadLength(name) is var now && now < lengthBytes)
                throw new BackstoreException(BackstoreError.Busy, $"{name} had {lengthBytes} bytes, and has {now} by now: it is being made shorter; try again");
        }).ConfigureAwait(false);
        _geometry = GeometryOf(lengthBytes);
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await _flushes.DisposeAsync().ConfigureAwait(false);
        await _workers.RunAnyhowAsync(static s =>
        {
            s._reconnection.Dispose();
            Interlocked.Exchange(ref s._file, null)?.Dispose();
        }, this).ConfigureAwait(false);
        _operations.Dispose();
    }
}
