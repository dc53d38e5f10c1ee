using System.Runtime.Versioning;
using LunKit.Linux;

namespace LunKit.Backstores;

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
        using var opening = new ImageOpening(options);
        var geometry = opening.Run();
        var direct = options.Direct ? opening.OpenDirect() : null;
        var (path, created, file) = (opening.Path, opening.Created, opening.Take());
        return new FileBackstore(new ImageFile(file), path, geometry, direct, FileDescriptor.FileSystem(file) is { IsInMemory: true }) { Created = created };
    }

    /// <summary>The file that opening it has created; null: the image was there.</summary>
    public string? Created { get; private init; }

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
    public ValueTask<bool> IsDeletedAsync() => _workers.RunAsync(static s => s.IsDeleted(), _file);

    /// <inheritdoc/>
    public ValueTask GrowAsync(long lengthBytes, CancellationToken cancellationToken) =>
        _workers.RunAsync(static s => s.Store.Grow(s.Length), (Store: this, Length: lengthBytes));

    private void Grow(long lengthBytes)
    {
        _file.Grow(lengthBytes);
        _geometry = _geometry with { LengthBytes = lengthBytes };
    }

    /// <inheritdoc/>
    public ValueTask TakeLengthAsync(long lengthBytes, CancellationToken cancellationToken) =>
        _workers.RunAsync(static s => s.Store.TakeLength(s.Length), (Store: this, Length: lengthBytes));

    private void TakeLength(long lengthBytes)
    {
        long now = _file.ReadLength();
        if (now < lengthBytes) throw new BackstoreException(BackstoreError.Busy, $"it had {lengthBytes} bytes, and has {now} by now: it is being made shorter; try again");
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
