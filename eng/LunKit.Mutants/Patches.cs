namespace LunKit.Mutants;

/// <summary>
/// Faults that are more than a changed operator: eng/mutants.d/*.patch, each applied to the scratch tree by itself. Lines before the
/// first "---" are words; one of them may be "Tests: CLASS CLASS...", the classes that run first.
/// </summary>
internal sealed class Patches(string root, Action<string> say, Action<Result> save)
{
    private static readonly TimeSpan s_all = TimeSpan.FromMinutes(8);

    private readonly ScratchTree _tree = new(root, "patched");
    private readonly HashSet<string> _excluded = [];

    public static IEnumerable<string> All(string root) =>
        Directory.EnumerateFiles(Path.Combine(root, "eng/mutants.d"), "*.patch").Order(StringComparer.Ordinal);

    /// <summary>The first line: what is wrong with it.</summary>
    public static string Title(string patch) => File.ReadLines(patch).First();

    public async Task<IReadOnlyList<Result>> RunAsync(IReadOnlyList<string> patches)
    {
        List<Result> results = [];
        if (patches.Count > 0) await MeasureAsync();
        foreach (string patch in patches)
        {
            var (outcome, by) = await RunAsync(patch);
            var result = new Result(Path.GetFileName(patch), "eng/mutants.d/" + Path.GetFileName(patch), 0, Title(patch), outcome, by);
            results.Add(result);
            save(result);
            say($"{results.Count}/{patches.Count}  {Path.GetFileName(patch)}  {result.Change}  [{outcome}] {by}");
        }
        return results;
    }

    /// <summary>Which tests fail without a patch: they say nothing.</summary>
    private async Task MeasureAsync()
    {
        await _tree.UpdateAsync();
        if (await _tree.BuildAsync("tests/LunKit.Tests") is { Count: > 0 } errors)
            throw new InvalidOperationException($"the sources do not compile: {errors[0].File}({errors[0].Line}): {errors[0].Text}");
        while (_excluded.Count < 8 && await _tree.TestAsync([], s_all, _excluded) is { Outcome: Outcome.Killed, By: var by })
        {
            if (!_excluded.Add("LunKit.Tests." + by)) return;
            say($"left out, for it fails without a patch: {by}");
        }
    }

    private async Task<(Outcome, string)> RunAsync(string patch)
    {
        await _tree.UpdateAsync();
        // The tree lies in the repository, and git is not to look for it there.
        KeyValuePair<string, string?> ceiling = new("GIT_CEILING_DIRECTORIES", Path.GetDirectoryName(_tree.Folder));
        var applied = await Ended.RunAsync(_tree.Folder, TimeSpan.FromMinutes(1), [ceiling], "git", "apply", "-C1", patch);
        if (applied.Code != 0) return (Outcome.Broken, "does not apply: " + applied.Output.Trim().Replace('\n', ' '));
        var errors = await _tree.BuildAsync("tests/LunKit.Tests");
        if (errors.Count > 0) return (Outcome.Broken, $"does not compile: {errors[0].File}({errors[0].Line}): {errors[0].Text}");
        var words = File.ReadLines(patch).TakeWhile(l => !l.StartsWith("---", StringComparison.Ordinal));
        string[] first = [.. words.Where(l => l.StartsWith("Tests:", StringComparison.Ordinal))
            .SelectMany(l => l[6..].Split(' ', StringSplitOptions.RemoveEmptyEntries)).Select(c => "*." + c)];
        if (first.Length > 0)
        {
            var (outcome, by) = await _tree.TestAsync(first, s_all, _excluded);
            if (outcome != Outcome.Survived) return (outcome, by);
        }
        return await _tree.TestAsync([], s_all, _excluded);
    }
}
