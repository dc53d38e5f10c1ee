namespace LunKit.App.Serve;

/// <summary>
/// The words of a unit on the command line: <c>KIND:ARGUMENT[,option[=value]...]</c>; without a kind it is a file's path. What they mean is the
/// kind's affair; every error names the text.
/// </summary>
internal sealed class SpecText
{
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
    public static SpecText Parse(string text, string argumentIs, IReadOnlyCollection<string> known)
    {
        string[] parts = text.Split(',');
        int colon = parts[0].IndexOf(':', StringComparison.Ordinal);
        var spec = new SpecText(text, KindOf(text), colon < 0 ? parts[0] : parts[0][(colon + 1)..]);
        if (spec.Argument.Length == 0) throw spec.Wrong($"{argumentIs} is missing after '{spec.Kind}:'");
        foreach (string part in parts.Skip(1))
        {
            int equals = part.IndexOf('=', StringComparison.Ordinal);
            string key = equals < 0 ? part : part[..equals];
            if (!known.Contains(key)) throw spec.Wrong($"option '{key}' is not known; there are {string.Join(", ", known)}");
            if (!spec._options.TryAdd(key, equals < 0 ? "yes" : part[(equals + 1)..])) throw spec.Wrong($"option '{key}' stands twice");
        }
        return spec;
    }

    public UserException Wrong(string what) => new($"backstore '{Text}': {what}", 2);

    public string? Option(string name) => _options.GetValueOrDefault(name);

    public bool Flag(string name, bool otherwise = false) => Option(name) switch
    {
        null => otherwise,
        "yes" or "on" or "true" or "1" => true,
        "no" or "off" or "false" or "0" => false,
        var value => throw Wrong($"{name}={value} is not on or off"),
    };

    public long Size(string size) => ByteSize.TryParse(size, out long bytes) ? bytes : throw Wrong($"'{size}' is not a size; write 512M, 10G or 1T");

    public long? SizeOption(string name) => Option(name) is { } size ? Size(size) : null;

    /// <summary>A whole number of seconds.</summary>
    public TimeSpan Seconds(string name, int otherwise) => Option(name) is not { } text ? TimeSpan.FromSeconds(otherwise)
        : int.TryParse(text, out int seconds) && seconds is > 0 and <= 3600 ? TimeSpan.FromSeconds(seconds) : throw Wrong($"{name}={text} is not 1 to 3600 seconds");

    /// <summary>The physical block size.</summary>
    public int Physical => Math.Max(Block, (int)(SizeOption("physical") ?? 4096));

    /// <summary>The logical block size.</summary>
    public int Block
    {
        get
        {
            long block = SizeOption("block") ?? 512;
            return block is >= 512 and <= 65536 && long.IsPow2(block) ? (int)block : throw Wrong($"block={Option("block")} is not 512 or 4096");
        }
    }
}
