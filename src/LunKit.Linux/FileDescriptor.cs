using System.Runtime.Versioning;
using Microsoft.Win32.SafeHandles;

namespace LunKit.Linux;

/// <summary>
/// Positioned vectored I/O, flushing, space management and locking of one open file or block device. Thread safe: every call is
/// one system call on the descriptor (or a loop that continues a short transfer). Failures throw <see cref="LinuxException"/>.
/// </summary>
[SupportedOSPlatform("linux")]
public static unsafe class FileDescriptor
{
    private const int StackVectors = 16;

    /// <summary>
    /// Reads into <paramref name="segments"/> from byte <paramref name="offset"/>. Fails with ENODATA where the file ends before them: what was there is lost, and
    /// zeroes would be a lie. With <paramref name="onlyCached"/> returns false, having read nothing usable, when the bytes are not in the page cache.
    /// </summary>
    public static bool Read(SafeFileHandle file, long offset, ReadOnlySpan<Memory<byte>> segments, bool onlyCached)
    {
        int skip = 0; // bytes of segments[0] that are already there
        while (!segments.IsEmpty)
        {
            int count = Math.Min(segments.Length, StackVectors);
            nint n = Transfer(file, offset, segments[..count], skip, onlyCached ? Direction.ReadCached : Direction.Read);
            if (n < 0)
            {
                var errno = LibC.Errno;
                if (errno == Errno.EINTR) continue;
                if (onlyCached && errno is Errno.EAGAIN or Errno.EOPNOTSUPP) return false;
                throw new LinuxException("preadv", errno);
            }
            // Without waiting, no byte proves nothing: the read that waits decides whether this is the end.
            if (n == 0 && onlyCached) return false;
            if (n == 0) throw Ended(offset);
            offset += n;
            Advance(ref segments, ref skip, n);
        }
        return true;
    }

    /// <summary>
    /// Reads one piece of memory, as the other overload does: most transfers are one piece, and need no list of pinned ones.
    /// </summary>
    public static bool Read(SafeFileHandle file, long offset, Span<byte> data, bool onlyCached)
    {
        using var fd = new OpenDescriptor(file);
        // SAFETY: the span is pinned for the loop; each call writes at most what is left of it.
        fixed (byte* start = data)
        {
            for (int done = 0; done < data.Length;)
            {
                var vector = new LibC.iovec { iov_base = start + done, iov_len = (nuint)(data.Length - done) };
                nint n = onlyCached ? LibC.preadv2(fd.Number, &vector, 1, offset + done, LibC.RWF_NOWAIT) : LibC.pread(fd.Number, start + done, vector.iov_len, offset + done);
                if (n > 0)
                {
                    done += (int)n;
                    continue;
                }
                var errno = n < 0 ? LibC.Errno : Errno.None;
                if (errno == Errno.EINTR) continue;
                if (onlyCached && errno is Errno.None or Errno.EAGAIN or Errno.EOPNOTSUPP) return false;
                if (errno != Errno.None) throw new LinuxException("preadv", errno);
                throw Ended(offset + done);
            }
        }
        return true;
    }

    private static LinuxException Ended(long offset) => new($"read at {offset}, where the file has ended: somebody has truncated it", Errno.ENODATA);

    /// <summary>Writes one piece of memory to the page cache, all of it.</summary>
    public static void Write(SafeFileHandle file, long offset, ReadOnlySpan<byte> data)
    {
        using var fd = new OpenDescriptor(file);
        // SAFETY: the span is pinned for the loop; each call reads at most what is left of it.
        fixed (byte* start = data)
        {
            for (int done = 0; done < data.Length;)
            {
                nint n = LibC.pwrite(fd.Number, start + done, (nuint)(data.Length - done), offset + done);
                var errno = n < 0 ? LibC.Errno : n == 0 ? Errno.EIO : Errno.None;
                if (errno is not (Errno.None or Errno.EINTR)) throw new LinuxException("pwrite", errno);
                if (n > 0) done += (int)n;
            }
        }
    }

    /// <summary>Writes <paramref name="segments"/> at byte <paramref name="offset"/>, all of it, to the page cache.</summary>
    public static void Write(SafeFileHandle file, long offset, ReadOnlySpan<Memory<byte>> segments)
    {
        int skip = 0;
        while (!segments.IsEmpty)
        {
            int count = Math.Min(segments.Length, StackVectors);
            nint n = Transfer(file, offset, segments[..count], skip, Direction.Write);
            if (n < 0)
            {
                var errno = LibC.Errno;
                if (errno == Errno.EINTR) continue;
                throw new LinuxException("pwritev", errno);
            }
            if (n == 0) throw new LinuxException("pwritev", Errno.EIO);
            offset += n;
            Advance(ref segments, ref skip, n);
        }
    }

