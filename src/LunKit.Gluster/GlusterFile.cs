using LunKit.Backstores;
using LunKit.Gluster.Native;
using LunKit.Linux;

namespace LunKit.Gluster;

/// <summary>An open file. Thread safe.</summary>
internal sealed class GlusterFile(GlusterVolume volume, nint handle, nint seeker) : CountedUse
{
    public nint Handle => handle;

    /// <summary>Opens the file, creates or grows it as the options say. Waits for the volume. Throws <see cref="BackstoreException"/>.</summary>
    public static GlusterFile Open(GlusterBackstoreOptions options, out long lengthBytes)
    {
        var volume = GlusterVolume.Rent(options);
        GlusterFile? file = null;
        try
        {
            string name = $"gluster:{options.Name}";
            nint handle = volume.Open(options.Path, options.ReadOnly ? Gfapi.ReadOnly : Gfapi.ReadWrite | (options.Sync ? Gfapi.DataSync : 0), options.SizeBytes is not null && !options.ReadOnly);
            if (handle == 0) throw GlusterVolume.Failed(name, options.SizeBytes is null ? "; give a size to create it: size=10G" : "");
            nint seeker = volume.Open(options.Path, Gfapi.ReadOnly, creates: false);
            if (seeker == 0)
            {
                _ = Gfapi.glfs_close(handle);
                throw GlusterVolume.Failed(name);
            }
            file = new GlusterFile(volume, handle, seeker);
            lengthBytes = file.ReadLength(name);
            // One that has grown since stays as it is: a size creates and grows.
            if (options.SizeBytes is { } wanted && wanted > lengthBytes) file.Grow(lengthBytes = wanted, name);
            if (lengthBytes < options.BlockSize) throw new BackstoreException(BackstoreError.Internal, $"{name} has {lengthBytes} bytes, less than one block; give size= to grow it");
            return file;
        }
        catch
        {
            if (file is not null) file.Dispose();
            else volume.Dispose();
            throw;
        }
    }

    /// <summary>
    /// Where data, a hole or the end is; -1 with errno. Transfers move the position of their open file, and a seek returns that: it has one of its
    /// own. One at a time.
    /// </summary>
    public long Seek(long offset, int whence) => Gfapi.glfs_lseek(seeker, offset, whence);

    /// <summary>The length of the file now. Throws <see cref="BackstoreException"/>.</summary>
    public long ReadLength(string name)
    {
        long length = Seek(0, Gfapi.SeekEnd);
        return length < 0 ? throw GlusterVolume.Failed(name) : length;
    }

    /// <summary>
    /// Makes the file at least this long, and never cuts it, also when another client makes it longer at the same moment. Throws
    /// <see cref="BackstoreException"/>.
    /// </summary>
    public void Grow(long length, string name)
    {
        if (ReadLength(name) >= length) return;
        // Only moves the end outwards, where the bricks' file systems can do that; a truncation would cut what was added since the look.
        if (Gfapi.glfs_fallocate(handle, keepSize: 0, length - 1, 1) == 0) return;
        if (ReadLength(name) < length && Gfapi.Truncate(handle, length) != 0) throw GlusterVolume.Failed(name);
    }

    /// <inheritdoc/>
    protected override void Close()
    {
        _ = Gfapi.glfs_close(seeker);
        _ = Gfapi.glfs_close(handle);
        volume.Dispose();
    }
}
