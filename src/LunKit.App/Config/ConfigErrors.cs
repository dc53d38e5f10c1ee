namespace LunKit.App.Config;

/// <summary>One thing that is wrong, or doubtful, in a configuration.</summary>
/// <param name="Place">Where.</param>
/// <param name="Text">What is wrong, and what to do.</param>
/// <param name="IsWarning">Whether it can be served all the same.</param>
internal readonly record struct ConfigError(ConfigPlace Place, string Text, bool IsWarning);

/// <summary>All that is wrong in a configuration: everything at once, so that nobody mends one error after the other.</summary>
internal sealed class ConfigErrors
{
    // Somebody who passes another file gets a page of them, and not a million.
    private const int Most = 100;

    // Characters of one message: it may quote what stands in the file, which may be long.
    private const int MostLength = 1000;

    private readonly List<ConfigError> _all = [];
    private int _errors, _warnings;

    /// <summary>In the order of the file.</summary>
    public IReadOnlyList<ConfigError> All => [.. _all.OrderBy(e => e.Place.Line).ThenBy(e => e.Place.Column)];

    /// <summary>Whether anything cannot be served.</summary>
    public bool Any => _errors > 0;

    /// <summary>Whether further errors are dropped: then nobody needs to look for them.</summary>
    public bool IsFull => _errors >= Most;

    /// <summary>Notes an error.</summary>
    public void Add(ConfigPlace place, string text) => Add(new ConfigError(place, text, IsWarning: false));

    /// <summary>Notes what can be served, and hardly is what was meant.</summary>
    public void Warn(ConfigPlace place, string text) => Add(new ConfigError(place, text, IsWarning: true));

    private void Add(ConfigError error)
    {
        // Apart: a hundred warnings must not hide an error.
        if ((error.IsWarning ? _warnings++ : _errors++) < Most) _all.Add(error with { Text = Plain(error.Text) });
    }

    // What is quoted from the file must not speak to the terminal, or look like a line of its own.
    private static string Plain(string text)
    {
        if (text.Length > MostLength) text = string.Concat(text.AsSpan(0, MostLength), "...");
        return text.Any(char.IsControl) ? string.Concat(text.Select(c => char.IsControl(c) ? '\uFFFD' : c)) : text;
    }

    /// <summary>An error as compilers write it, so that editors jump to it.</summary>
    public static string Line(string file, ConfigError error) => $"{file}:{error.Place.Line}:{error.Place.Column}: {(error.IsWarning ? "warning: " : "")}{error.Text}";
}

/// <summary>Something that ends the reading of a file.</summary>
internal sealed class ConfigException(ConfigPlace place, string message) : Exception(message)
{
    public ConfigPlace Place => place;
}
