using System.Runtime.Versioning;
using LunKit.Linux;
using Microsoft.Win32.SafeHandles;

namespace LunKit.Backstores;

/// <summary>How a file is served.</summary>
public sealed record FileBackstoreOptions
{
    /// <summary>Path of the image.</summary>
    public required string Path { get; init; }

    /// <summary>Size in bytes of an image that does not exist yet, or that is to be grown to it; null: the file as it is.</summary>
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
/// An image file, thin: holes cost nothing, a discard punches one. Reads that the page cache can answer and buffered writes
/// complete on the caller's thread; what waits for the medium goes to threads of its own. The advisory lock keeps two
/// processes from serving one image. Thread safe.
/// </summary>
[SupportedOSPlatform("linux")]
public sealed class FileBackstore : IBackstore
{
    private const int LongBytes = 128 * 1024;

    private readonly SafeFileHandle _file;
    private readonly DirectFile? _direct;
    private readonly FileWorkers _workers = new();
    private readonly string _path;
    private readonly bool _inMemory;
    private volatile BackstoreGeometry _geometry;
    private readonly GroupedFlush _flushes;

    private FileBackstore(SafeFileHandle file, string path, BackstoreGeometry geometry, bool direct)
    {
        _file = file;
        _direct = direct ? new DirectFile(file, geometry.ReadOnly) : null;
        _path = path;
        _flushes = new GroupedFlush(path, () => _workers.RunAsync(static s => FileDescriptor.Flush(s), _file));
        _geometry = geometry;
        _inMemory = IsMemoryFileSystem(path);
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
            return new FileBackstore(file, path, new BackstoreGeometry(length)
            {
                BlockSize = options.BlockSize,
                PhysicalBlockSize = Math.Max(options.PhysicalBlockSize, options.BlockSize),
                DiscardGranularity = Math.Max(4096, options.BlockSize),
                ReadOnly = options.ReadOnly,
            }, options.Direct);
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
            if (e.HResult == 11) throw InUse(path);
            throw e as BackstoreException ?? Refused($"{path} cannot be opened: {e.Message}", e);
        }
    }

    private static long Size(SafeFileHandle file, string path, FileBackstoreOptions options)
    {
        long length = RandomAccess.GetLength(file);
        if (options.SizeBytes is { } wanted && wanted != length)
        {
            if (length > wanted) throw Refused($"{path} has {length} bytes, more than size={wanted}: an image is never shrunk by a size");
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

    private static bool IsMemoryFileSystem(string path)
    {
        try
        {
            var mount = DriveInfo.GetDrives().Where(d => path.StartsWith(d.Name, StringComparison.Ordinal)).MaxBy(d => d.Name.Length);
            return mount?.DriveFormat is "tmpfs" or "ramfs";
        }
        catch (IOException)
        {
            return false;
        }
    }

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
            try
            {
                return new DriveInfo(Path.GetDirectoryName(_path)!).AvailableFreeSpace;
            }
            catch (IOException)
            {
                return null;
            }
        }
    }

    /// <inheritdoc/>
    public ValueTask ReadAsync(long offset, DataBuffer data, CancellationToken cancellationToken)
    {
        if (_direct is not null && _direct.Takes(offset, data.Length))
            return _workers.RunAsync(static s => s.Direct.Read(s.Offset, s.Data), (Direct: _direct, Offset: offset, Data: data));
        // A long copy beside the send of the one before it: two processors instead of one.
        if ((data.Length < LongBytes || Environment.ProcessorCount == 1) && ReadNow(offset, data)) return ValueTask.CompletedTask;
        return _workers.RunAsync(
            static s => FileDescriptor.Read(s.File, s.Offset, Segments(s.Data), onlyCached: false), (File: _file, Offset: offset, Data: data));
    }

    private bool ReadNow(long offset, DataBuffer data)
    {
        if (!data.TryGetSingle(out var single)) return FileDescriptor.Read(_file, offset, Segments(data), onlyCached: !_inMemory);
        return FileDescriptor.Read(_file, offset, single.Span, onlyCached: !_inMemory);
    }

    /// <inheritdoc/>
    public ValueTask WriteAsync(long offset, DataBuffer data, WriteOptions options, CancellationToken cancellationToken)
    {
        if (_direct is not null && _direct.Takes(offset, data.Length))
            return _workers.RunAsync(static s => s.Direct.Write(s.Offset, s.Data), (Direct: _direct, Offset: offset, Data: data));
        if (data.TryGetSingle(out var single)) FileDescriptor.Write(_file, offset, single.Span);
        else FileDescriptor.Write(_file, offset, Segments(data));
        return ValueTask.CompletedTask;
    }

    /// <inheritdoc/>
    public ValueTask FlushAsync(CancellationToken cancellationToken) => _flushes.RunAsync(cancellationToken);

    /// <inheritdoc/>
    public ValueTask DiscardAsync(long offset, long length, CancellationToken cancellationToken) =>
        _workers.RunAsync(static s => s.Store.Discard(s.Offset, s.Length), (Store: this, Offset: offset, Length: length));

    private void Discard(long offset, long length)
    {
        if (!FileDescriptor.PunchHole(_file, offset, length)) WriteZeroBytes(offset, length);
    }

    /// <inheritdoc/>
    public ValueTask WriteZeroesAsync(long offset, long length, WriteOptions options, CancellationToken cancellationToken) =>
        _workers.RunAsync(static s => s.Store.WriteZeroes(s.Offset, s.Length), (Store: this, Offset: offset, Length: length));

    private void WriteZeroes(long offset, long length)
    {
        if (!FileDescriptor.ZeroRange(_file, offset, length)) WriteZeroBytes(offset, length);
    }

    private void WriteZeroBytes(long offset, long length)
    {
        Memory<byte> zeroes = new byte[(int)Math.Min(length, 1 << 20)];
        for (long done = 0; done < length; done += zeroes.Length)
        {
            var chunk = zeroes[..(int)Math.Min(zeroes.Length, length - done)];
            FileDescriptor.Write(_file, offset + done, chunk.Span);
        }
    }

    /// <inheritdoc/>
    public ValueTask<BackstoreExtent> ExtentAsync(long offset, long length, CancellationToken cancellationToken)
    {
        var (isData, end) = FileDescriptor.Extent(_file, offset, offset + length);
        int block = _geometry.BlockSize;
        // File systems map in their own block size: a block that is partly data is allocated.
        long run = isData ? (end - offset + block - 1) / block * block : (end - offset) / block * block;
        return ValueTask.FromResult(run > 0 ? new BackstoreExtent(Math.Min(run, length), isData) : new BackstoreExtent(block, true));
    }

    /// <inheritdoc/>
    public ValueTask<long> MeasureAsync() => ValueTask.FromResult(RandomAccess.GetLength(_file));

    /// <inheritdoc/>
    public ValueTask ResizeAsync(long lengthBytes, CancellationToken cancellationToken)
    {
        // The file may have been grown by somebody else already.
        if (RandomAccess.GetLength(_file) != lengthBytes) RandomAccess.SetLength(_file, lengthBytes);
        _geometry = _geometry with { LengthBytes = lengthBytes };
        return ValueTask.CompletedTask;
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await _flushes.DisposeAsync().ConfigureAwait(false);
        _direct?.Dispose();
        _file.Dispose();
    }

    private static Memory<byte>[] Segments(DataBuffer data)
    {
        var segments = new Memory<byte>[data.CountSegments()];
        int i = 0;
        foreach (var segment in data) segments[i++] = segment;
        return segments;
    }
}
