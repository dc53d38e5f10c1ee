using System.Runtime.Versioning;
using Microsoft.Win32.SafeHandles;

namespace LunKit.Linux;

/// <summary>Questions to device files. Any thread.</summary>
[SupportedOSPlatform("linux")]
public static class DeviceNode
{
    /// <summary>Whether a block device is claimed: mounted, swapped to, or part of a RAID, a volume group or a mapping. False when it is gone.</summary>
    public static bool IsClaimed(string path) => CanOpen(path, LibC.O_RDONLY | LibC.O_EXCL) == Errno.EBUSY;

    /// <summary>
    /// Whether some process has a UIO device open, which lets only one in. False when it is gone; null when that cannot be told, e.g. for want of a
    /// descriptor.
    /// </summary>
    public static bool? IsHandled(string path) => IsHandled(CanOpen(path, LibC.O_RDWR));

    /// <summary>What the end of an attempt to open a UIO device says of it.</summary>
    internal static bool? IsHandled(Errno opened) => opened switch
    {
        Errno.EBUSY => true,
        Errno.None or Errno.ENOENT or Errno.ENXIO or Errno.ENODEV => false,
        _ => null,
    };

    private static Errno CanOpen(string path, int flags)
    {
        int fd = LibC.open(path, flags | LibC.O_CLOEXEC | LibC.O_NONBLOCK, 0);
        if (fd < 0) return LibC.Errno;
        new SafeFileHandle(fd, ownsHandle: true).Dispose();
        return Errno.None;
    }
}
