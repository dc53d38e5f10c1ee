using LunKit.App.Backstores;

namespace LunKit.App.Serve;

/// <summary>
/// The words of a unit on the command line: <c>KIND:ARGUMENT[,option[=value]...]</c>; without a kind it is a file's path. What they mean is the
/// kind's affair; every error names the text.
/// </summary>
internal sealed class SpecText
{
    private const int MostPhysical = 1 << 20;

    private readonly SpecOptions _options;

    private SpecText(string text, string kind, string argument) => (Text, Kind, Argument, _options) = (text, kind, argument, new(Wrong));

    /// <summary>The words as they stand on the command line, or would.</summary>
    public string Text { get; }
    public string Kind { get; }
    public string Argument { get; }

    /// <summary>The kind that a text begins with.</summary>
    public static string KindOf(string text)
    {
        string first = text.Split(',', 2)[0];
        int colon = first.IndexOf(':', StringComparison.Ordinal);
        return colon < 0 ? "file" : first[..colon];
    }

    /// <summary>Words from elsewhere, which need not be told apart by commas; options that are not among <paramref name="known"/> are refused.</summary>
    public static SpecText Of(string kind, string argument, IEnumerable<(string Name, string Value)> options, IReadOnlyList<BackstoreOption> known)
    {
        var given = options.ToList();
        var spec = new SpecText($"{kind}:{argument}{string.Concat(given.Select(o => $",{o.Name}={o.Value}"))}", kind, argument);
        foreach (var (name, value) in given) spec._options.Add(name, value, known);
        return spec;
    }

    /// <summary>Splits a text; options that are not among <paramref name="known"/> are refused.</summary>
    public static SpecText Parse(string text, string argumentIs, IReadOnlyList<BackstoreOption> known)
    {
        string[] parts = text.Split(',');
        int colon = parts[0].IndexOf(':', StringComparison.Ordinal);
        var spec = new SpecText(text, KindOf(text), colon < 0 ? parts[0] : parts[0][(colon + 1)..]);
        if (spec.Argument.Length == 0) throw spec.Wrong($"{argumentIs} is missing after '{spec.Kind}:'");
        foreach (string part in parts.Skip(1)) spec._options.Add(part, known);
        return spec;
    }

    public UserException Wrong(string what) => new($"backstore '{Text}': {what}", 2);

    /// <summary>The options that were given, in order.</summary>
    public IReadOnlyList<(string Name, string Value)> Given => _options.Given;

    public string? Option(string name) => _options.Value(name);

    /// <summary>The values of an option that may stand several times, in order.</summary>
    public IEnumerable<string> Options(string name) => _options.Values(name);

    public bool Flag(string name, bool otherwise = false) => _options.Flag(name, otherwise);

    public long Size(string size) => _options.Size(size);

    public long? SizeOption(string name) => _options.SizeOption(name);

    /// <summary>A whole number of seconds.</summary>
    public TimeSpan Seconds(string name, int otherwise) => Option(name) is not { } text ? TimeSpan.FromSeconds(otherwise)
        : int.TryParse(text, out int seconds) && seconds is > 0 and <= 3600 ? TimeSpan.FromSeconds(seconds) : throw Wrong($"{name}={text} is not 1 to 3600 seconds");

    /// <summary>The physical block size: a power of two, not less than the logical one.</summary>
    public int Physical
    {
        get
        {
            if (SizeOption("physical") is not { } physical) return Math.Max(Block, 4096);
            if (physical > MostPhysical || !long.IsPow2(physical)) throw Wrong($"physical={Option("physical")} is not a power of two up to 1M");
            return physical >= Block ? (int)physical : throw Wrong($"physical={Option("physical")} is less than the logical block of {Block} bytes");
        }
    }

    /// <summary>The logical block size.</summary>
    public int Block => (SizeOption("block") ?? 512) is (512 or 4096) and var block ? (int)block : throw Wrong($"block={Option("block")} is not 512 or 4096");
}
