using System.Text.Json.Nodes;
using LunKit.App.Backstores;
using LunKit.Targets;

namespace LunKit.App.Config;

/// <summary>A configuration as a document: all that is in force, defaults written out, no secret in it.</summary>
internal static class ConfigDocument
{
    // They differ, as the secrets of both directions must.
    private const string Hidden = "(hidden secret)", HiddenMutual = "(hidden mutual secret)";

    public static JsonObject Of(LunKitConfig config) => new()
    {
        ["portals"] = new JsonArray([.. config.Portals.Select(p => (JsonNode)Portal(p))]),
        ["units"] = Map(config.Units.OrderBy(u => u.Key, StringComparer.Ordinal), u => Unit(u.Spec)),
        ["targets"] = Map(config.Targets.Select(t => KeyValuePair.Create(t.Definition.Name, t)), Target),
        ["discovery"] = new JsonObject { ["chap"] = Credentials(config.DiscoveryChap) },
        ["limits"] = Map(LimitFields.All.Select(l => KeyValuePair.Create(l.Key, l.Get(config.Limits))), v => v),
        ["log"] = new JsonObject { ["level"] = config.LogLevel.ToString().ToLowerInvariant() },
        ["handlers"] = new JsonObject { ["socket"] = config.HandlersPath, ["memory"] = config.HandlerMemoryBytes },
        ["state-dir"] = config.StatePath,
        ["allow-anyone"] = config.AllowAnyone,
        ["cold-reset"] = config.ColdReset,
    };

    private static JsonObject Portal(Portal portal)
    {
        var map = new JsonObject { ["address"] = portal.EndPoint.ToString(), ["group"] = portal.GroupTag };
        if (portal.Advertise is { } other) map["advertise"] = other;
        return map;
    }

    private static JsonObject Map<T>(IEnumerable<KeyValuePair<string, T>> entries, Func<T, JsonNode?> value)
    {
        var map = new JsonObject();
        foreach (var (key, entry) in entries) map[key] = value(entry);
        return map;
    }

    private static JsonObject Unit(UnitSpec spec)
    {
        var kind = UnitKinds.Find(spec.Kind)!;
        var unit = new JsonObject { [UnitShape.KindKey] = spec.Kind, [kind.Key] = spec.Argument };
        foreach (var (name, value) in spec.Options.Where(o => o.Name != "filter"))
        {
            var option = kind.Options.First(o => o.Name == name);
            unit[name] = option.IsSwitch ? FlagShape.Parse(value) ?? false
                : UnitShape.TakesSeveral(option) ? new JsonArray([.. value.Split('+').Select(v => (JsonNode)v)]) : value;
        }
        var filters = spec.Options.Where(o => o.Name == "filter").Select(o => (JsonNode)o.Value).ToArray();
        if (filters.Length > 0) unit[UnitShape.FiltersKey] = new JsonArray(filters);
        return unit;
    }

    private static JsonObject Target(TargetConfig target)
    {
        var definition = target.Definition;
        var map = new JsonObject
        {
            ["alias"] = definition.Alias,
            ["luns"] = Map(target.Luns.OrderBy(l => l.Key).Select(l => KeyValuePair.Create($"{l.Key}", l.Value)), v => v),
            ["chap"] = Credentials(definition.Chap),
        };
        if (definition.MutualChap is { } mutual) map["mutual-chap"] = Credential(mutual, HiddenMutual);
        if (definition.Acls.Count > 0) map["acls"] = Map(definition.Acls.Select(a => KeyValuePair.Create(a.InitiatorName, a)), Acl);
        map["explicit-alua"] = definition.ExplicitAlua;
        if (definition.RedirectTo is not { } other) return map;
        (map["redirect"], map["redirect-permanently"]) = (other, definition.RedirectPermanently);
        return map;
    }

    private static JsonObject Acl(NodeAcl acl)
    {
        var map = new JsonObject();
        if (acl.Chap is { } chap) map["chap"] = Credential(chap, Hidden);
        if (acl.MappedLuns is { } mapped) map["luns"] = Map(mapped.OrderBy(m => m.Value).Select(m => KeyValuePair.Create($"{m.Value}", m.Key)), v => v);
        return map;
    }

    private static JsonArray Credentials(IEnumerable<ChapCredential> chap) => [.. chap.Select(c => (JsonNode)Credential(c, Hidden))];

    private static JsonObject Credential(ChapCredential chap, string secret) => new() { ["user"] = chap.Name, ["secret"] = secret };
}
