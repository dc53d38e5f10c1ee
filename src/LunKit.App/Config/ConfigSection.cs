using LunKit.App.Serve;

namespace LunKit.App.Config;

/// <summary>
/// A map of the configuration whose shape has been checked: reads its values, and takes the default for what is not there or is wrong, which has been said already.
/// </summary>
internal readonly struct ConfigSection(ConfigNode? node)
{
    private readonly ConfigMap? _map = node as ConfigMap;

    /// <summary>Where it begins; the begin of the file when it is not there.</summary>
    public ConfigPlace Place => _map?.Place ?? new(1, 1);

    /// <summary>A value; null when it is not there.</summary>
    public ConfigNode? Node(string key) => _map?.Find(key);

    /// <summary>A map in it.</summary>
    public ConfigSection Section(string key) => new(Node(key));

    /// <summary>The keys and values.</summary>
    public IReadOnlyList<(ConfigScalar Key, ConfigNode Value)> Entries => _map?.Entries ?? [];

    /// <summary>The keys and values of a map in it.</summary>
    public IReadOnlyList<(ConfigScalar Key, ConfigNode Value)> EntriesOf(string key) => Section(key).Entries;

    /// <summary>The items of a list in it.</summary>
    public IReadOnlyList<ConfigNode> Items(string key) => (Node(key) as ConfigList)?.Items ?? [];

    /// <summary>A text; null when it is not there.</summary>
    public string? Text(string key) => Node(key) is ConfigScalar { IsEmpty: false } scalar ? scalar.Text : null;

    /// <summary>A number; null when it is not there.</summary>
    public long? Number(string key) => Text(key) is { } text ? NumberShape.Parse(text) : null;

    /// <summary>A number of bytes; null when it is not there.</summary>
    public long? Size(string key) => Text(key) is { } text && ByteSize.TryParse(text, out long bytes) ? bytes : null;

    /// <summary>Yes or no; no when it is not there.</summary>
    public bool Flag(string key) => Text(key) is { } text && FlagShape.Parse(text) == true;
}
