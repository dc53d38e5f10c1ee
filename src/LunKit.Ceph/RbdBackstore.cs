using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using LunKit.Backstores;
using LunKit.Ceph.Native;
using LunKit.Linux;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace LunKit.Ceph;

/// <summary>
/// An RBD image, through librbd: asynchronous, straight from and to the memory of the commands. Discards, zeroes, repeated writes and compare
/// and writes are the cluster's own. The size is the image's, also when it changes. While the cluster has shut the client out the image is
/// opened again; commands are refused as NOT READY meanwhile. Thread safe.
/// </summary>
public sealed partial class RbdBackstore : IBackstore
{
    // IOV_MAX: librbd takes no longer lists.
    private const int MaxVectors = 1024;
    // librbd compares and writes one sector.
    private const int CompareBytes = 512;
    private const long MaxClearBytes = 64 << 20, MaxMapBytes = 1L << 30;

    private readonly RbdBackstoreOptions _options;
    private readonly NativeOperations _operations = new("lunkit-rbd");
    private readonly FileWorkers _workers = new(stackBytes: FileWorkers.LibraryStackBytes);
    private readonly GroupedFlush _flushes;
    private readonly ILogger _log;
    private volatile BackstoreGeometry _geometry;

    private RbdBackstore(RbdBackstoreOptions options, ILogger log)
    {
        (_options, _log) = (options, log);
        // What the cache could not write is told to one flush, and may be dropped.
        _flushes = new GroupedFlush($"rbd:{options.Path}", FlushAsync, _ => options.Cache);
        _geometry = GeometryOf(options.SizeBytes ?? 0);
        _reconnection = new Reconnection(() => Connect(isFirst: false), reason => LogMessages.Connecting(_log, _options.Path, reason));
        _self = new SelfHandle(this);
    }

    private BackstoreGeometry GeometryOf(long bytes) => new(bytes)
    {
        BlockSize = _options.BlockSize, PhysicalBlockSize = Math.Max(_options.PhysicalBlockSize, _options.BlockSize), DiscardGranularity = Math.Max(4096, _options.BlockSize),
        ReadOnly = _options.ReadOnly || _options.Snapshot is not null, CompareAndWriteBytes = CompareBytes,
    };

    /// <summary>Opens the image. Waits some seconds for the cluster. Throws <see cref="BackstoreException"/> with a message for the operator.</summary>
    public static RbdBackstore Open(RbdBackstoreOptions options, ILogger? log = null)
    {
        RbdBackstore store;
        try
        {
            store = new RbdBackstore(options, log ?? NullLogger.Instance);
        }
        catch (Exception e) when (FileWorkers.IsThreadShortage(e))
        {
            throw new BackstoreException(BackstoreError.Busy, $"rbd:{options.Path}: no thread can be started for it", null, e);
        }
        try
        {
            store.Connect(isFirst: true);
        }
        catch (BackstoreException e) when (e.Error == BackstoreError.Unreachable && options.SizeBytes is not null)
        {
            store._reconnection.Begin(e.Message);
        }
        catch
        {
            store.Release();
            throw;
        }
        return store;
    }

    /// <inheritdoc/>
    public BackstoreGeometry Geometry => _geometry;

    /// <inheritdoc/>
    public BackstoreFeatures Features =>
        BackstoreFeatures.Concurrent | BackstoreFeatures.Discard | BackstoreFeatures.WriteZeroes | BackstoreFeatures.Extents | BackstoreFeatures.WriteSame |
        (_options.BlockSize == CompareBytes ? BackstoreFeatures.CompareAndWrite : 0) | (_options.Cache ? BackstoreFeatures.VolatileCache : BackstoreFeatures.SurvivesProcess);

    /// <inheritdoc/>
    public event Action? GeometryChanged;

    /// <inheritdoc/>
    public ValueTask ReadAsync(long offset, DataBuffer data, CancellationToken cancellationToken) => TransferAsync(offset, data, write: false);

    /// <inheritdoc/>
    public ValueTask WriteAsync(long offset, DataBuffer data, WriteOptions options, CancellationToken cancellationToken)
    {
        Volatile.Write(ref _isDirty, true);
        return TransferAsync(offset, data, write: true);
    }

    private ValueTask TransferAsync(long offset, DataBuffer data, bool write)
    {
        var image = Use();
        var operation = _operations.Rent();
        foreach (var segment in data)
        {
            if (operation.Vector.Count == MaxVectors)
            {
                operation.Abandon();
                image.Release();
                return InPartsAsync(offset, data, write);
            }
            operation.Vector.Add(segment);
        }
        nint completion = Rbd.CreateCompletion(operation), vector = operation.Vector.Address;
        int count = operation.Vector.Count;
        int error = write ? Rbd.rbd_aio_writev(image.Handle, vector, count, (ulong)offset, completion) : Rbd.rbd_aio_readv(image.Handle, vector, count, (ulong)offset, completion);
        return FinishAsync(image, operation, completion, error, write ? "write" : "read", offset, write);
    }

    private async ValueTask InPartsAsync(long offset, DataBuffer data, bool write)
    {
        for (int done = 0; done < data.Length;)
        {
            int length = 0, pieces = 0;
            foreach (var segment in data.Slice(done, data.Length - done))
            {
                if (pieces++ == MaxVectors) break;
                length += segment.Length;
            }
            await TransferAsync(offset + done, data.Slice(done, length), write).ConfigureAwait(false);
            done += length;
        }
    }

