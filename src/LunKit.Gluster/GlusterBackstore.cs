using System.Runtime.InteropServices;
using LunKit.Backstores;
using LunKit.Gluster.Native;
using LunKit.Linux;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace LunKit.Gluster;

/// <summary>
/// A file on a Gluster volume, through libgfapi: asynchronous, straight from and to the memory of the commands. While the volume does not
/// answer, operations wait for it, within a limit; a file that the servers have forgotten is opened again. Thread safe.
/// </summary>
public sealed partial class GlusterBackstore : IBackstore
{
    // IOV_MAX, and what the volume's translators take at once.
    private const int MaxVectors = 1024, MaxTransferBytes = 1 << 20;
    private const long MaxClearBytes = 64 << 20;

    private readonly GlusterBackstoreOptions _options;
    private readonly NativeOperations _operations = new("lunkit-gluster");
    private readonly FileWorkers _workers = new(stackBytes: FileWorkers.LibraryStackBytes);
    private readonly GroupedFlush _flushes;
    private readonly ILogger _log;
    private readonly Lock _seeking = new();
    private volatile BackstoreGeometry _geometry;
    private volatile bool _hasZeroFill = true;

    private GlusterBackstore(GlusterBackstoreOptions options, ILogger log)
    {
        (_options, _log) = (options, log);
        // While no server answers, nothing is lost yet.
        _flushes = new GroupedFlush($"gluster:{options.Name}", FlushAsync, e => e is not BackstoreException { Error: BackstoreError.Unreachable });
        _geometry = GeometryOf(options.SizeBytes ?? 0);
        _reconnection = new Reconnection(Connect, reason => LogMessages.Connecting(_log, _options.Name, reason));
    }

    private BackstoreGeometry GeometryOf(long bytes) => new(bytes)
    {
        BlockSize = _options.BlockSize, PhysicalBlockSize = Math.Max(_options.PhysicalBlockSize, _options.BlockSize), DiscardGranularity = Math.Max(4096, _options.BlockSize), ReadOnly = _options.ReadOnly,
    };

    /// <summary>Opens the file. Waits for a server. Throws <see cref="BackstoreException"/> with a message for the operator.</summary>
    public static GlusterBackstore Open(GlusterBackstoreOptions options, ILogger? log = null)
    {
        GlusterBackstore store;
        try
        {
            store = new GlusterBackstore(options, log ?? NullLogger.Instance);
        }
        catch (Exception e) when (FileWorkers.IsThreadShortage(e))
        {
            throw new BackstoreException(BackstoreError.Busy, $"gluster:{options.Name}: no thread can be started for it", null, e);
        }
        try
        {
            store.Connect();
        }
        catch (BackstoreException e) when (e.Error == BackstoreError.Unreachable && options.SizeBytes is not null)
        {
            store._reconnection.Begin(e.Message);
        }
        catch
        {
            store._operations.Dispose();
            throw;
        }
        return store;
    }

    /// <inheritdoc/>
    public BackstoreGeometry Geometry => _geometry;

    /// <inheritdoc/>
    public BackstoreFeatures Features =>
        BackstoreFeatures.Concurrent | BackstoreFeatures.Discard | BackstoreFeatures.WriteZeroes | BackstoreFeatures.Extents | BackstoreFeatures.Resize | (_options.Sync ? BackstoreFeatures.SurvivesProcess : BackstoreFeatures.VolatileCache);

    /// <inheritdoc/>
    public event Action? GeometryChanged;

    /// <inheritdoc/>
    public ValueTask ReadAsync(long offset, DataBuffer data, CancellationToken cancellationToken) => TransferAsync(offset, data, write: false, cancellationToken);

    /// <inheritdoc/>
    public ValueTask WriteAsync(long offset, DataBuffer data, WriteOptions options, CancellationToken cancellationToken) => TransferAsync(offset, data, write: true, cancellationToken);

    private async ValueTask TransferAsync(long offset, DataBuffer data, bool write, CancellationToken cancellationToken)
    {
        long started = Environment.TickCount64;
        Patience? patience = null;
        for (int done = 0; done < data.Length;)
        {
            var rest = data.Slice(done, Math.Min(MaxTransferBytes, data.Length - done));
            long result = await TransferOnceAsync(offset + done, rest, write).ConfigureAwait(false);
            if (result < 0)
            {
                patience ??= new Patience(this, started, cancellationToken);
                await patience.WaitAsync(Errno.Of(result), write ? "write" : "read", offset + done, write).ConfigureAwait(false);
                continue;
            }
            patience?.Relieve();
            // Past the end of a file that somebody has cut.
            if (result == 0 && !write) rest.Clear();
            else if (result == 0) throw GlusterErrors.OfOperation(Errno.EIO, "write", _options.Name, offset + done, writes: true);
            done += result == 0 ? rest.Length : (int)result;
        }
    }

