using LunKit.Mutants;

Options options;
try
{
    options = Options.Parse(args);
}
catch (FormatException e)
{
    Console.Error.WriteLine($"mutants: {e.Message}");
    return 2;
}

var lines = File.ReadLines(Path.Combine(options.Root, "eng/mutants.targets")).Select(l => l.Trim());
var targets = lines.Where(l => l.Length > 0 && l[0] != '#').ToList();
// A file may be named with *, for others may split it.
var files = targets.SelectMany(t => Directory.EnumerateFiles(Path.Combine(options.Root, Path.GetDirectoryName(t)!), Path.GetFileName(t)))
    .Select(f => Path.GetRelativePath(options.Root, f)).Distinct().ToList();
var missing = targets.Where(t => !files.Exists(f => System.IO.Enumeration.FileSystemName.MatchesSimpleExpression(t, f))).ToList();
if (missing.Count > 0)
{
    Console.Error.WriteLine($"mutants: eng/mutants.targets names what is not there: {string.Join(", ", missing)}");
    return 1;
}

var schemata = new Schemata(options.Root, files);
var table = new ResultTable(options.Root);
schemata.Find();
if (options.Report)
{
    var all = table.Load().Values.Where(r => options.Wants(r.File)).ToList();
    Console.WriteLine(ResultTable.Table(all));
    return 0;
}
if (options.List)
{
    foreach (var mutant in Chosen()) Console.WriteLine($"#{mutant.Number}\t{mutant.File}:{mutant.Line}\t{mutant.Change}");
    foreach (string patch in Patches.All(options.Root)) Console.WriteLine($"patch\t{Path.GetFileName(patch)}\t{Patches.Title(patch)}");
    return 0;
}

List<Result> results = [];
HashSet<string>? there = null;
try
{
    if (options.Schemata)
    {
        await schemata.BuildAsync(Console.WriteLine);
        var chosen = Chosen();
        if (chosen.Count > 0)
        {
            var runner = new Runner(schemata, options.Jobs, Console.WriteLine, Save);
            await runner.MeasureAsync();
            results.AddRange(await runner.RunAsync(chosen));
        }
    }
    if (options.Patches && options.Numbers.Count == 0)
    {
        var earlier = table.Load();
        var patches = Patches.All(options.Root).Where(p => options.Wants("eng/mutants.d/" + Path.GetFileName(p)))
            .Where(p => !options.Survivors || !earlier.TryGetValue(Path.GetFileName(p), out var r) || !IsKilled(r)).ToList();
        results.AddRange(await new Patches(options.Root, Console.WriteLine, Save).RunAsync(patches));
    }
}
catch (InvalidOperationException e)
{
    Console.Error.WriteLine($"mutants: {e.Message}");
    return 1;
}
Console.WriteLine();
Console.WriteLine(ResultTable.Table(results));
return results.Exists(r => r.Outcome == Outcome.Broken) ? 1 : 0;

IReadOnlyList<Mutant> Chosen()
{
    if (options.Numbers.Count > 0) return [.. schemata.Mutants.Where(m => options.Numbers.Contains(m.Number))];
    var earlier = table.Load();
    return [.. schemata.Sample(options.PerFile, options.Seed).Where(m => options.Wants(m.File))
        .Where(m => !options.Survivors || earlier.TryGetValue(m.Key, out var r) && !IsKilled(r))];
}

void Save(Result result)
{
    there ??= schemata.Mutants.Select(m => m.Key).Concat(Patches.All(options.Root).Select(p => Path.GetFileName(p))).ToHashSet();
    table.Save(result, r => there.Contains(r.Key));
}

static bool IsKilled(Result result) => result.Outcome is Outcome.Killed or Outcome.Hung;
