using System.Globalization;
using LunKit.Linux;

namespace LunKit.Tcmu.Kernel;

/// <summary>
/// Which other processes are told of the kernel's devices, and may answer: those that have a generic netlink socket in the group of TCM-USER, as
/// <c>/proc/PID/net/netlink</c> shows it, in any network namespace (the kernel tells all of them). That is reliable: the socket is there before the process is
/// told anything, also while it is stopped or opens a device, and gone with the process. A LunKit process that never answers (<c>lunkit attach</c>,
/// <c>--no-replies</c>) says so by the number of its socket.
/// </summary>
/// <param name="group">Number of the group.</param>
/// <param name="own">Number of this process's own socket.</param>
/// <param name="proc">Where procfs is mounted; another folder in tests.</param>
internal sealed class Repliers(uint group, uint own, string proc = "/proc")
{
    // The kernel gives a process's first socket its pid (at most 22 bits) and others numbers with the highest bit set; libnl puts a count of the process's
    // sockets over the pid, from 0. These counts are no process's.
    private const uint QuietFirst = 0x100, QuietLast = 0x10F;
    private const int PidBits = 22, GenericNetlink = 16, GroupsShown = 32;

    /// <summary>Opens a socket of a process that does not answer.</summary>
    /// <exception cref="LinuxException">There is none.</exception>
    public static NetlinkSocket OpenQuiet()
    {
        for (uint count = QuietFirst; ; count++)
        {
            try
            {
                return new NetlinkSocket(count << PidBits | (uint)Environment.ProcessId & (1u << PidBits) - 1);
            }
            catch (LinuxException e) when (e.Errno == Errno.EADDRINUSE && count < QuietLast)
            {
                // Another one of this process, or of a process with the same pid in another container.
            }
        }
    }

    /// <summary>Whether there are any. Throws <see cref="IOException"/> when that cannot be told.</summary>
    public bool Any()
    {
        // The table has a bit for each of the first groups only.
        if (group is 0 or > GroupsShown) throw new IOException($"the table of netlink sockets does not show group {group}");
        string? home = NetworkOf("self");
        var seen = new HashSet<string>();
        bool isOwnSeen = false;
        foreach (string process in Directory.EnumerateDirectories(proc))
        {
            if (!int.TryParse(Path.GetFileName(process), NumberStyles.None, CultureInfo.InvariantCulture, out _)) continue;
            try
            {
                if (NetworkOf(Path.GetFileName(process)) is not { } network || !seen.Add(network)) continue;
                foreach (string line in File.ReadLines(Path.Combine(process, "net/netlink")))
                {
                    if (PortOf(line) is not { } port) continue;
                    if (port == own && network == home) isOwnSeen = true;
                    else if (port >> PidBits is < QuietFirst or > QuietLast) return true;
                }
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException && !LinuxException.IsShortage(e))
            {
                // Gone meanwhile.
            }
        }
        return isOwnSeen ? false : throw new IOException("the table of netlink sockets is not complete: this process's own is missing");
    }

    private string? NetworkOf(string process) => new FileInfo(Path.Combine(proc, process, "ns/net")).LinkTarget;

    /// <summary>The number of a socket in the group, from its line: address, protocol, number, groups 1 to 32 in hexadecimal, and more.</summary>
    private uint? PortOf(string line)
    {
        string[] words = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
        return words.Length > 3 && int.TryParse(words[1], NumberStyles.None, CultureInfo.InvariantCulture, out int protocol) && protocol == GenericNetlink
            && uint.TryParse(words[2], NumberStyles.None, CultureInfo.InvariantCulture, out uint port)
            && uint.TryParse(words[3], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out uint groups) && (groups >> (int)(group - 1) & 1) != 0 ? port : null;
    }
}
