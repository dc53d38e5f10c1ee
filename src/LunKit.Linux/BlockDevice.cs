using System.Globalization;
using System.Runtime.Versioning;
using Microsoft.Win32.SafeHandles;

namespace LunKit.Linux;

/// <summary>A block device (<c>/dev/sdX</c>), as the kernel describes it. Static questions; any thread.</summary>
[SupportedOSPlatform("linux")]
public static unsafe class BlockDevice
{
    private const nuint BlkGetSize64 = 0x80081272, BlkLogicalSize = 0x1268, BlkPhysicalSize = 0x127B;

    /// <summary>
    /// Opens it; for writing exclusively: nobody has it mounted, or part of something, and nobody can until it is closed. Throws
    /// <see cref="LinuxException"/>, with <see cref="LinuxException.IsBusy"/> when somebody has.
    /// </summary>
    public static SafeFileHandle Open(string path, bool readOnly)
    {
        int fd = LibC.open(path, (readOnly ? LibC.O_RDONLY : LibC.O_RDWR | LibC.O_EXCL) | LibC.O_CLOEXEC, 0);
        return fd < 0 ? throw new LinuxException("open", LibC.Errno) : new SafeFileHandle(fd, ownsHandle: true);
    }

    /// <summary>Whether a path is a block device.</summary>
    public static bool Is(string path)
    {
        using var handle = new SafeFileHandle(LibC.open(path, LibC.O_RDONLY | LibC.O_CLOEXEC | LibC.O_NONBLOCK, 0), ownsHandle: true);
        return !handle.IsInvalid && TrySize(handle, out _);
    }

    /// <summary>Its size in bytes now; false when it is no block device.</summary>
    public static bool TrySize(SafeFileHandle device, out long bytes)
    {
        using var fd = new OpenDescriptor(device);
        long size = 0;
        // SAFETY: the request writes eight bytes, into a local of eight.
        bool known = LibC.ioctl(fd.Number, BlkGetSize64, (int*)&size) == 0;
        bytes = size;
        return known;
    }

    /// <summary>Bytes of its logical block: what transfers are multiples of.</summary>
    public static int LogicalBlockSize(SafeFileHandle device) => Ask(device, BlkLogicalSize, 512);

    /// <summary>Bytes of its physical block.</summary>
    public static int PhysicalBlockSize(SafeFileHandle device) => Ask(device, BlkPhysicalSize, 512);

    /// <summary>A number of its queue's attributes in sysfs, e.g. <c>rotational</c>; a partition has its disk's. Null when there is none.</summary>
    public static long? QueueAttribute(string path, string attribute)
    {
        string name = Path.GetFileName(File.ResolveLinkTarget(path, returnFinalTarget: true)?.FullName ?? path);
        string[] places = [$"/sys/class/block/{name}/queue/{attribute}", $"/sys/class/block/{name}/../queue/{attribute}"];
        foreach (string place in places)
        {
            try
            {
                if (long.TryParse(File.ReadAllText(place), NumberStyles.AllowTrailingWhite, CultureInfo.InvariantCulture, out long value)) return value;
            }
            catch (IOException)
            {
                // The next place, or none.
            }
        }
        return null;
    }

    private static int Ask(SafeFileHandle device, nuint request, int otherwise)
    {
        using var fd = new OpenDescriptor(device);
        int value = 0;
        // SAFETY: the requests write one int.
        return LibC.ioctl(fd.Number, request, &value) == 0 && value > 0 ? value : otherwise;
    }
}
