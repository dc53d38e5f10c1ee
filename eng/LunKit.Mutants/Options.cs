namespace LunKit.Mutants;

/// <summary>What eng/mutants was asked for.</summary>
internal sealed class Options
{
    public string Root { get; private set; } = "";
    public bool List { get; private set; }
    public bool Patches { get; private set; } = true;
    public bool Schemata { get; private set; } = true;
    public bool Survivors { get; private set; }
    public bool Report { get; private set; }
    public List<string> Only { get; } = [];
    public HashSet<int> Numbers { get; } = [];
    public int PerFile { get; private set; } = 8;
    public string Seed { get; private set; } = "11";
    public int Jobs { get; private set; } = 2;

    /// <exception cref="FormatException">The arguments are wrong.</exception>
    public static Options Parse(string[] args)
    {
        var options = new Options { Root = args[0] };
        var rest = new Queue<string>(args.Skip(1));
        while (rest.TryDequeue(out var name))
        {
            switch (name)
            {
                case "--list": options.List = true; break;
                case "--survivors": options.Survivors = true; break;
                case "--report": options.Report = true; break;
                case "--patches": options.Schemata = false; break;
                case "--no-patches": options.Patches = false; break;
                case "--only": options.Only.Add(Value()); break;
                case "--mutant": options.Numbers.Add(int.Parse(Value())); break;
                case "--per-file": options.PerFile = int.Parse(Value()); break;
                case "--seed": options.Seed = Value(); break;
                case "--jobs": options.Jobs = Math.Max(1, int.Parse(Value())); break;
                default: throw new FormatException($"unknown argument {name}");
            }
            string Value() => rest.TryDequeue(out var value) ? value : throw new FormatException($"{name} needs a value");
        }
        return options;
    }

    /// <summary>Whether a file, or a patch's name, is among those of --only.</summary>
    public bool Wants(string name) => Only.Count == 0 || Only.Exists(o => name.Contains(o, StringComparison.OrdinalIgnoreCase));
}
