using System.Globalization;

namespace LunKit.Linux;

/// <summary>What the system lets this process have: descriptors (RLIMIT_NOFILE) and threads (the pids controller of its control groups).</summary>
public sealed class ProcessRoom
{
    private readonly string[] _groups;

    /// <summary>Reads the limits that are in force now.</summary>
    public ProcessRoom() : this("/proc/self", "/sys/fs/cgroup")
    {
    }

    internal ProcessRoom(string process, string controlGroups)
    {
        Descriptors = DescriptorsOf(Lines(Path.Combine(process, "limits")));
        _groups = [.. Lines(Path.Combine(process, "cgroup")).SelectMany(l => Folders(l, controlGroups)).Where(g => Number(Path.Combine(g, "pids.max")) is not null)];
    }

    /// <summary>Descriptors are numbers below this.</summary>
    public int Descriptors { get; }

    /// <summary>Threads that may still be started before a control group forbids it; null where none does.</summary>
    public int? SpareThreads()
    {
        int? least = null;
        foreach (string group in _groups)
        {
            if (Number(Path.Combine(group, "pids.max")) is not { } max || Number(Path.Combine(group, "pids.current")) is not { } current) continue;
            int spare = (int)Math.Clamp(max - current, 0, int.MaxValue);
            least = Math.Min(least ?? spare, spare);
        }
        return least;
    }

    private static int DescriptorsOf(IEnumerable<string> limits)
    {
        const string Name = "Max open files";
        string? soft = limits.FirstOrDefault(l => l.StartsWith(Name, StringComparison.Ordinal))?[Name.Length..].Split(' ', StringSplitOptions.RemoveEmptyEntries).FirstOrDefault();
        return int.TryParse(soft, CultureInfo.InvariantCulture, out int limit) ? limit : int.MaxValue;
    }

    /// <summary>A control group and those above it; each may have a limit.</summary>
    private static IEnumerable<string> Folders(string line, string root)
    {
        if (line.Split(':', 3) is not [_, var controllers, var path]) yield break;
        // Version 2 has one hierarchy, version 1 one for each controller.
        if (controllers.Length > 0 && !controllers.Split(',').Contains("pids")) yield break;
        string top = controllers.Length > 0 ? Path.Combine(root, controllers) : root;
        for (string at = path.Trim('/'); ; at = Path.GetDirectoryName(at) ?? "")
        {
            yield return Path.Combine(top, at);
            if (at.Length == 0) yield break;
        }
    }

    private static long? Number(string path) =>
        Lines(path) is [var line, ..] && long.TryParse(line, CultureInfo.InvariantCulture, out long number) ? number : null;

    private static string[] Lines(string path)
    {
        try
        {
            return File.ReadAllLines(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }
}
