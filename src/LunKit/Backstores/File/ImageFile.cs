using System.Runtime.Versioning;
using LunKit.Linux;
using Microsoft.Win32.SafeHandles;

namespace LunKit.Backstores;

/// <summary>
/// The calls that a file backstore makes on its image. All but <see cref="ReadNow"/> may wait for the medium, for as long as the file
/// system likes. Thread safe.
/// </summary>
/// <param name="file">The image, opened through the page cache.</param>
[SupportedOSPlatform("linux")]
internal class ImageFile(SafeFileHandle file) : IDisposable
{
    /// <summary>Fills the data; false, with nothing usable read, when not all of it is in the page cache.</summary>
    public virtual bool ReadNow(long offset, DataBuffer data) =>
        data.TryGetSingle(out var single) ? FileDescriptor.Read(file, offset, single.Span, onlyCached: true) : FileDescriptor.Read(file, offset, Segments(data), onlyCached: true);

    /// <summary>Fills the data.</summary>
    public virtual void Read(long offset, DataBuffer data)
    {
        if (data.TryGetSingle(out var single)) FileDescriptor.Read(file, offset, single.Span, onlyCached: false);
        else FileDescriptor.Read(file, offset, Segments(data), onlyCached: false);
    }

    /// <summary>Writes all of the data to the page cache.</summary>
    public virtual void Write(long offset, DataBuffer data)
    {
        if (data.TryGetSingle(out var single)) FileDescriptor.Write(file, offset, single.Span);
        else FileDescriptor.Write(file, offset, Segments(data));
    }

    /// <summary>Makes the data durable.</summary>
    public virtual void Flush() => FileDescriptor.Flush(file);

    /// <summary>Frees a range; false when the file system cannot.</summary>
    public virtual bool PunchHole(long offset, long length) => FileDescriptor.PunchHole(file, offset, length);

    /// <summary>Zeroes a range; false when the file system cannot.</summary>
    public virtual bool ZeroRange(long offset, long length) => FileDescriptor.ZeroRange(file, offset, length);

    /// <summary>The run of equal allocation state at an offset.</summary>
    public virtual (bool IsData, long End) Extent(long offset, long limit) => FileDescriptor.Extent(file, offset, limit);

    /// <summary>The length of the file now.</summary>
    public virtual long ReadLength() => RandomAccess.GetLength(file);

    /// <summary>Whether it has no name any more.</summary>
    public virtual bool IsDeleted() => FileDescriptor.IsDeleted(file);

    /// <summary>Makes the file at least this long.</summary>
    public virtual void Grow(long length) => FileDescriptor.Grow(file, length);

    /// <summary>Bytes that its file system has left; null when that cannot be told.</summary>
    public virtual long? ReadAvailable() => FileDescriptor.FileSystem(file)?.AvailableBytes;

    /// <summary>Closes it.</summary>
    public virtual void Dispose() => file.Dispose();

    private static Memory<byte>[] Segments(DataBuffer data)
    {
        var segments = new Memory<byte>[data.CountSegments()];
        int i = 0;
        foreach (var segment in data) segments[i++] = segment;
        return segments;
    }
}
