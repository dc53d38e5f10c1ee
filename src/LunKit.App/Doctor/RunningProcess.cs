using System.Globalization;

namespace LunKit.App.Doctor;

/// <summary>A process as <c>/proc</c> shows it. Of other users' processes only root sees the open files.</summary>
/// <param name="Id">Its pid.</param>
/// <param name="Command">Its name, as <c>ps</c> shows it.</param>
/// <param name="State">The kernel's letter for what it does.</param>
/// <param name="Arguments">Its command line.</param>
internal sealed record RunningProcess(int Id, string Command, char State, IReadOnlyList<string> Arguments)
{
    private static readonly string[] s_target = ["tcmu_", "tcm_", "target_", "transport_", "core_tmr"];

    private HashSet<string>? _open;

    private string Folder { get; init; } = "";

    /// <summary>All that run.</summary>
    public static IReadOnlyList<RunningProcess> All(Machine machine) =>
        [.. Directory.EnumerateDirectories(machine.Proc).Select(Read).OfType<RunningProcess>().OrderBy(p => p.Id)];

    /// <summary>Whether a signal or a debugger has stopped it: it answers nothing until it goes on.</summary>
    public bool IsStopped => State is 'T' or 't';

    /// <summary>Whether it is <c>lunkit handle</c> for the kernel's devices.</summary>
    public bool IsHandler => Arguments.Any(a => Path.GetFileName(a) is "lunkit" or "LunKit.App" or "LunKit.App.dll") && Arguments.Contains("handle") && !Arguments.Contains("--target");

    /// <summary>Whether it has a file open.</summary>
    public bool Has(string path) => (_open ??= OpenFiles()).Contains(path);

    private HashSet<string> OpenFiles()
    {
        try
        {
            return [.. Directory.EnumerateFileSystemEntries(Path.Combine(Folder, "fd")).Select(fd => new FileInfo(fd).LinkTarget).OfType<string>()];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Another user's, or gone meanwhile.
            return [];
        }
    }

    /// <summary>The functions of the kernel's target in which threads of it sleep that nothing can end.</summary>
    public IReadOnlyList<string> SleepsIn()
    {
        try
        {
            return [.. Directory.EnumerateDirectories(Path.Combine(Folder, "task")).Where(t => StateOf(t) == 'D').Select(t => File.ReadAllText(Path.Combine(t, "wchan")).Trim())
                .Where(function => s_target.Any(prefix => function.StartsWith(prefix, StringComparison.Ordinal))).Distinct()];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }

    private static RunningProcess? Read(string folder)
    {
        if (!int.TryParse(Path.GetFileName(folder), NumberStyles.None, CultureInfo.InvariantCulture, out int id)) return null;
        try
        {
            return new(id, File.ReadAllText(Path.Combine(folder, "comm")).Trim(), StateOf(folder), File.ReadAllText(Path.Combine(folder, "cmdline")).Split('\0', StringSplitOptions.RemoveEmptyEntries))
            {
                Folder = folder,
            };
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Gone meanwhile.
            return null;
        }
    }

    /// <summary>The letter behind the name, which is in brackets and may hold any character.</summary>
    private static char StateOf(string folder)
    {
        string stat = File.ReadAllText(Path.Combine(folder, "stat"));
        return stat[(stat.LastIndexOf(')') + 1)..].TrimStart() is { Length: > 0 } rest ? rest[0] : '?';
    }

    /// <inheritdoc/>
    public override string ToString() => $"{Command}, process {Id.ToString(CultureInfo.InvariantCulture)}";
}
