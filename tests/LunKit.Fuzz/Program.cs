using System.Diagnostics;
using LunKit.Fuzz;

// dotnet run -c Release --project tests/LunKit.Fuzz -- TARGET [SECONDS [SEED]]
FuzzTarget[] targets = [.. FuzzTarget.All, new CanaryTarget()];
if (args.Length == 0 || targets.FirstOrDefault(t => t.Name == args[0]) is not { } target)
{
    Console.Error.WriteLine($"usage: LunKit.Fuzz {string.Join('|', targets.Select(t => t.Name))} [SECONDS [SEED]]");
    return 2;
}
double seconds = args.Length > 1 ? double.Parse(args[1], System.Globalization.CultureInfo.InvariantCulture) : 60;
int seed = args.Length > 2 ? int.Parse(args[2], System.Globalization.CultureInfo.InvariantCulture) : Environment.TickCount;
var corpus = FuzzTarget.CorpusOf(target).Select(File.ReadAllBytes).ToList();
var mutator = new Mutator(corpus, seed);
var clock = Stopwatch.StartNew();
long runs = 0;
while (clock.Elapsed.TotalSeconds < seconds)
{
    var input = mutator.Next();
    try
    {
        target.Run(input);
    }
    catch (Exception e)
    {
        string file = $"{target.Name}-{Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(input))[..12]}.bin";
        File.WriteAllBytes(file, input);
        Console.Error.WriteLine($"found after {runs} runs with seed {seed}, input in {file}; add it to Corpus/{target.Name} when it is mended\n{e}");
        return 1;
    }
    runs++;
}
Console.WriteLine($"{target.Name}: {runs} inputs in {clock.Elapsed.TotalSeconds:0} s with seed {seed} from a corpus of {corpus.Count}, nothing found");
return 0;
