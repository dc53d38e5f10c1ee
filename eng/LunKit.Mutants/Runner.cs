using System.Collections.Concurrent;
using System.Diagnostics;

namespace LunKit.Mutants;

/// <summary>Runs the tests against mutants: the classes that reach one, quick ones first.</summary>
internal sealed class Runner(Schemata schemata, int jobs, Action<string> say, Action<Result> save)
{
    private static readonly TimeSpan s_quick = TimeSpan.FromSeconds(4), s_measure = TimeSpan.FromMinutes(5);

    private readonly Dictionary<string, (TimeSpan Time, HashSet<int> Reached)> _classes = [];
    private readonly List<string> _excluded = [];

    /// <summary>
    /// Runs every class without a mutant: what it reaches, how long it takes, and which tests fail even so and are left out.
    /// </summary>
    public async Task MeasureAsync()
    {
        var failing = new ConcurrentBag<string>();
        var measured = new ConcurrentBag<(string, TimeSpan, HashSet<int>)>();
        var parallel = new ParallelOptions { MaxDegreeOfParallelism = jobs };
        await Parallel.ForEachAsync(await schemata.Tree.ClassesAsync(), parallel, async (name, _) =>
        {
            string hits = Path.Combine(schemata.Tree.Folder, $"hits-{name}.txt");
            List<string> without = [];
            while (true)
            {
                File.Delete(hits);
                var watch = Stopwatch.StartNew();
                var (outcome, by) = await schemata.Tree.TestAsync(
                    [name], s_measure, without, KeyValuePair.Create("LUNKIT_MUTANT_HITS", (string?)hits));
                if (outcome == Outcome.Killed && by.Contains('.') && without.Count < 8)
                {
                    without.Add("LunKit.Tests." + by);
                    failing.Add("LunKit.Tests." + by);
                    continue;
                }
                if (outcome == Outcome.Survived && File.Exists(hits))
                    measured.Add((name, watch.Elapsed, File.ReadAllLines(hits).Select(int.Parse).ToHashSet()));
                else if (outcome != Outcome.Survived)
                    say($"left out, for it does not pass without a mutant: {name} ({by})");
                File.Delete(hits);
                return;
            }
        });
        foreach (var (name, time, reached) in measured) _classes[name] = (time, reached);
        _excluded.AddRange(failing);
        foreach (string test in _excluded) say($"left out, for it fails without a mutant: {test}");
        say($"{_classes.Count} test classes, {_classes.Values.Sum(c => c.Time.TotalSeconds):0} s in all");
    }

    public async Task<IReadOnlyList<Result>> RunAsync(IReadOnlyList<Mutant> mutants)
    {
        var results = new ConcurrentBag<(int Number, Result Result)>();
        int done = 0;
        await Parallel.ForEachAsync(mutants, new ParallelOptions { MaxDegreeOfParallelism = jobs }, async (mutant, _) =>
        {
            var result = await RunAsync(mutant);
            results.Add((mutant.Number, result));
            save(result);
            string count = $"{Interlocked.Increment(ref done)}/{mutants.Count}";
            say($"{count}  #{mutant.Number} {result.File}:{result.Line}  {result.Change}  [{result.Outcome}] {result.By}");
        });
        return [.. results.OrderBy(r => r.Number).Select(r => r.Result)];
    }

    private async Task<Result> RunAsync(Mutant mutant)
    {
        var reaching = _classes.Where(c => c.Value.Reached.Contains(mutant.Number)).OrderBy(c => c.Value.Time).ToList();
        if (reaching.Count == 0) return Of(mutant, Outcome.NotReached, "");
        var quick = reaching.TakeWhile(c => c.Value.Time < s_quick).ToList();
        foreach (var stage in new[] { quick, reaching.Skip(quick.Count).ToList() })
        {
            if (stage.Count == 0) continue;
            // One after the other they took this long; they run beside each other now, and beside other mutants.
            var limit = TimeSpan.FromSeconds(20) + 1.5 * TimeSpan.FromTicks(stage.Sum(c => c.Value.Time.Ticks));
            var (outcome, by) = await schemata.Tree.TestAsync(
                stage.Select(c => c.Key), limit, _excluded, KeyValuePair.Create("LUNKIT_MUTANT", (string?)mutant.Number.ToString()));
            if (outcome != Outcome.Survived) return Of(mutant, outcome, by);
        }
        return Of(mutant, Outcome.Survived, "");
    }

    private static Result Of(Mutant mutant, Outcome outcome, string by) =>
        new(mutant.Key, mutant.File, mutant.Line, mutant.Change, outcome, by);
}
