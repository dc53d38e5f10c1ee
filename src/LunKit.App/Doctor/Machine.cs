using LunKit.Linux;
using LunKit.Tcmu.ConfigFs;

namespace LunKit.App.Doctor;

/// <summary>Where the doctor looks; other folders in tests.</summary>
internal sealed record Machine
{
    public string Proc { get; init; } = "/proc";

    public string Sys { get; init; } = "/sys";

    public string Dev { get; init; } = "/dev";

    /// <summary>Free bytes of the file system that a file is on; null when it does not say.</summary>
    public Func<string, long?> FreeBytes { get; init; } = FreeBytesOf;

    /// <summary>How long something must last to be stuck, and not only at work.</summary>
    public TimeSpan Patience { get; init; } = TimeSpan.FromMilliseconds(500);

    /// <summary>The kernel's target.</summary>
    public KernelTarget Target => new(Path.Combine(Sys, "kernel/config/target"));

    /// <summary>
    /// Whether a write to <paramref name="image"/> can fail for want of room: its file system is full, and not all of its blocks are allocated.
    /// </summary>
    public bool LacksRoom(string image)
    {
        const long Little = 1 << 16;
        try
        {
            if (FreeBytes(image) is not { } free || free >= Little) return false;
            using var file = FileDescriptor.OpenUnlocked(image);
            long length = RandomAccess.GetLength(file);
            return FileDescriptor.Extent(file, 0, length) is var (isData, end) && (!isData || end < length);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    private static long? FreeBytesOf(string file)
    {
        using var handle = FileDescriptor.OpenUnlocked(file);
        return FileDescriptor.FileSystem(handle)?.AvailableBytes;
    }
}
