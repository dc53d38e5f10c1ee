using System.Runtime.Versioning;
using Microsoft.Win32.SafeHandles;

namespace LunKit.Linux;

/// <summary>
/// Memory that processes can share: a file without a name (memfd), of a size that is sealed, so that nobody who has it can pull it away
/// under the others. Its pages come into being when they are touched. Thread safe.
/// </summary>
[SupportedOSPlatform("linux")]
public sealed class MemoryFile : IDisposable
{
    /// <summary>Makes it. Throws <see cref="LinuxException"/>.</summary>
    /// <param name="name">A name for <c>/proc</c>, without meaning.</param>
    /// <param name="bytes">Its size.</param>
    public MemoryFile(string name, long bytes)
    {
        int fd = LibC.memfd_create(name, LibC.MFD_CLOEXEC | LibC.MFD_ALLOW_SEALING);
        if (fd < 0) throw new LinuxException("memfd_create", LibC.Errno);
        Handle = new SafeFileHandle(fd, ownsHandle: true);
        if (LibC.ftruncate(fd, bytes) == 0 && LibC.fcntl(fd, LibC.F_ADD_SEALS, LibC.F_SEAL_SHRINK | LibC.F_SEAL_GROW | LibC.F_SEAL_SEAL) == 0) return;
        var errno = LibC.Errno;
        Handle.Dispose();
        throw new LinuxException("ftruncate", errno);
    }

    /// <summary>Its descriptor, for mapping it and for handing it over.</summary>
    public SafeFileHandle Handle { get; }

    /// <summary>Gives memory back; the range reads as zeroes afterwards.</summary>
    public void GiveBack(long offset, long length) => FileDescriptor.PunchHole(Handle, offset, length);

    /// <inheritdoc/>
    public void Dispose() => Handle.Dispose();
}
