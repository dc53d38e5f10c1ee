using System.Runtime.Versioning;
using LunKit.Linux;
using Microsoft.Win32.SafeHandles;

namespace LunKit.Backstores;

/// <summary>How a block device is served.</summary>
public sealed record BlockBackstoreOptions
{
    /// <summary>Path of the device, e.g. <c>/dev/sdb</c> or <c>/dev/disk/by-id/...</c>.</summary>
    public required string Path { get; init; }

    /// <summary>Logical block size in bytes, a multiple of the device's; null for the device's own.</summary>
    public int? BlockSize { get; init; }

    /// <summary>Open for reading only; others may then have it open, too.</summary>
    public bool ReadOnly { get; init; }
}

/// <summary>
/// A block device, past the host's page cache (O_DIRECT), with the device's own size, blocks and limits. Opened exclusively: nobody can mount it
/// while it is served. Every operation waits for the medium, on threads of its own. Thread safe.
/// </summary>
[SupportedOSPlatform("linux")]
public sealed class BlockBackstore : IBackstore
{
    private readonly SafeFileHandle _device;
    private readonly DirectFile _direct;
    private readonly FileWorkers _workers = new();
    private readonly string _path;
    private volatile BackstoreGeometry _geometry;
    private readonly GroupedFlush _flushes;

    private BlockBackstore(SafeFileHandle device, string path, BackstoreGeometry geometry, int deviceBlock)
    {
        (_device, _path, _geometry) = (device, path, geometry);
        _flushes = new GroupedFlush(path, () => _workers.RunAsync(static s => FileDescriptor.Flush(s), _device));
        _direct = new DirectFile(device, geometry.ReadOnly, deviceBlock);
    }

    /// <summary>Opens the device. Throws <see cref="BackstoreException"/> with a message for the operator.</summary>
    public static BlockBackstore Open(BlockBackstoreOptions options)
    {
        string path = options.Path;
        SafeFileHandle? device = null;
        try
        {
            device = BlockDevice.Open(path, options.ReadOnly);
            if (!BlockDevice.TrySize(device, out long bytes)) throw Refused($"{path} is not a block device; serve a file with file:{path}");
            int own = BlockDevice.LogicalBlockSize(device), block = options.BlockSize ?? own;
            if (block % own != 0) throw Refused($"{path} has blocks of {own} bytes: block={block} is no multiple of them");
            if (bytes < block) throw Refused($"{path} has no medium, or less than one block");
            return new BlockBackstore(device, path, new BackstoreGeometry(bytes)
            {
                BlockSize = block,
                PhysicalBlockSize = Math.Max(block, BlockDevice.PhysicalBlockSize(device)),
                DiscardGranularity = (int)Math.Clamp(BlockDevice.QueueAttribute(path, "discard_granularity") ?? 0, block, 1 << 20),
                Rotational = BlockDevice.QueueAttribute(path, "rotational") == 1,
                ReadOnly = options.ReadOnly,
            }, own);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            device?.Dispose();
            throw e switch
            {
                BackstoreException => e,
                LinuxException { IsBusy: true } => new BackstoreException(BackstoreError.InUse, $"{path} is in use: mounted, part of something, or served by another process", null, e),
                _ => Refused($"{path} cannot be opened: {e.Message}", e),
            };
        }
    }

    private static BackstoreException Refused(string message, Exception? inner = null) => new(BackstoreError.Internal, message, null, inner);

    /// <inheritdoc/>
    public BackstoreGeometry Geometry => _geometry;

    /// <inheritdoc/>
    public BackstoreFeatures Features =>
        BackstoreFeatures.Concurrent | BackstoreFeatures.Discard | BackstoreFeatures.WriteZeroes |
        BackstoreFeatures.VolatileCache | BackstoreFeatures.Resize | BackstoreFeatures.SurvivesProcess;

    /// <inheritdoc/>
    public ValueTask ReadAsync(long offset, DataBuffer data, CancellationToken cancellationToken) =>
        _workers.RunAsync(static s => s.Direct.Read(s.Offset, s.Data), (Direct: _direct, Offset: offset, Data: data));

    /// <inheritdoc/>
    public ValueTask WriteAsync(long offset, DataBuffer data, WriteOptions options, CancellationToken cancellationToken) =>
        _workers.RunAsync(static s => s.Direct.Write(s.Offset, s.Data), (Direct: _direct, Offset: offset, Data: data));

    /// <inheritdoc/>
    public ValueTask FlushAsync(CancellationToken cancellationToken) => _flushes.RunAsync(cancellationToken);

    /// <inheritdoc/>
    public ValueTask DiscardAsync(long offset, long length, CancellationToken cancellationToken) =>
        _workers.RunAsync(static s => s.Store.Clear(s.Offset, s.Length, frees: true), (Store: this, Offset: offset, Length: length));

    /// <inheritdoc/>
    public ValueTask WriteZeroesAsync(long offset, long length, WriteOptions options, CancellationToken cancellationToken) =>
        _workers.RunAsync(static s => s.Store.Clear(s.Offset, s.Length, frees: false), (Store: this, Offset: offset, Length: length));

    /// <summary>
    /// The kernel's fallocate on a block device: a hole is a discard that reads as zeroes, where the device can; zeroes are the device's own
    /// command, where it has one. Else they are written.
    /// </summary>
    private void Clear(long offset, long length, bool frees)
    {
        if (frees ? FileDescriptor.PunchHole(_device, offset, length) : FileDescriptor.ZeroRange(_device, offset, length)) return;
        if (frees && FileDescriptor.ZeroRange(_device, offset, length)) return;
        _direct.WriteZeroes(offset, length);
    }

    /// <inheritdoc/>
    public ValueTask<long> MeasureAsync() => _workers.RunAsync(static s => s.Measure(), this);

    private long Measure() => BlockDevice.TrySize(_device, out long bytes) ? bytes : _geometry.LengthBytes;

    /// <inheritdoc/>
    public ValueTask GrowAsync(long lengthBytes, CancellationToken cancellationToken) => TakeLengthAsync(lengthBytes, cancellationToken);

    /// <inheritdoc/>
    public ValueTask TakeLengthAsync(long lengthBytes, CancellationToken cancellationToken) =>
        _workers.RunAsync(static s => s.Store.TakeLength(s.Length), (Store: this, Length: lengthBytes));

    private void TakeLength(long lengthBytes)
    {
        if (!BlockDevice.TrySize(_device, out long now) || now < lengthBytes)
            throw new BackstoreException(BackstoreError.Internal, $"{_path} has {now} bytes, not {lengthBytes}: a device is grown by its owner, then told here");
        _geometry = _geometry with { LengthBytes = lengthBytes };
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await _flushes.DisposeAsync().ConfigureAwait(false);
        // The last close of a device writes back what the kernel holds of it.
        await _workers.RunAnyhowAsync(static s =>
        {
            s._direct.Dispose();
            s._device.Dispose();
        }, this).ConfigureAwait(false);
    }
}
