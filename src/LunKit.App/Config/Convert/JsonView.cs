using System.Globalization;
using System.Text.Json;

namespace LunKit.App.Config.Convert;

/// <summary>Another program's JSON, read with patience: what is missing, or of another type, is not there.</summary>
internal readonly struct JsonView(JsonElement? element)
{
    /// <summary>Whether there is a map.</summary>
    public bool IsMap => element is { ValueKind: JsonValueKind.Object };

    /// <summary>Whether there is anything.</summary>
    public bool IsThere => element is { ValueKind: not JsonValueKind.Null and not JsonValueKind.Undefined };

    /// <summary>What stands behind a key.</summary>
    public JsonView this[string key] => new(element is { ValueKind: JsonValueKind.Object } map && map.TryGetProperty(key, out var value) ? value : null);

    /// <summary>The items of a list.</summary>
    public IEnumerable<JsonView> Items => element is { ValueKind: JsonValueKind.Array } list ? list.EnumerateArray().Select(i => new JsonView(i)) : [];

    /// <summary>The keys and values of a map.</summary>
    public IEnumerable<(string Key, JsonView Value)> Entries => element is { ValueKind: JsonValueKind.Object } map ? map.EnumerateObject().Select(p => (p.Name, new JsonView(p.Value))) : [];

    /// <summary>A text; null when there is none, or an empty one.</summary>
    public string? Text => element switch
    {
        { ValueKind: JsonValueKind.String } text => text.GetString() is { Length: > 0 } value ? value : null,
        { ValueKind: JsonValueKind.Number } number => number.GetRawText(),
        _ => null,
    };

    /// <summary>A whole number; null when there is none.</summary>
    public long? Number => Text is { } text && long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out long number) ? number : null;

    /// <summary>Yes: true, 1 or a text that says so.</summary>
    public bool Flag => element is { ValueKind: JsonValueKind.True } || Number is not null and not 0 || Text is "true" or "True" or "yes";
}
