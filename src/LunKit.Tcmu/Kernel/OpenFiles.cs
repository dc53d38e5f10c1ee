using System.Globalization;
using LunKit.Linux;

namespace LunKit.Tcmu.Kernel;

/// <summary>A process.</summary>
/// <param name="Id">Its pid.</param>
/// <param name="Command">Its name, as <c>ps</c> shows it.</param>
public sealed record ProcessName(int Id, string Command);

/// <summary>Who has which file open, by <c>/proc</c>: of other users' processes only root is told.</summary>
public static class OpenFiles
{
    /// <summary>The first process that has <paramref name="path"/> open, or null. Throws <see cref="IOException"/> when this cannot be told.</summary>
    public static ProcessName? HolderOf(string path)
    {
        foreach (string process in Directory.EnumerateDirectories("/proc"))
        {
            if (!int.TryParse(Path.GetFileName(process), NumberStyles.None, CultureInfo.InvariantCulture, out int pid)) continue;
            if (Has(process, path)) return new ProcessName(pid, NameOf(pid));
        }
        return null;
    }

    /// <summary>The name of a process; empty when it is gone.</summary>
    public static string NameOf(int pid)
    {
        try
        {
            return File.ReadAllText($"/proc/{pid}/comm").Trim();
        }
        catch (IOException)
        {
            return "";
        }
    }

    private static bool Has(string process, string path)
    {
        try
        {
            return Directory.EnumerateFileSystemEntries(Path.Combine(process, "fd")).Any(fd => new FileInfo(fd).LinkTarget == path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException && !LinuxException.IsShortage(e))
        {
            // Another user's, or gone meanwhile.
            return false;
        }
    }
}
