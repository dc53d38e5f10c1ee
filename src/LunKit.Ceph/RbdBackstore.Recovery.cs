using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using LunKit.Backstores;
using LunKit.Linux;

namespace LunKit.Ceph;

/// <summary>Connecting, and connecting again when the cluster has shut the client out; and the watch that tells of a new size.</summary>
public sealed partial class RbdBackstore
{
    private readonly Reconnection _reconnection;
    private readonly SelfHandle _self;
    private int _isSizeStale;
    private volatile RbdImage? _image;

    /// <summary>There were writes since the last flush; what that means is up to whether there is a cache.</summary>
    private bool _isDirty;

    /// <inheritdoc/>
    public string? Unavailable => _reconnection.Unavailable;

    /// <summary>The image, which the caller releases.</summary>
    private RbdImage Use()
    {
        if (Volatile.Read(ref _isSizeStale) != 0) StartReadingSize();
        if (_image is { } image && image.TryUse()) return image;
        _reconnection.Ensure();
        throw new BackstoreException(BackstoreError.Connecting, $"rbd:{_options.Path} is {Unavailable ?? "connecting"}");
    }

    private unsafe void Connect(bool isFirst)
    {
        var image = RbdImage.Open(_options);
        try
        {
            long bytes = image.ReadSize();
            // One that has grown since it was asked for is the same image.
            if (isFirst && _options.SizeBytes is { } wanted && wanted > bytes)
                throw new BackstoreException(BackstoreError.Internal, $"rbd:{_options.Path} has {bytes} bytes, fewer than {wanted}; rbd resize changes an image's size");
            if (!_geometry.ReadOnly && image.Succeed()) LogMessages.LockTaken(_log, _options.Path);
            if (_options.Snapshot is null) image.Watch(&Changed, _self);
            _image = image;
            LogMessages.Connected(_log, _options.Path, bytes, image.ObjectBytes);
            TakeSize(bytes);
        }
        catch
        {
            image.Dispose();
            throw;
        }
    }

    /// <summary>Something of the image has changed; librbd does not say what. Its thread must not be held up.</summary>
    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static unsafe void Changed(void* argument)
    {
        if (GCHandle.FromIntPtr((nint)argument).Target is not RbdBackstore store) return;
        Volatile.Write(ref store._isSizeStale, 1);
        store.StartReadingSize();
    }

    /// <summary>Reads the size on a worker; without one the next operation tries again.</summary>
    private void StartReadingSize()
    {
        if (Interlocked.Exchange(ref _isSizeStale, 0) == 0) return;
        if (!_workers.TryStart(static s => s.ReadSize(), this)) Volatile.Write(ref _isSizeStale, 1);
    }

    private void ReadSize()
    {
        if (_image is not { } image || !image.TryUse()) return;
        try
        {
            TakeSize(image.ReadSize());
        }
        catch (BackstoreException e)
        {
            LogMessages.SizeNotRead(_log, _options.Path, e.Message);
        }
        finally
        {
            image.Release();
        }
    }

    private void TakeSize(long bytes)
    {
        if (bytes == _geometry.LengthBytes) return;
        _geometry = GeometryOf(bytes);
        GeometryChanged?.Invoke();
    }

    /// <summary>The cluster refuses everything that this connection sends, so nothing of it can arrive late: a new one goes on.</summary>
    private void Fenced(RbdImage image)
    {
        if (_image != image || Interlocked.CompareExchange(ref _image, null, image) != image) return;
        image.AbandonCluster();
        if (_options.Cache && Volatile.Read(ref _isDirty))
        {
            LogMessages.CacheLost(_log, _options.Path);
            _flushes.Fail(new IOException("the client was shut out with writes in its cache"));
        }
        image.Dispose();
        _reconnection.Begin("the cluster has shut this client out (blocklisted)");
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await _flushes.DisposeAsync().ConfigureAwait(false);
        // Closing flushes, and may wait for the cluster.
        await _workers.RunAnyhowAsync(static s =>
        {
            s._reconnection.Dispose();
            Interlocked.Exchange(ref s._image, null)?.Dispose();
        }, this).ConfigureAwait(false);
        Release();
    }

    /// <summary>Gives back what is there before the image is open.</summary>
    private void Release()
    {
        _operations.Dispose();
        _self.Dispose();
    }

    /// <summary>
    /// The backstore as the argument of librbd's callback: valid until the backstore and every image that calls back with it are closed. An image
    /// may close later than the backstore lets go of it, when its last operation ends.
    /// </summary>
    internal sealed class SelfHandle(RbdBackstore store) : CountedUse
    {
        private GCHandle _handle = GCHandle.Alloc(store, GCHandleType.Weak);

        public nint Address => GCHandle.ToIntPtr(_handle);

        /// <inheritdoc/>
        protected override void Close() => _handle.Free();
    }
}
