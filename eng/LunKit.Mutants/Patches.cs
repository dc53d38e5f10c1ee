namespace LunKit.Mutants;

/// <summary>
/// Faults that are more than a changed operator: eng/mutants.d/*.patch, each applied to the scratch tree by itself. Lines before the
/// first "---" are words; one of them may be "Tests: CLASS CLASS...", the classes that run first.
/// </summary>
internal sealed class Patches(string root, Action<string> say)
{
    private readonly ScratchTree _tree = new(root, "patched");

    public static IEnumerable<string> All(string root) =>
        Directory.EnumerateFiles(Path.Combine(root, "eng/mutants.d"), "*.patch").Order(StringComparer.Ordinal);

    /// <summary>The first line: what is wrong with it.</summary>
    public static string Title(string patch) => File.ReadLines(patch).First();

    public async Task<IReadOnlyList<Result>> RunAsync(IReadOnlyList<string> patches)
    {
        List<Result> results = [];
        foreach (string patch in patches)
        {
            var (outcome, by) = await RunAsync(patch);
            var result = new Result(Path.GetFileName(patch), "eng/mutants.d/" + Path.GetFileName(patch), 0, Title(patch), outcome, by);
            results.Add(result);
            say($"{results.Count}/{patches.Count}  {Path.GetFileName(patch)}  {result.Change}  [{outcome}] {by}");
        }
        return results;
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
            var (outcome, by) = await _tree.TestAsync(first, TimeSpan.FromMinutes(3), []);
            if (outcome != Outcome.Survived) return (outcome, by);
        }
        return await _tree.TestAsync([], TimeSpan.FromMinutes(8), ["*TidyTests.*"]);
    }
}
