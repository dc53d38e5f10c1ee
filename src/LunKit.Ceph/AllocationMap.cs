using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using LunKit.Ceph.Native;
using LunKit.Linux;

namespace LunKit.Ceph;

/// <summary>The first run of bytes of a range that are allocated, or are not: whole objects, as librbd's difference to nothing has them.</summary>
internal sealed unsafe class AllocationMap
{
    // Ends the iteration; no error number of librbd.
    private const int Enough = -10_000;

    private readonly long _offset;
    private long _end;

    public AllocationMap(long offset, long length) => (_offset, _end, LengthBytes) = (offset, offset, length);

    public bool IsAllocated { get; private set; }

    public long LengthBytes { get; private set; }

    /// <summary>Why the map could not be read.</summary>
    public Errno Error { get; private set; }

    /// <summary>Asks the cluster. Waits.</summary>
    public void Read(nint image)
    {
        var self = GCHandle.Alloc(this);
        try
        {
            // SAFETY: the callback is called before this returns, with the handle that lives until then.
            int error = Rbd.rbd_diff_iterate2(image, null, (ulong)_offset, (ulong)LengthBytes, 1, 1, &Take, (void*)GCHandle.ToIntPtr(self));
            if (error is < 0 and not Enough) Error = Errno.Of(error);
            if (IsAllocated) LengthBytes = Math.Min(LengthBytes, _end - _offset);
        }
        finally
        {
            self.Free();
        }
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int Take(ulong start, nuint bytes, int exists, void* self) =>
        ((AllocationMap)GCHandle.FromIntPtr((nint)self).Target!).Take((long)start, (long)bytes, exists != 0);

    private int Take(long start, long bytes, bool exists)
    {
        if (!exists) return 0;
        if (start > _end)
        {
            // A hole before it: the run is the hole, or ended at it.
            if (!IsAllocated) LengthBytes = start - _offset;
            return Enough;
        }
        IsAllocated = true;
        _end = start + bytes;
        return 0;
    }
}
