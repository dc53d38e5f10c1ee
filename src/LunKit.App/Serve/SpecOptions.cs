using LunKit.App.Backstores;
using LunKit.App.CommandLine;

namespace LunKit.App.Serve;

/// <summary>The words <c>option[=value]</c> of a backstore or a filter on the command line, checked against those that it has.</summary>
/// <param name="wrong">Makes the error that names the whole text.</param>
internal sealed class SpecOptions(Func<string, UserException> wrong)
{
    private readonly List<(string Name, string Value)> _given = [];

    /// <summary>Reads a word; refuses an option that is not among <paramref name="known"/>, has no value, or stands twice though it may not.</summary>
    public void Add(string word, IReadOnlyList<BackstoreOption> known)
    {
        int equals = word.IndexOf('=', StringComparison.Ordinal);
        Add(equals < 0 ? word : word[..equals], equals < 0 ? null : word[(equals + 1)..], known);
    }

    /// <summary>The same with the value apart; null where there is none.</summary>
    public void Add(string key, string? value, IReadOnlyList<BackstoreOption> known)
    {
        var option = known.FirstOrDefault(o => o.Name == key)
            ?? throw wrong($"option '{key}' is not known{Nearest.Hint(key, known.Select(o => o.Name))}; there are {string.Join(", ", known.Select(o => o.Name))}");
        if (value is null && !option.IsSwitch) throw wrong($"option '{key}' needs a value: {option.Syntax}");
        if (value is "") throw wrong($"nothing stands after '{key}='; it takes {(option.IsSwitch ? "on or off" : option.Value)}");
        if (!option.MayRepeat && Has(key)) throw wrong($"option '{key}' stands twice");
        _given.Add((key, value ?? "on"));
    }

    /// <summary>What stands, in order.</summary>
    public IReadOnlyList<(string Name, string Value)> Given => _given;

    /// <summary>Whether an option stands at all.</summary>
    public bool Has(string name) => _given.Exists(o => o.Name == name);

    /// <summary>The value of an option that stands once at most; null when it does not.</summary>
    public string? Value(string name) => _given.Find(o => o.Name == name).Value;

    /// <summary>The values of an option that may stand several times, in order.</summary>
    public IEnumerable<string> Values(string name) => _given.Where(o => o.Name == name).Select(o => o.Value);

    public bool Flag(string name, bool otherwise = false) => Value(name) switch
    {
        null => otherwise,
        "on" or "yes" or "true" or "1" => true,
        "off" or "no" or "false" or "0" => false,
        var value => throw wrong($"{name}={value} is not on or off"),
    };

    public long Size(string size) => ByteSize.TryParse(size, out long bytes) ? bytes : throw wrong($"'{size}' is not a size; write 512M, 10G or 1T");

    public long? SizeOption(string name) => Value(name) is { } size ? Size(size) : null;
}
