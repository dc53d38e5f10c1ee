namespace LunKit.Tests.Tidy;

/// <summary>The faults of <c>eng/mutants.d</c> follow the code: what a patch takes away is there, or it tests nothing.</summary>
public class MutantPatchTests
{
    [Fact]
    public void EveryPatchApplies()
    {
        var stale = Directory.GetFiles(Path.Combine(TidyTests.Root, "eng/mutants.d"), "*.patch").Where(p => !Applies(File.ReadAllLines(p))).Select(Path.GetFileName).ToList();
        Assert.True(stale.Count == 0, $"{string.Join(", ", stale)}: the code has moved; make the fault anew there");
    }

    private static bool Applies(string[] patch)
    {
        string text = "";
        var hunk = new List<string>();
        bool applies = true;
        foreach (string line in patch.SkipWhile(l => !l.StartsWith("--- a/", StringComparison.Ordinal)).Append("@@"))
        {
            if (line.StartsWith("--- a/", StringComparison.Ordinal) || line.StartsWith("@@", StringComparison.Ordinal))
            {
                applies &= text.Contains(string.Concat(hunk.Select(l => l + "\n")), StringComparison.Ordinal);
                hunk.Clear();
                if (line[0] == '-') text = File.ReadAllText(Path.Combine(TidyTests.Root, line["--- a/".Length..]));
            }
            else if (line.StartsWith(' ') || line.StartsWith('-'))
            {
                hunk.Add(line[1..]);
            }
        }
        return applies && text.Length > 0;
    }
}
