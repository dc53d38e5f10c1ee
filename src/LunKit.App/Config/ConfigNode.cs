namespace LunKit.App.Config;

/// <summary>A place in a configuration file; lines and columns count from 1.</summary>
internal readonly record struct ConfigPlace(int Line, int Column);

/// <summary>A part of a configuration file, and where it begins.</summary>
internal abstract record ConfigNode(ConfigPlace Place);

/// <summary>A value.</summary>
/// <param name="Place">Where it stands.</param>
/// <param name="Text">Its characters, without quotation marks.</param>
/// <param name="IsQuoted">Whether it had some: then it is a text, whatever it looks like.</param>
internal sealed record ConfigScalar(ConfigPlace Place, string Text, bool IsQuoted) : ConfigNode(Place)
{
    /// <summary>Whether nothing stands there, or <c>null</c> or <c>~</c>.</summary>
    public bool IsEmpty => Text.Length == 0 || !IsQuoted && Text is "~" or "null";
}

/// <summary>Values in order.</summary>
internal sealed record ConfigList(ConfigPlace Place, IReadOnlyList<ConfigNode> Items) : ConfigNode(Place);

/// <summary>Values by key, in the order of the file; keys differ.</summary>
internal sealed record ConfigMap(ConfigPlace Place, IReadOnlyList<(ConfigScalar Key, ConfigNode Value)> Entries) : ConfigNode(Place)
{
    /// <summary>The value of a key; null when it is not there.</summary>
    public ConfigNode? Find(string key)
    {
        foreach (var (name, value) in Entries)
            if (name.Text == key) return value;
        return null;
    }
}
