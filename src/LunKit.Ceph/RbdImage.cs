using LunKit.Backstores;
using LunKit.Ceph.Native;
using LunKit.Linux;

namespace LunKit.Ceph;

/// <summary>An open image. Thread safe.</summary>
internal sealed class RbdImage : CountedUse
{
    private readonly RadosCluster _cluster;
    private readonly string _path;
    private readonly nint _context;
    private ulong _watch;
    private RbdBackstore.SelfHandle? _watcher;

    private RbdImage(RadosCluster cluster, string path, nint context, nint handle) => (_cluster, _path, _context, Handle) = (cluster, path, context, handle);

    public nint Handle { get; }

    /// <summary>Bytes of an object.</summary>
    public long ObjectBytes { get; private set; }

    /// <summary>Opens the image. Waits up to some seconds. Throws <see cref="BackstoreException"/>.</summary>
    public static RbdImage Open(RbdBackstoreOptions options)
    {
        var cluster = RadosCluster.Rent(new(options.ConfigurationFile, options.Id, options.KeyringFile, options.Timeout, options.Cache));
        nint context = 0, handle = 0;
        try
        {
            context = cluster.OpenPool(options.Pool, options.Namespace);
            bool readOnly = options.ReadOnly || options.Snapshot is not null;
            var error = Errno.Of(readOnly ? Rbd.rbd_open_read_only(context, options.Image, out handle, options.Snapshot) : Rbd.rbd_open(context, options.Image, out handle, null));
            if (error != Errno.None) throw CephErrors.OfOpening(error, $"rbd:{options.Path}", error == Errno.ENOENT ? $"; rbd create --size 10G {options.Path} makes an image" : "");
            var image = new RbdImage(cluster, options.Path, context, handle);
            image.ReadLayout();
            return image;
        }
        catch (Exception e)
        {
            if (handle != 0) _ = Rbd.rbd_close(handle);
            if (context != 0) Rados.rados_ioctx_destroy(context);
            if (e is BackstoreException { InnerException: LinuxException { Errno: Errno.ESHUTDOWN } }) cluster.Abandon();
            cluster.Dispose();
            throw;
        }
    }

    private unsafe void ReadLayout()
    {
        Rbd.ImageInfo info;
        // SAFETY: the structure is as long as is said.
        Check(Rbd.rbd_stat(Handle, &info, (nuint)sizeof(Rbd.ImageInfo)));
        ObjectBytes = (long)info.ObjectSize;
    }

    /// <summary>
    /// Leaves this client's mark in the image, and takes the exclusive lock from the one before if that was a process of this machine that
    /// has ended: else the first write would wait half a minute for the cluster to find that out. True when it has. A cluster that does not
    /// allow either is used as it is.
    /// </summary>
    public bool Succeed()
    {
        if (_cluster.Address is not { } address) return false;
        bool broken = ClientMark.Parse(Rbd.MetadataOf(Handle, ClientMark.Key) ?? "") is { IsGone: true } before && Rbd.BreakLockOf(Handle, before.Address) == 0;
        _ = Rbd.rbd_metadata_set(Handle, ClientMark.Key, ClientMark.Own(address).ToString());
        return broken;
    }

    /// <summary>The size of the image or the snapshot now.</summary>
    public long ReadSize()
    {
        Check(Rbd.rbd_get_size(Handle, out ulong bytes));
        return checked((long)bytes);
    }

    /// <summary>Calls back, on a thread of librbd that must not be held up, when something of the image has changed.</summary>
    public unsafe void Watch(delegate* unmanaged[Cdecl]<void*, void> callback, RbdBackstore.SelfHandle watcher)
    {
        if (!watcher.TryUse()) return;
        _watcher = watcher;
        Check(Rbd.rbd_update_watch(Handle, out _watch, callback, watcher.Address));
    }

    private void Check(int result)
    {
        if (result < 0) throw CephErrors.OfOpening(Errno.Of(result), $"rbd:{_path}", "");
    }

    /// <inheritdoc/>
    protected override void Close()
    {
        if (_watch != 0) _ = Rbd.rbd_update_unwatch(Handle, _watch);
        _ = Rbd.rbd_close(Handle);
        _watcher?.Release();
        Rados.rados_ioctx_destroy(_context);
        _cluster.Dispose();
    }

    /// <summary>The connection was shut out: nobody uses it any more.</summary>
    public void AbandonCluster() => _cluster.Abandon();
}
