using System.Runtime.Versioning;

namespace LunKit.Linux;

/// <summary>What lies at a path, links followed.</summary>
public enum FileKind
{
    /// <summary>Nothing, or nothing that can be looked at.</summary>
    None,
    /// <summary>A regular file.</summary>
    Regular,
    /// <summary>A folder.</summary>
    Folder,
    /// <summary>A block device.</summary>
    BlockDevice,
    /// <summary>A character device, a pipe or a socket.</summary>
    Other,
}

/// <summary>Looks what lies at a path. Any thread.</summary>
[SupportedOSPlatform("linux")]
public static unsafe class FileKinds
{
    /// <summary>What lies at a path.</summary>
    public static FileKind Of(string path)
    {
        LibC.statx_head facts;
        // SAFETY: the structure is a local, and as long as what is written.
        if (LibC.statx(LibC.AT_FDCWD, path, 0, LibC.STATX_TYPE, &facts) != 0) return FileKind.None;
        return (facts.stx_mode & LibC.S_IFMT) switch
        {
            LibC.S_IFREG => FileKind.Regular, LibC.S_IFDIR => FileKind.Folder, LibC.S_IFBLK => FileKind.BlockDevice, _ => FileKind.Other,
        };
    }
}
