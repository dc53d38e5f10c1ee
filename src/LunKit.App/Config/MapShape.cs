using System.Text.Json.Nodes;
using LunKit.App.CommandLine;

namespace LunKit.App.Config;

/// <summary>A key of the configuration.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Value">What stands behind it.</param>
/// <param name="Meaning">What it does: a sentence for editors and for the documents.</param>
/// <param name="Otherwise">Its value where it does not stand, in words; null: it must stand.</param>
internal sealed record ConfigField(string Name, Shape Value, string Meaning, string? Otherwise);

/// <summary>A map with known keys.</summary>
internal record MapShape(IReadOnlyList<ConfigField> Fields) : Shape
{
    public override string Says => "a map";

    /// <summary>Whether keys that nobody knows are not quoted in errors: they may be a part of a secret that needs quotation marks.</summary>
    public bool HasSecrets { get; init; }

    public override void Check(ConfigNode node, ConfigErrors errors)
    {
        // All of its keys are commented out.
        if (node is ConfigScalar { IsEmpty: true } && Fields.All(f => f.Otherwise is not null)) return;
        if (node is not ConfigMap map) errors.Add(node.Place, $"a map is expected here, with the keys {string.Join(", ", Fields.Select(f => f.Name))}");
        else CheckFields(map, Fields, errors, HasSecrets);
    }

    /// <summary>Notes keys that nobody knows, that are missing, and what is wrong behind the others.</summary>
    public static void CheckFields(ConfigMap map, IReadOnlyList<ConfigField> fields, ConfigErrors errors, bool hasSecrets = false)
    {
        foreach (var (key, value) in map.Entries)
        {
            if (errors.IsFull) return;
            if (fields.FirstOrDefault(f => f.Name == key.Text) is { } field) field.Value.Check(value, errors);
            else if (hasSecrets) errors.Add(key.Place, $"this key is not known here; there are {string.Join(", ", fields.Select(f => f.Name))}; a secret with a comma or a colon needs quotation marks");
            else errors.Add(key.Place, $"'{key.Text}' is not known here{Nearest.Hint(key.Text, fields.Select(f => f.Name))}; there are {string.Join(", ", fields.Select(f => f.Name))}");
        }
        foreach (var field in fields.Where(f => f.Otherwise is null && map.Find(f.Name) is null)) errors.Add(map.Place, $"'{field.Name}' is missing: {field.Meaning}");
    }

    public override JsonObject Schema() => SchemaOf(Fields);

    /// <summary>The schema of a map with these keys.</summary>
    public static JsonObject SchemaOf(IReadOnlyList<ConfigField> fields)
    {
        var properties = new JsonObject();
        foreach (var field in fields)
        {
            var schema = field.Value.Schema();
            schema["description"] = field.Otherwise is { Length: > 0 } otherwise ? $"{field.Meaning} (default: {otherwise})" : field.Meaning;
            properties[field.Name] = schema;
        }
        var needed = fields.Where(f => f.Otherwise is null).Select(f => f.Name).ToList();
        var all = new JsonObject { ["type"] = needed.Count > 0 ? "object" : ArrayOf(["object", "null"]), ["properties"] = properties, ["additionalProperties"] = false };
        if (needed.Count > 0) all["required"] = ArrayOf(needed);
        return all;
    }
}
