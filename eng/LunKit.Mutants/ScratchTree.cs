using System.Text.RegularExpressions;

namespace LunKit.Mutants;

/// <summary>A copy of the repository's sources in which faults may be put; builds and runs the tests.</summary>
internal sealed partial class ScratchTree(string root, string name)
{
    private static readonly TimeSpan s_build = TimeSpan.FromMinutes(15);

    public string Folder { get; } = Path.Combine(root, "artifacts/mutants", name);

    private string Tests => Path.Combine(Folder, "artifacts/bin/LunKit.Tests/release/LunKit.Tests.dll");

    /// <summary>Makes the copy equal to the repository; what is equal already is left alone, so that little is built again.</summary>
    public async Task UpdateAsync()
    {
        var listed = await Ended.RunAsync(root, s_build, null, "git", "ls-files", "-co", "--exclude-standard");
        var files = listed.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .Where(f => File.Exists(Path.Combine(root, f))).ToHashSet();
        Directory.CreateDirectory(Folder);
        foreach (string old in Directory.EnumerateFiles(Folder, "*", SearchOption.AllDirectories))
        {
            string path = Path.GetRelativePath(Folder, old);
            if (!path.StartsWith("artifacts/", StringComparison.Ordinal) && !files.Contains(path)) File.Delete(old);
        }
        foreach (string path in files)
        {
            string to = Path.Combine(Folder, path);
            Directory.CreateDirectory(Path.GetDirectoryName(to)!);
            Write(to, await File.ReadAllBytesAsync(Path.Combine(root, path)));
        }
    }

    public string PathOf(string file) => Path.Combine(Folder, file);

    /// <summary>Writes a file unless it is so already.</summary>
    public static void Write(string path, byte[] bytes)
    {
        if (File.Exists(path) && File.ReadAllBytes(path).AsSpan().SequenceEqual(bytes)) return;
        File.WriteAllBytes(path, bytes);
    }

    /// <summary>Builds a project; the errors, or none.</summary>
    public async Task<IReadOnlyList<(string File, int Line, int Column, string Text)>> BuildAsync(string project)
    {
        string[] arguments =
        [
            "build", "-c", "Release", "--nologo", "-v", "quiet", project, "-clp:ErrorsOnly",
            "-p:TreatWarningsAsErrors=false", "-p:RunAnalyzers=false", "-p:EnforceCodeStyleInBuild=false",
            "-p:WarningLevel=0", "-nodeReuse:false", "-p:UseSharedCompilation=true",
        ];
        Ended built = new(null, "");
        // A package registry that is filled on demand may need to be asked twice.
        for (int i = 0; i < 2; i++)
        {
            built = await Ended.RunAsync(Folder, s_build, null, "dotnet", arguments);
            if (built.Code == 0) return [];
            var errors = Error().Matches(built.Output).Select(m => m.Groups).Distinct()
                .Select(g => (Path.GetRelativePath(Folder, g[1].Value), int.Parse(g[2].Value), int.Parse(g[3].Value), g[4].Value)).ToList();
            if (errors.Count > 0) return errors;
        }
        throw new InvalidOperationException("the scratch tree does not build:\n" + built.Output);
    }

    /// <summary>The classes that have tests.</summary>
    public async Task<IReadOnlyList<string>> ClassesAsync()
    {
        var listed = await Ended.RunAsync(Folder, TimeSpan.FromMinutes(2), null, "dotnet", Tests, "-noLogo", "-list", "classes");
        var lines = listed.Output.Split('\n').Select(l => l.Trim());
        return [.. lines.Where(l => l.StartsWith("LunKit.Tests.", StringComparison.Ordinal))];
    }

    /// <summary>Runs some test classes until one fails. The outcome, and the first test that failed.</summary>
    public async Task<(Outcome Outcome, string By)> TestAsync(
        IEnumerable<string> classes, TimeSpan limit, IEnumerable<string> without, params KeyValuePair<string, string?>[] environment)
    {
        List<string> arguments = [Tests, "-noLogo", "-noColor", "-stopOnFail"];
        foreach (string name in classes) arguments.AddRange(["-class", name]);
        foreach (string name in without) arguments.AddRange(["-method-", name]);
        var ended = await Ended.RunAsync(Folder, limit, environment, "dotnet", arguments);
        if (ended.Code is null) return (Outcome.Hung, $"not ended after {limit.TotalSeconds:0} s");
        if (ended.Code == 0) return (Outcome.Survived, "");
        var failed = Failure().Match(ended.Output);
        string test = failed.Groups[1].Value.Replace("LunKit.Tests.", "", StringComparison.Ordinal);
        return (Outcome.Killed, failed.Success ? test : LastLine(ended.Output));
    }

    private static string LastLine(string output) =>
        output.Split('\n', StringSplitOptions.RemoveEmptyEntries).LastOrDefault() ?? "the process ended";

    [GeneratedRegex(@"^\s*(\S+\.cs)\((\d+),(\d+)\): error (CS\d+: [^\[\n]*)", RegexOptions.Multiline)]
    private static partial Regex Error();

    [GeneratedRegex(@"^\s*(LunKit\.Tests\.\S+?)(?:\([^\n]*\))? \[FAIL\]", RegexOptions.Multiline)]
    private static partial Regex Failure();
}
