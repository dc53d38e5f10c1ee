using System.Text.Json.Nodes;
using LunKit.App.Backstores;
using LunKit.App.CommandLine;

namespace LunKit.App.Config;

/// <summary>A unit: its kind, the kind's argument, and the kind's options, which have the same names on the command line.</summary>
internal sealed record UnitShape : Shape
{
    /// <summary>The key of the kind.</summary>
    public const string KindKey = "kind";

    /// <summary>The key of the filters, which are a list here.</summary>
    public const string FiltersKey = "filters";

    /// <summary>Filters of a unit: each takes its time of every command.</summary>
    public const int MostFilters = 32;

    private static readonly Dictionary<string, IReadOnlyList<ConfigField>> s_fields = UnitKinds.All.ToDictionary(k => k.Name, FieldsOf);

    public override string Says => "a unit: kind, and what that kind takes";

    /// <summary>The keys of a kind.</summary>
    public static IReadOnlyList<ConfigField> Fields(string kind) => s_fields[kind];

    private static IReadOnlyList<ConfigField> FieldsOf(UnitKind kind) =>
    [
        new(KindKey, new WordShape([.. UnitKinds.All.Select(k => k.Name)]), kind.Summary, null),
        new(kind.Key, new TextShape(kind.Argument), $"{kind.Argument}: what is served", null),
        .. kind.Options.Where(o => o.Name != "filter").Select(o => new ConfigField(o.Name, ShapeOf(o), o.Meaning, o.Name == kind.Needs ? null : "")),
        .. kind.Options.Where(o => o.Name == "filter").Select(o => new ConfigField(FiltersKey, new ListShape(new TextShape("a filter such as delay:5ms"), Most: MostFilters), "filters, the first nearest to the initiator (lunkit backstores lists them)", "none")),
    ];

    // What it means is checked where it is read, as on the command line.
    private static Shape ShapeOf(BackstoreOption option) => option.IsSwitch ? new FlagShape() : TakesSeveral(option) ? new ListShape(new TextShape(option.Value)) : new TextShape(option.Value);

    /// <summary>Whether an option's value is a list, which '+' separates on the command line.</summary>
    public static bool TakesSeveral(BackstoreOption option) => option.Value.EndsWith("+...", StringComparison.Ordinal);

    public override void Check(ConfigNode node, ConfigErrors errors)
    {
        if (node is not ConfigMap map)
        {
            errors.Add(node.Place, "a unit is a map, e.g. {kind: file, path: /srv/disk1.img, size: 100G}");
            return;
        }
        var kinds = UnitKinds.All.Select(k => k.Name);
        if (map.Find(KindKey) is not ConfigScalar kind) errors.Add(map.Place, $"'{KindKey}' is missing; there are {string.Join(", ", kinds)} (lunkit backstores tells more)");
        else if (kind is { IsQuoted: false, Text: "null" }) errors.Add(kind.Place, "kind: \"null\" needs its quotation marks: null alone is no word in YAML");
        else if (!s_fields.TryGetValue(kind.Text, out var fields)) errors.Add(kind.Place, $"kind '{kind.Text}' is not known{Nearest.Hint(kind.Text, kinds)}; there are {string.Join(", ", kinds)} (lunkit backstores tells more)");
        else MapShape.CheckFields(map, fields, errors);
    }

    public override JsonObject Schema()
    {
        var kinds = new JsonArray();
        foreach (var (name, fields) in s_fields)
        {
            var one = MapShape.SchemaOf(fields);
            one["properties"]![KindKey] = new JsonObject { ["const"] = name, ["description"] = fields[0].Meaning };
            kinds.Add((JsonNode)one);
        }
        return new() { ["type"] = "object", ["oneOf"] = kinds };
    }
}
