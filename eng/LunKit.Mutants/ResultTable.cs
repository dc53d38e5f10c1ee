using System.Text;

namespace LunKit.Mutants;

/// <summary>What was found so far, in artifacts/mutants/results.tsv, and the tables made of it.</summary>
internal sealed class ResultTable(string root)
{
    private readonly Lock _gate = new();
    private readonly string _path = Path.Combine(root, "artifacts/mutants/results.tsv");

    public IReadOnlyDictionary<string, Result> Load() => !File.Exists(_path)
        ? new Dictionary<string, Result>()
        : File.ReadLines(_path).Select(l => l.Split('\t')).Where(f => f.Length == 6)
            .Select(f => new Result(f[0], f[1], int.Parse(f[2]), f[3], Enum.Parse<Outcome>(f[4]), f[5])).ToDictionary(r => r.Key);

    /// <summary>Adds a result to the earlier ones; those whose mutants are gone leave. Thread safe.</summary>
    public void Save(Result result, Func<Result, bool> isThere)
    {
        lock (_gate)
        {
            var all = Load().Values.Where(isThere).ToDictionary(r => r.Key);
            all[result.Key] = result;
            Directory.CreateDirectory(Path.GetDirectoryName(_path)!);
            File.WriteAllLines(_path, all.Values.OrderBy(r => r.File, StringComparer.Ordinal).ThenBy(r => r.Line)
                .Select(r => string.Join('\t', r.Key, r.File, r.Line, r.Change, r.Outcome, r.By.Replace('\t', ' ').Replace('\n', ' '))));
        }
    }

    public static string Table(IReadOnlyCollection<Result> results)
    {
        var text = new StringBuilder();
        foreach (var group in results.GroupBy(r => r.File))
        {
            foreach (var r in group)
                text.AppendLine($"{r.File}{(r.Line > 0 ? $":{r.Line}" : "")}\t{r.Change}\t{Words(r)}");
        }
        text.AppendLine();
        foreach (var group in results.GroupBy(r => r.File.StartsWith("eng/", StringComparison.Ordinal) ? "eng/mutants.d" : r.File))
            text.AppendLine($"{group.Key}: {Share([.. group])}");
        text.Append($"in all: {Share(results)}");
        return text.ToString();
    }

    private static string Words(Result r) => r.Outcome switch
    {
        Outcome.Killed => $"killed by {r.By}",
        Outcome.Hung => $"killed: {r.By}",
        Outcome.NotReached => "SURVIVED: no test reaches it",
        Outcome.Survived => "SURVIVED",
        _ => $"BROKEN: {r.By}",
    };

    private static string Share(IReadOnlyCollection<Result> results)
    {
        int killed = results.Count(r => r.Outcome is Outcome.Killed or Outcome.Hung);
        int counted = results.Count(r => r.Outcome != Outcome.Broken);
        return $"{killed} of {counted} killed ({(counted == 0 ? 100 : 100.0 * killed / counted):0.0} %)";
    }
}
