using System.Runtime.Versioning;
using LunKit.Linux;
using Microsoft.Win32.SafeHandles;

namespace LunKit.Backstores;

/// <summary>
/// A file past the page cache (O_DIRECT), through aligned memory: for images larger than memory, and for who must know that the
/// cache of the host holds nothing. Takes transfers of whole aligned units; the kernel keeps them coherent with buffered ones, which
/// take the rest. Blocks its caller. Thread safe.
/// </summary>
/// <param name="buffered">The file, opened through the page cache.</param>
/// <param name="readOnly">Whether it is opened for reading only.</param>
/// <param name="unit">What offsets and lengths are multiples of, 512 to 4096: a page for any file system, a block for a device.</param>
[SupportedOSPlatform("linux")]
internal sealed class DirectFile(SafeFileHandle buffered, bool readOnly, int unit = AlignedBuffer.Alignment) : IDisposable
{
    private const int ChunkBytes = 1 << 20;
    // Of all images together; of the long ones as many as make no difference to a medium that moves 1 MiB at a time.
    private static readonly AlignedBufferPool s_pool = new(AlignedBuffer.Alignment, ChunkBytes, keptBytes: 16 << 20, kept: 256);

    private readonly SafeFileHandle _file = FileDescriptor.ReopenDirect(buffered, readOnly);

    /// <summary>Whether a transfer can be direct.</summary>
    public bool Takes(long offset, int length) => ((offset | (long)length) & (unit - 1)) == 0;

    public void Read(long offset, DataBuffer data) => Transfer(offset, data, static (file, at, chunk, part) =>
    {
        FileDescriptor.Read(file, at, chunk.Span, onlyCached: false);
        part.CopyFrom(chunk.Span);
    });

    /// <summary>Writes. Past the page cache is not past the drive's own: a flush is.</summary>
    public void Write(long offset, DataBuffer data) => Transfer(offset, data, static (file, at, chunk, part) =>
    {
        part.CopyTo(chunk.Span);
        FileDescriptor.Write(file, at, chunk.Span);
    });

    /// <summary>Writes zeroes, for devices that have no command for that.</summary>
    public void WriteZeroes(long offset, long length)
    {
        var buffer = s_pool.Rent((int)Math.Min(ChunkBytes, length));
        try
        {
            buffer.Memory.Span.Clear();
            for (long done = 0; done < length; done += ChunkBytes)
                FileDescriptor.Write(_file, offset + done, buffer.Memory.Span[..(int)Math.Min(ChunkBytes, length - done)]);
        }
        finally
        {
            s_pool.Return(buffer);
        }
    }

    private void Transfer(long offset, DataBuffer data, Action<SafeFileHandle, long, Memory<byte>, DataBuffer> move)
    {
        var buffer = s_pool.Rent(data.Length);
        try
        {
            for (int done = 0; done < data.Length; done += ChunkBytes)
            {
                int length = Math.Min(ChunkBytes, data.Length - done);
                move(_file, offset + done, buffer.Memory[..length], data.Slice(done, length));
            }
        }
        finally
        {
            s_pool.Return(buffer);
        }
    }

    public void Dispose() => _file.Dispose();
}