    /// <summary>Makes the data (and the size) durable: fdatasync.</summary>
    public static void Flush(SafeFileHandle file)
    {
        using var fd = new OpenDescriptor(file);
        while (LibC.fdatasync(fd.Number) != 0)
        {
            var errno = LibC.Errno;
            if (errno != Errno.EINTR) throw new LinuxException("fdatasync", errno);
        }
    }

    /// <summary>Frees the blocks of a byte range, which then reads as zeroes. False when the file system cannot.</summary>
    public static bool PunchHole(SafeFileHandle file, long offset, long length) =>
        Allocate(file, LibC.FALLOC_FL_PUNCH_HOLE | LibC.FALLOC_FL_KEEP_SIZE, offset, length);

    /// <summary>Makes a byte range read as zeroes and keeps it allocated. False when the file system cannot.</summary>
    public static bool ZeroRange(SafeFileHandle file, long offset, long length) =>
        Allocate(file, LibC.FALLOC_FL_ZERO_RANGE | LibC.FALLOC_FL_KEEP_SIZE, offset, length);

    /// <summary>Whether the file has no name any more, so that it goes with its last handle.</summary>
    public static bool IsDeleted(SafeFileHandle file)
    {
        using var fd = new OpenDescriptor(file);
        LibC.statx_head facts;
        // SAFETY: the structure is a local, and as long as what is written.
        if (LibC.statx(fd.Number, "", LibC.AT_EMPTY_PATH, LibC.STATX_NLINK, &facts) != 0) throw new LinuxException("statx", LibC.Errno);
        return facts.stx_nlink == 0;
    }

    /// <summary>Reserves space for a byte range. False when the file system cannot.</summary>
    public static bool Preallocate(SafeFileHandle file, long offset, long length) =>
        Allocate(file, LibC.FALLOC_FL_KEEP_SIZE, offset, length);

    /// <summary>
    /// Makes a file at least this long, with bytes that read as zeroes. Never cuts it and changes none of its bytes, also when somebody else writes behind
    /// its end at the same moment: truncation would, between a look at the length and the call.
    /// </summary>
    public static void Grow(SafeFileHandle file, long length)
    {
        if (RandomAccess.GetLength(file) >= length) return;
        try
        {
            // Only moves the end outwards. It costs the space of one block.
            if (Allocate(file, 0, length - 1, 1)) return;
        }
        catch (LinuxException e) when (e.Errno is Errno.ENOSPC or Errno.EDQUOT)
        {
            // Longer it can be all the same: thin.
        }
        if (RandomAccess.GetLength(file) < length) RandomAccess.SetLength(file, length);
    }

    /// <summary>
    /// The run of equal allocation state that starts at <paramref name="offset"/>: whether it holds data, and where it ends
    /// (at most <paramref name="limit"/>). A file system without SEEK_DATA says that all is data.
    /// </summary>
    public static (bool IsData, long End) Extent(SafeFileHandle file, long offset, long limit)
    {
        using var fd = new OpenDescriptor(file);
        long data = LibC.lseek(fd.Number, offset, LibC.SEEK_DATA);
        if (data < 0) return LibC.Errno == Errno.ENXIO ? (false, limit) : (true, limit);
        if (data > offset) return (false, Math.Min(data, limit));
        long hole = LibC.lseek(fd.Number, offset, LibC.SEEK_HOLE);
        return (true, hole <= offset ? limit : Math.Min(hole, limit));
    }

    /// <summary>
    /// Opens a file for reading without its lock: .NET's own opening takes a shared flock, which fails while somebody uses the file, and keeps others from
    /// locking it meanwhile. Throws when there is none that may be read.
    /// </summary>
    public static SafeFileHandle OpenUnlocked(string path)
    {
        int fd = LibC.open(path, LibC.O_CLOEXEC | LibC.O_NONBLOCK, 0);
        return fd < 0 ? throw new LinuxException("open", LibC.Errno) : new SafeFileHandle(fd, ownsHandle: true);
    }