    /// <summary>Moves some bytes, not fewer than one; their number, 0 past the end, or a negative errno.</summary>
    private async ValueTask<long> TransferOnceAsync(long offset, DataBuffer data, bool write)
    {
        if (_file is not { } file || !file.TryUse()) return Errno.ENOTCONN.Result;
        try
        {
            var operation = _operations.Rent();
            foreach (var segment in data)
            {
                if (operation.Vector.Count == MaxVectors) break;
                operation.Vector.Add(segment);
            }
            int error = write ? Gfapi.Write(file.Handle, operation, offset) : Gfapi.Read(file.Handle, operation, offset);
            return await SubmittedAsync(operation, error).ConfigureAwait(false);
        }
        finally
        {
            file.Release();
        }
    }

    /// <summary>The result of an operation: at once when libgfapi has not taken it.</summary>
    private static ValueTask<long> SubmittedAsync(NativeOperation operation, int error)
    {
        if (error == 0) return operation.Task;
        int errno = Math.Max(1, Marshal.GetLastPInvokeError()); // one that was not set
        operation.Abandon();
        return new ValueTask<long>(-errno);
    }

    /// <inheritdoc/>
    public ValueTask FlushAsync(CancellationToken cancellationToken) => _flushes.RunAsync(cancellationToken);

    private async ValueTask FlushAsync() =>
        await RunAsync(static (file, operation, _, _) => Gfapi.Flush(file, operation), 0, 0, "flush", CancellationToken.None).ConfigureAwait(false);

    /// <inheritdoc/>
    public async ValueTask DiscardAsync(long offset, long length, CancellationToken cancellationToken)
    {
        for (long done = 0; done < length; done += MaxClearBytes)
        {
            // A hole cannot be made everywhere: zeroes can.
            long chunk = Math.Min(MaxClearBytes, length - done);
            if (await RunAsync(static (file, operation, o, l) => Gfapi.Discard(file, operation, o, l), offset + done, chunk, "discard", cancellationToken).ConfigureAwait(false)) continue;
            await WriteZeroesAsync(offset + done, chunk, WriteOptions.None, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <inheritdoc/>
    public async ValueTask WriteZeroesAsync(long offset, long length, WriteOptions options, CancellationToken cancellationToken)
    {
        for (long done = 0; done < length; done += MaxClearBytes)
        {
            long chunk = Math.Min(MaxClearBytes, length - done);
            if (_hasZeroFill && await RunAsync(static (file, operation, o, l) => Gfapi.ZeroFill(file, operation, o, l), offset + done, chunk, "write zeroes", cancellationToken).ConfigureAwait(false)) continue;
            _hasZeroFill = false;
            var zeroes = new byte[Math.Min(MaxTransferBytes, chunk)];
            for (long at = 0; at < chunk; at += zeroes.Length)
                await TransferAsync(offset + done + at, new DataBuffer(zeroes.AsMemory(0, (int)Math.Min(zeroes.Length, chunk - at))), write: true, cancellationToken).ConfigureAwait(false);
        }
    }

    private delegate int Submission(nint file, NativeOperation operation, long offset, long length);

    /// <summary>Runs an operation until the volume has answered it; false when the volume does not have it.</summary>
    private async ValueTask<bool> RunAsync(Submission submit, long offset, long length, string what, CancellationToken cancellationToken)
    {
        long started = Environment.TickCount64;
        Patience? patience = null;
        while (true)
        {
            long result = Errno.ENOTCONN.Result;
            if (_file is { } file && file.TryUse())
            {
                try
                {
                    var operation = _operations.Rent();
                    result = await SubmittedAsync(operation, submit(file.Handle, operation, offset, length)).ConfigureAwait(false);
                }
                finally
                {
                    file.Release();
                }
            }
            if (Errno.Of(result) is Errno.None or Errno.EOPNOTSUPP or Errno.ENOSYS)
            {
                patience?.Relieve();
                return result >= 0;
            }
            patience ??= new Patience(this, started, cancellationToken);
            await patience.WaitAsync(Errno.Of(result), what, offset, writes: true).ConfigureAwait(false);
        }
    }

    /// <inheritdoc/>
    public async ValueTask<BackstoreExtent> ExtentAsync(long offset, long length, CancellationToken cancellationToken)
    {
        // What waits in the client is no data for the servers yet.
        await FlushAsync(cancellationToken).ConfigureAwait(false);
        BackstoreExtent extent = default;
        await SeekingAsync(file => extent = Seek(file, offset, length)).ConfigureAwait(false);
        return extent;
    }

    /// <summary>Servers map in their own block size: a block that is partly data is allocated.</summary>
    private BackstoreExtent Seek(GlusterFile file, long offset, long length)
    {
        int block = _options.BlockSize;
        long data = file.Seek(offset, Gfapi.SeekData);
        if (data < 0) return new(length, (Errno)Marshal.GetLastPInvokeError() != Errno.ENXIO); // a hole to the end
        if (data - offset >= block) return new(Math.Min(length, (data - offset) / block * block), false);
        long hole = file.Seek(data, Gfapi.SeekHole);
        return new(hole <= offset ? length : Math.Min(length, (hole - offset + block - 1) / block * block), true);
    }
}
