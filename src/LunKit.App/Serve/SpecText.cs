using LunKit.App.Backstores;
using LunKit.App.CommandLine;

namespace LunKit.App.Serve;

/// <summary>
/// The words of a unit on the command line: <c>KIND:ARGUMENT[,option[=value]...]</c>; without a kind it is a file's path. What they mean is the
/// kind's affair; every error names the text.
/// </summary>
internal sealed class SpecText
{
    private const int MostPhysical = 1 << 20;

    private readonly Dictionary<string, string> _options = new(StringComparer.Ordinal);

    private SpecText(string text, string kind, string argument) => (Text, Kind, Argument) = (text, kind, argument);

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

    /// <summary>Splits a text; options that are not among <paramref name="known"/> are refused.</summary>
    public static SpecText Parse(string text, string argumentIs, IReadOnlyList<BackstoreOption> known)
    {
        string[] parts = text.Split(',');
        int colon = parts[0].IndexOf(':', StringComparison.Ordinal);
        var spec = new SpecText(text, KindOf(text), colon < 0 ? parts[0] : parts[0][(colon + 1)..]);
        if (spec.Argument.Length == 0) throw spec.Wrong($"{argumentIs} is missing after '{spec.Kind}:'");
        foreach (string part in parts.Skip(1))
        {
            int equals = part.IndexOf('=', StringComparison.Ordinal);
            string key = equals < 0 ? part : part[..equals];
            var option = known.FirstOrDefault(o => o.Name == key)
                ?? throw spec.Wrong($"option '{key}' is not known{Nearest.Hint(key, known.Select(o => o.Name))}; there are {string.Join(", ", known.Select(o => o.Name))}");
            if (equals < 0 && !option.IsSwitch) throw spec.Wrong($"option '{key}' needs a value: {option.Syntax}");
            if (equals == part.Length - 1) throw spec.Wrong($"nothing stands after '{key}='; it takes {(option.IsSwitch ? "on or off" : option.Value)}");
            if (!spec._options.TryAdd(key, equals < 0 ? "on" : part[(equals + 1)..])) throw spec.Wrong($"option '{key}' stands twice");
        }
        return spec;
    }

    public UserException Wrong(string what) => new($"backstore '{Text}': {what}", 2);

    public string? Option(string name) => _options.GetValueOrDefault(name);

    public bool Flag(string name, bool otherwise = false) => Option(name) switch
    {
        null => otherwise,
        "on" or "yes" or "true" or "1" => true,
        "off" or "no" or "false" or "0" => false,
        var value => throw Wrong($"{name}={value} is not on or off"),
    };

    public long Size(string size) => ByteSize.TryParse(size, out long bytes) ? bytes : throw Wrong($"'{size}' is not a size; write 512M, 10G or 1T");

    public long? SizeOption(string name) => Option(name) is { } size ? Size(size) : null;

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