    /// <summary>
    /// Opens the file behind a handle once more, past the page cache (O_DIRECT). Offsets, lengths and memory of its transfers are
    /// multiples of <see cref="AlignedBuffer.Alignment"/>. Throws when the file system cannot.
    /// </summary>
    public static SafeFileHandle ReopenDirect(SafeFileHandle file, bool readOnly)
    {
        using var behind = new OpenDescriptor(file);
        int fd = LibC.open($"/proc/self/fd/{behind.Number}", LibC.O_DIRECT | LibC.O_CLOEXEC | (readOnly ? 0 : LibC.O_RDWR), 0);
        return fd < 0 ? throw new LinuxException("open", LibC.Errno) : new SafeFileHandle(fd, ownsHandle: true);
    }

    /// <summary>
    /// Of the file system that a file is on, wherever its path seems to lead: whether it has no medium, and the bytes that it has left. Null when
    /// it does not say.
    /// </summary>
    public static (bool IsInMemory, long AvailableBytes)? FileSystem(SafeFileHandle file)
    {
        using var fd = new OpenDescriptor(file);
        LibC.statfs facts;
        // SAFETY: the structure is a local, and no shorter than what is written.
        if (LibC.fstatfs(fd.Number, &facts) != 0) return null;
        return (facts.f_type is LibC.TMPFS_MAGIC or LibC.RAMFS_MAGIC, (long)facts.f_bavail * facts.f_bsize);
    }

    /// <summary>Takes the advisory lock (flock) of the file; false when another process or handle has it.</summary>
    public static bool TryLock(SafeFileHandle file, bool shared)
    {
        using var fd = new OpenDescriptor(file);
        return LibC.flock(fd.Number, (shared ? LibC.LOCK_SH : LibC.LOCK_EX) | LibC.LOCK_NB) == 0;
    }

    /// <summary>Makes a rename or creation in a directory durable: fsync of the directory.</summary>
    public static void FlushDirectory(string path)
    {
        int fd = LibC.open(path, LibC.O_DIRECTORY | LibC.O_CLOEXEC, 0);
        if (fd < 0) throw new LinuxException("open", LibC.Errno);
        int rc = LibC.fsync(fd);
        var errno = LibC.Errno;
        _ = LibC.close(fd);
        if (rc != 0 && errno != Errno.EINVAL) throw new LinuxException("fsync", errno);
    }

    private static bool Allocate(SafeFileHandle file, int mode, long offset, long length)
    {
        using var fd = new OpenDescriptor(file);
        while (LibC.fallocate(fd.Number, mode, offset, length) != 0)
        {
            var errno = LibC.Errno;
            if (errno == Errno.EOPNOTSUPP) return false;
            if (errno != Errno.EINTR) throw new LinuxException("fallocate", errno);
        }
        return true;
    }

    private enum Direction { Read, ReadCached, Write }

    private static nint Transfer(SafeFileHandle file, long offset, ReadOnlySpan<Memory<byte>> segments, int skip, Direction direction)
    {
        var vectors = stackalloc LibC.iovec[StackVectors];
        var pins = new PinArray();
        try
        {
            for (int i = 0; i < segments.Length; i++)
            {
                var memory = i == 0 ? segments[i][skip..] : segments[i];
                pins[i] = memory.Pin();
                vectors[i] = new LibC.iovec { iov_base = pins[i].Pointer, iov_len = (nuint)memory.Length };
            }
            using var fd = new OpenDescriptor(file);
            // SAFETY: every vector points into memory pinned until the finally block, with its own length.
            return direction switch
            {
                Direction.Read => LibC.preadv(fd.Number, vectors, segments.Length, offset),
                Direction.ReadCached => LibC.preadv2(fd.Number, vectors, segments.Length, offset, LibC.RWF_NOWAIT),
                _ => LibC.pwritev(fd.Number, vectors, segments.Length, offset),
            };
        }
        finally
        {
            for (int i = 0; i < segments.Length; i++) pins[i].Dispose();
        }
    }

    [System.Runtime.CompilerServices.InlineArray(StackVectors)]
    private struct PinArray { private System.Buffers.MemoryHandle _element; }

    private static void Advance(ref ReadOnlySpan<Memory<byte>> segments, ref int skip, nint moved)
    {
        while (moved > 0)
        {
            int left = segments[0].Length - skip;
            if (moved < left)
            {
                skip += (int)moved;
                return;
            }
            moved -= left;
            skip = 0;
            segments = segments[1..];
        }
    }
}
