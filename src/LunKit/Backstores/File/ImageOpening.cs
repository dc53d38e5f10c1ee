using System.Runtime.Versioning;
using LunKit.Linux;
using Microsoft.Win32.SafeHandles;

namespace LunKit.Backstores;

/// <summary>
/// Opens an image file, or creates or grows it, and takes its lock. What fails leaves nothing behind: an image that it has created is deleted again, and
/// one that was there before is as it was. Errors are <see cref="BackstoreException"/> with a message for the operator. For one thread.
/// </summary>
[SupportedOSPlatform("linux")]
internal sealed class ImageOpening(FileBackstoreOptions options) : IDisposable
{
    private const int Page = 4096, MostTries = 100;

    private SafeFileHandle? _file;
    private long _lengthBefore;
    private string? _place;
    private bool _isGrown;
    private bool _isDone;

    /// <summary>Its full path.</summary>
    public string Path { get; } = System.IO.Path.GetFullPath(options.Path);

    /// <summary>The file that has been created, where a link may have led; null: it was there.</summary>
    public string? Created { get; private set; }

    /// <summary>For a test: called when it is open, and not locked yet.</summary>
    internal Action? Opened { get; init; }

    /// <summary>Opens it; its shape.</summary>
    public BackstoreGeometry Run()
    {
        CheckSize();
        bool exists = CheckPath();
        try
        {
            for (int tries = 0; ; tries++)
            {
                _file = Open(exists);
                Opened?.Invoke();
                if (!FileDescriptor.TryLock(_file, options.ReadOnly)) throw InUse();
                // Whoever had the lock before may have deleted it: what is served then would have no name, and go with its last handle.
                if (tries == MostTries || !FileDescriptor.IsDeleted(_file)) break;
                _file.Dispose();
                (_file, _place) = (null, null);
                exists = CheckPath();
            }
            // Not before: somebody else may have found it as soon as it was there, and serve it, or have done so.
            if (_place is not null && RandomAccess.GetLength(_file) == 0) Created = _place;
            long length = Size(_file);
            if (Created is not null) FileDescriptor.FlushDirectory(System.IO.Path.GetDirectoryName(Created)!);
            return new BackstoreGeometry(length)
            {
                BlockSize = options.BlockSize,
                PhysicalBlockSize = Math.Max(options.PhysicalBlockSize, options.BlockSize),
                DiscardGranularity = Math.Max(Page, options.BlockSize),
                ReadOnly = options.ReadOnly,
            };
        }
        // NotSupported: what cannot be read at an offset.
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or NotSupportedException)
        {
            throw e as BackstoreException ?? Explained(e);
        }
    }

    /// <summary>A way past the page cache to the image.</summary>
    public DirectFile OpenDirect()
    {
        try
        {
            return new DirectFile(_file!, options.ReadOnly);
        }
        catch (LinuxException e)
        {
            throw Refused($"the file system of {Path} has no direct I/O; serve it without direct: {e.Message}", e);
        }
    }

    /// <summary>The open image, which is the caller's from now on.</summary>
    public SafeFileHandle Take()
    {
        _isDone = true;
        return _file!;
    }

    private void CheckSize()
    {
        if (options.SizeBytes is not { } size) return;
        if (size < options.BlockSize) throw Refused($"{Path}: a size of {size} bytes is less than one block of {options.BlockSize}; write e.g. size=10G");
        if (size % options.BlockSize != 0) throw Refused($"{Path}: a size of {size} bytes is no multiple of its blocks of {options.BlockSize}");
    }

    /// <summary>Whether the image is there. Refuses what is none before it is opened: opening alone does something to pipes and devices.</summary>
    private bool CheckPath()
    {
        switch (FileKinds.Of(Path))
        {
            case FileKind.Regular: return true;
            case FileKind.Folder: throw Refused($"{Path} is a folder, not an image file");
            case FileKind.BlockDevice: throw Refused($"{Path} is a block device, not an image file; serve it with block:{Path}");
            case FileKind.Other: throw Refused($"{Path} is a device, a pipe or a socket, not an image file");
        }
        if (options.ReadOnly) throw Refused($"{Path} does not exist, and read-only cannot create it", new FileNotFoundException());
        if (options.SizeBytes is null) throw Refused($"{Path} does not exist; give a size to create it, e.g. file:{options.Path},size=10G", new FileNotFoundException());
        return false;
    }

    private SafeFileHandle Open(bool exists)
    {
        if (!exists)
        {
            try
            {
                // A link to where nothing is yet: creating does not follow it.
                string place = new FileInfo(Path).LinkTarget is null ? Path : File.ResolveLinkTarget(Path, returnFinalTarget: true)!.FullName;
                var file = File.OpenHandle(place, FileMode.CreateNew, FileAccess.ReadWrite, FileShare.ReadWrite, FileOptions.None);
                _place = place;
                return file;
            }
            catch (IOException) when (File.Exists(Path))
            {
                // Somebody else has created it in this moment.
            }
        }
        return File.OpenHandle(Path, FileMode.Open, options.ReadOnly ? FileAccess.Read : FileAccess.ReadWrite, FileShare.ReadWrite, FileOptions.None);
    }

    private long Size(SafeFileHandle file)
    {
        long length = _lengthBefore = RandomAccess.GetLength(file);
        // A larger image stays as it is: a size creates and grows.
        if (options.SizeBytes is { } wanted && wanted > length)
        {
            if (options.ReadOnly) throw Refused($"{Path} has {length} bytes, not {wanted}, and is read-only");
            Grow(file, wanted);
            (length, _isGrown) = (wanted, true);
        }
        if (length < options.BlockSize) throw Refused($"{Path} has {length} bytes, less than one block; give size= to grow it");
        if (options.Preallocate && !FileDescriptor.Preallocate(file, 0, length))
            throw Refused($"the file system of {Path} cannot reserve space (fallocate)");
        return length;
    }

    private void Grow(SafeFileHandle file, long length)
    {
        try
        {
            // One of ours alone has no end that somebody else could move, and costs no block.
            if (Created is not null) RandomAccess.SetLength(file, length);
            else FileDescriptor.Grow(file, length);
        }
        // ArgumentOutOfRange: what .NET makes of EFBIG.
        catch (Exception e) when (e is ArgumentOutOfRangeException or LinuxException { Errno: Errno.EFBIG })
        {
            throw Refused($"the file system of {Path} has no files of {length} bytes", new LinuxException("ftruncate", Errno.EFBIG));
        }
    }

    private BackstoreException Explained(Exception e)
    {
        var errno = FileErrors.ErrnoOf(e);
        // .NET asks for a shared lock of its own when it opens a file: EAGAIN is our exclusive one elsewhere.
        if (errno == Errno.EAGAIN) return InUse();
        string hint = errno == Errno.EROFS ? "; serve it with readonly" : "";
        return Refused($"{Path} cannot be opened: {FileErrors.Why(e)}{hint}", e);
    }

    private static BackstoreException Refused(string message, Exception? inner = null) =>
        new(inner is not null && new LinuxException("open", FileErrors.ErrnoOf(inner)).IsNoSpace ? BackstoreError.NoSpace : BackstoreError.Internal, message, null, inner);

    private BackstoreException InUse() =>
        new(BackstoreError.InUse, $"{Path} is in use by another process, or named twice (its lock is taken); stop that process first");

    /// <summary>Closes the image, and deletes it if it was created, unless it was taken.</summary>
    public void Dispose()
    {
        if (_isDone || _file is null) return;
        // Before it is closed: its lock still keeps others away.
        if (Created is not null) File.Delete(Created);
        // What somebody else has added since is not ours to cut.
        else if (_isGrown && RandomAccess.GetLength(_file) == options.SizeBytes) RandomAccess.SetLength(_file, _lengthBefore);
        _file.Dispose();
    }
}