    /// <summary>Waits for an operation that was submitted with <paramref name="error"/>, and lets go of the image.</summary>
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder))]
    private async ValueTask FinishAsync(RbdImage image, NativeOperation operation, nint completion, int error, string what, long offset, bool writes)
    {
        try
        {
            long result = await SubmittedAsync(operation, completion, error).ConfigureAwait(false);
            if (result < 0) throw Failed(image, Errno.Of(result), what, offset, writes);
        }
        finally
        {
            image.Release();
        }
    }

    /// <summary>The result of an operation: at once, with the completion given back, when librbd has not taken it.</summary>
    private static ValueTask<long> SubmittedAsync(NativeOperation operation, nint completion, long error)
    {
        if (error >= 0) return operation.Task;
        Rbd.rbd_aio_release(completion);
        operation.Abandon();
        return new ValueTask<long>(error);
    }

    private BackstoreException Failed(RbdImage image, Errno error, string what, long offset, bool writes)
    {
        if (CephErrors.IsFenced(error)) Fenced(image);
        return CephErrors.OfOperation(error, what, _options.Path, offset, writes);
    }

    /// <inheritdoc/>
    public ValueTask FlushAsync(CancellationToken cancellationToken) => _flushes.RunAsync(cancellationToken);

    private ValueTask FlushAsync()
    {
        var image = Use();
        // What is written from here on is dirty again.
        Volatile.Write(ref _isDirty, false);
        var operation = _operations.Rent();
        nint completion = Rbd.CreateCompletion(operation);
        int error = Rbd.rbd_aio_flush(image.Handle, completion);
        return FinishAsync(image, operation, completion, error, "flush", 0, writes: true);
    }

    /// <inheritdoc/>
    public ValueTask DiscardAsync(long offset, long length, CancellationToken cancellationToken) => ClearAsync(offset, length, 0, "discard", cancellationToken);

    /// <inheritdoc/>
    public ValueTask WriteZeroesAsync(long offset, long length, WriteOptions options, CancellationToken cancellationToken) =>
        ClearAsync(offset, length, Rbd.ThickProvision, "write zeroes", cancellationToken);

    /// <summary>librbd's discard leaves alone what is smaller than its granularity; its write-zeroes does not, and frees what it can.</summary>
    private async ValueTask ClearAsync(long offset, long length, int flags, string what, CancellationToken cancellationToken)
    {
        Volatile.Write(ref _isDirty, true);
        for (long done = 0; done < length; done += MaxClearBytes)
        {
            cancellationToken.ThrowIfCancellationRequested();
            var image = Use();
            var operation = _operations.Rent();
            nint completion = Rbd.CreateCompletion(operation);
            int error = Rbd.rbd_aio_write_zeroes(image.Handle, (ulong)(offset + done), (nuint)Math.Min(MaxClearBytes, length - done), completion, flags, 0);
            await FinishAsync(image, operation, completion, error, what, offset + done, writes: true).ConfigureAwait(false);
        }
    }

    /// <inheritdoc/>
    public async ValueTask WriteSameAsync(long offset, long length, DataBuffer pattern, WriteOptions options, CancellationToken cancellationToken)
    {
        Volatile.Write(ref _isDirty, true);
        var image = Use();
        var operation = _operations.Rent();
        operation.Vector.Add(pattern.ToArray());
        nint completion = Rbd.CreateCompletion(operation);
        int error = Rbd.rbd_aio_writesame(image.Handle, (ulong)offset, (nuint)length, operation.Vector.AddressOf(0), (nuint)pattern.Length, completion, 0);
        await FinishAsync(image, operation, completion, error, "write same", offset, writes: true).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public async ValueTask<long> CompareAndWriteAsync(long offset, DataBuffer compare, DataBuffer data, WriteOptions options, CancellationToken cancellationToken)
    {
        Volatile.Write(ref _isDirty, true);
        var image = Use();
        var operation = _operations.Rent();
        var mismatch = new byte[sizeof(ulong)];
        operation.Vector.Add(compare.ToArray());
        operation.Vector.Add(data.ToArray());
        operation.Vector.Add(mismatch);
        nint completion = Rbd.CreateCompletion(operation);
        nint error = Rbd.rbd_aio_compare_and_write(image.Handle, (ulong)offset, (nuint)data.Length, operation.Vector.AddressOf(0), operation.Vector.AddressOf(1), completion, operation.Vector.AddressOf(2), 0);
        try
        {
            long result = await SubmittedAsync(operation, completion, error).ConfigureAwait(false);
            // librbd says where in the image, as if the operation had begun at its object's start.
            if (result == Errno.EILSEQ.Result) return BitConverter.ToInt64(mismatch) % CompareBytes;
            return result < 0 ? throw Failed(image, Errno.Of(result), "compare and write", offset, writes: true) : -1;
        }
        finally
        {
            image.Release();
        }
    }

    /// <inheritdoc/>
    public async ValueTask<BackstoreExtent> ExtentAsync(long offset, long length, CancellationToken cancellationToken)
    {
        // What is in the cache only is in no object yet.
        if (_options.Cache) await FlushAsync(cancellationToken).ConfigureAwait(false);
        var map = new AllocationMap(offset, Math.Min(length, MaxMapBytes));
        var image = Use();
        try
        {
            await _workers.RunAsync(static s => s.Map.Read(s.Image.Handle), (Map: map, Image: image)).ConfigureAwait(false);
        }
        finally
        {
            image.Release();
        }
        if (map.Error != Errno.None) throw Failed(image, map.Error, "allocation map", offset, writes: false);
        long run = map.LengthBytes / _options.BlockSize * _options.BlockSize;
        return run > 0 ? new BackstoreExtent(run, map.IsAllocated) : new BackstoreExtent(_options.BlockSize, true);
    }
}
