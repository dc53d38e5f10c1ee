using System.Runtime.Versioning;
using LunKit.Linux;
using Microsoft.Win32.SafeHandles;

namespace LunKit.Backstores;

/// <summary>How a file is served.</summary>
public sealed record FileBackstoreOptions
{
    /// <summary>Path of the image.</summary>
    public required string Path { get; init; }

    /// <summary>Size in bytes that an image is created with, or grown to; a larger one stays as it is. Null: the file as it is.</summary>
    public long? SizeBytes { get; init; }

    /// <summary>Logical block size in bytes.</summary>
    public int BlockSize { get; init; } = 512;

    /// <summary>Physical block size in bytes reported to initiators.</summary>
    public int PhysicalBlockSize { get; init; } = 4096;

    /// <summary>Open for reading only.</summary>
    public bool ReadOnly { get; init; }

    /// <summary>Reserve the space of the whole image at once, so that no write can run out of it.</summary>
    public bool Preallocate { get; init; }

    /// <summary>Go past the host's page cache (O_DIRECT) with every transfer that covers whole 4 KiB pages.</summary>
    public bool Direct { get; init; }
}

/// <summary>
/// An image file, thin: holes cost nothing, a discard punches one. Reads that the page cache can answer complete on the
/// caller's thread; everything else goes to threads of its own, so that a medium or a file system that hangs stops nobody but its own commands.
/// The advisory lock keeps two processes from serving one image. Thread safe.
/// </summary>
[SupportedOSPlatform("linux")]
public sealed class FileBackstore : IBackstore
{
    private const int LongBytes = 128 * 1024;
    // How old the free space may be that is told: log pages and thresholds are percents.
    private const int FreshMilliseconds = 1000;

    private readonly ImageFile _file;
    private readonly DirectFile? _direct;
    private readonly FileWorkers _workers = new();
    // The kernel lets one writer at a time into the page cache of a file: more threads would only queue there.
    private readonly FileWorkers _writer = new(maxThreads: 1);
    private readonly bool _isInMemory;
    private readonly GroupedFlush _flushes;
    private readonly Lock _available = new();
    private volatile BackstoreGeometry _geometry;
    private long? _availableBytes;
    private long _measuredAt;
    private bool _isMeasuring;

    /// <summary>Serves an open image.</summary>
    /// <param name="file">The image.</param>
    /// <param name="path">Its path, for messages.</param>
    /// <param name="geometry">Its shape.</param>
    /// <param name="direct">The way past the page cache; null when there is none.</param>
    /// <param name="isInMemory">It is on a file system without a medium, where no call waits.</param>
    internal FileBackstore(ImageFile file, string path, BackstoreGeometry geometry, DirectFile? direct, bool isInMemory)
    {
        (_file, _direct, _geometry, _isInMemory) = (file, direct, geometry, isInMemory);
        _flushes = new GroupedFlush(path, () => _workers.RunAsync(static s => s.Flush(), _file));
        (_availableBytes, _measuredAt) = (file.ReadAvailable(), Environment.TickCount64);
    }

    /// <summary>Opens (and creates, if a size is given) the image. Throws <see cref="BackstoreException"/> with a message for the operator.</summary>
    public static FileBackstore Open(FileBackstoreOptions options)
    {
        string path = Path.GetFullPath(options.Path);
        bool exists = File.Exists(path);
        if (Directory.Exists(path)) throw Refused($"{path} is a folder, not an image file");
        if (!exists && options.ReadOnly) throw Refused($"{path} does not exist, and read-only cannot create it");
        if (!exists && options.SizeBytes is null)
            throw Refused($"{path} does not exist; give a size to create it, e.g. file:{options.Path},size=10G");
        SafeFileHandle? file = null;
        try
        {
            file = File.OpenHandle(path, options.ReadOnly ? FileMode.Open : FileMode.OpenOrCreate,
                options.ReadOnly ? FileAccess.Read : FileAccess.ReadWrite, FileShare.ReadWrite, FileOptions.None);
            if (!FileDescriptor.TryLock(file, options.ReadOnly))
                throw InUse(path);
            long length = Size(file, path, options);
            var geometry = new BackstoreGeometry(length)
            {
                BlockSize = options.BlockSize,
                PhysicalBlockSize = Math.Max(options.PhysicalBlockSize, options.BlockSize),
                DiscardGranularity = Math.Max(4096, options.BlockSize),
                ReadOnly = options.ReadOnly,
            };
            var direct = options.Direct ? new DirectFile(file, options.ReadOnly) : null;
            return new FileBackstore(new ImageFile(file), path, geometry, direct, FileDescriptor.FileSystem(file) is { IsInMemory: true });
        }
        catch (LinuxException e) when (options.Direct && file is not null)
        {
            file.Dispose();
            throw Refused($"the file system of {path} has no direct I/O; serve it without direct: {e.Message}", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or NotSupportedException)
        {
            file?.Dispose();
            // .NET asks for a shared lock of its own when it opens a file: EAGAIN, as the HResult, is our exclusive one elsewhere.
            if (e.HResult == (int)Errno.EAGAIN) throw InUse(path);
            throw e as BackstoreException ?? Refused($"{path} cannot be opened: {e.Message}", e);
        }
    }

    private static long Size(SafeFileHandle file, string path, FileBackstoreOptions options)
    {
        long length = RandomAccess.GetLength(file);
        // One that has grown since stays as it is: a size creates and grows.
        if (options.SizeBytes is { } wanted && wanted > length)
        {
            if (options.ReadOnly) throw Refused($"{path} has {length} bytes, not {wanted}, and is read-only");
            RandomAccess.SetLength(file, wanted);
            length = wanted;
        }
        if (length < options.BlockSize) throw Refused($"{path} has {length} bytes, less than one block; give size= to grow it");
        if (options.Preallocate && !FileDescriptor.Preallocate(file, 0, length))
            throw Refused($"the file system of {path} cannot reserve space (fallocate)");
        return length;
    }

    private static BackstoreException Refused(string message, Exception? inner = null) =>
        new(inner is LinuxException { IsNoSpace: true } ? BackstoreError.NoSpace : BackstoreError.Internal, message, null, inner);

    private static BackstoreException InUse(string path) =>
        new(BackstoreError.InUse, $"{path} is in use by another process (its lock is taken); stop that process first");

    /// <inheritdoc/>
    public BackstoreGeometry Geometry => _geometry;

    /// <inheritdoc/>
    public BackstoreFeatures Features =>
        BackstoreFeatures.Concurrent | BackstoreFeatures.Discard | BackstoreFeatures.WriteZeroes | BackstoreFeatures.Extents | BackstoreFeatures.VolatileCache | BackstoreFeatures.Resize |
        BackstoreFeatures.SurvivesProcess;

    /// <inheritdoc/>
    public long? AvailableBytes
    {
        get
        {
            lock (_available)
            {
                if (!_isMeasuring && Environment.TickCount64 - _measuredAt >= FreshMilliseconds)
                    _isMeasuring = _workers.TryStart(static s => s.MeasureAvailable(), this);
                return _availableBytes;
            }
        }
    }

    private void MeasureAvailable()
    {
        long? bytes = _file.ReadAvailable();
        lock (_available) (_availableBytes, _measuredAt, _isMeasuring) = (bytes, Environment.TickCount64, false);
    }

    /// <inheritdoc/>
    public ValueTask ReadAsync(long offset, DataBuffer data, CancellationToken cancellationToken)
    {
        if (_direct is not null && _direct.Takes(offset, data.Length))
            return _workers.RunAsync(static s => s.Direct.Read(s.Offset, s.Data), (Direct: _direct, Offset: offset, Data: data));
        // A long copy beside the send of the one before it: two processors instead of one.
        if ((data.Length < LongBytes || Environment.ProcessorCount == 1) && ReadNow(offset, data)) return ValueTask.CompletedTask;
        return _workers.RunAsync(static s => s.File.Read(s.Offset, s.Data), (File: _file, Offset: offset, Data: data));
    }

    private bool ReadNow(long offset, DataBuffer data)
    {
        if (!_isInMemory) return _file.ReadNow(offset, data);
        _file.Read(offset, data);
        return true;
    }

    /// <inheritdoc/>
    public ValueTask WriteAsync(long offset, DataBuffer data, WriteOptions options, CancellationToken cancellationToken)
    {
        if (_direct is not null && _direct.Takes(offset, data.Length))
            return _workers.RunAsync(static s => s.Direct.Write(s.Offset, s.Data), (Direct: _direct, Offset: offset, Data: data));
        if (_isInMemory)
        {
            _file.Write(offset, data);
            return ValueTask.CompletedTask;
        }
        // Not here either when the kernel is asked not to wait (RWF_NOWAIT): a frozen file system stops that call before it looks at the flag, and
        // ext4 does not have it for the page cache.
        return _writer.RunAsync(static s => s.File.Write(s.Offset, s.Data), (File: _file, Offset: offset, Data: data));
    }

    /// <inheritdoc/>
    public ValueTask FlushAsync(CancellationToken cancellationToken) => _flushes.RunAsync(cancellationToken);

    /// <inheritdoc/>
    public ValueTask DiscardAsync(long offset, long length, CancellationToken cancellationToken) =>
        _workers.RunAsync(static s => s.Store.Discard(s.Offset, s.Length), (Store: this, Offset: offset, Length: length));

    private void Discard(long offset, long length)
    {
        if (!_file.PunchHole(offset, length)) WriteZeroBytes(offset, length);
    }

    /// <inheritdoc/>
    public ValueTask WriteZeroesAsync(long offset, long length, WriteOptions options, CancellationToken cancellationToken) =>
        _workers.RunAsync(static s => s.Store.WriteZeroes(s.Offset, s.Length), (Store: this, Offset: offset, Length: length));

    private void WriteZeroes(long offset, long length)
    {
        if (!_file.ZeroRange(offset, length)) WriteZeroBytes(offset, length);
    }

    private void WriteZeroBytes(long offset, long length)
    {
        Memory<byte> zeroes = new byte[(int)Math.Min(length, 1 << 20)];
        for (long done = 0; done < length; done += zeroes.Length)
            _file.Write(offset + done, new DataBuffer(zeroes[..(int)Math.Min(zeroes.Length, length - done)]));
    }

    /// <inheritdoc/>
    public ValueTask<BackstoreExtent> ExtentAsync(long offset, long length, CancellationToken cancellationToken) =>
        _workers.RunAsync(static s => s.Store.Extent(s.Offset, s.Length), (Store: this, Offset: offset, Length: length));

    private BackstoreExtent Extent(long offset, long length)
    {
        var (isData, end) = _file.Extent(offset, offset + length);
        int block = _geometry.BlockSize;
        // File systems map in their own block size: a block that is partly data is allocated.
        long run = isData ? (end - offset + block - 1) / block * block : (end - offset) / block * block;
        return run > 0 ? new BackstoreExtent(Math.Min(run, length), isData) : new BackstoreExtent(block, true);
    }

    /// <inheritdoc/>
    public ValueTask<long> MeasureAsync() => _workers.RunAsync(static s => s.ReadLength(), _file);

    /// <inheritdoc/>
    public ValueTask ResizeAsync(long lengthBytes, CancellationToken cancellationToken) =>
        _workers.RunAsync(static s => s.Store.Resize(s.Length), (Store: this, Length: lengthBytes));

    private void Resize(long lengthBytes)
    {
        // The file may have been grown by somebody else already.
        if (_file.ReadLength() != lengthBytes) _file.SetLength(lengthBytes);
        _geometry = _geometry with { LengthBytes = lengthBytes };
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await _flushes.DisposeAsync().ConfigureAwait(false);
        // Closing may wait as well, e.g. for a server.
        await _workers.RunAnyhowAsync(static s =>
        {
            s._direct?.Dispose();
            s._file.Dispose();
        }, this).ConfigureAwait(false);
    }
}
