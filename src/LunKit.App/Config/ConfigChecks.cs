using LunKit.App.Serve;
using LunKit.Iscsi;

namespace LunKit.App.Config;

/// <summary>What does not fit together in a configuration whose parts are right. The time of each check grows as the file does.</summary>
internal static class ConfigChecks
{
    /// <summary>Two units with one image or device corrupt it; two with one serial are one disk to initiators; a unit in no target is seen by nobody.</summary>
    public static void Units(IReadOnlyDictionary<string, UnitConfig> units, IReadOnlyDictionary<string, ConfigPlace> places, IEnumerable<TargetConfig> targets, ConfigErrors errors)
    {
        Dictionary<string, string> seen = new(StringComparer.Ordinal);
        var used = targets.SelectMany(t => t.Luns.Values).ToHashSet(StringComparer.Ordinal);
        foreach (var (name, unit) in units)
        {
            if (errors.IsFull) return;
            var spec = unit.Spec;
            string? serial = spec.Options.FirstOrDefault(o => o.Name == "serial").Value;
            if (serial is not null && !seen.TryAdd($"serial {serial}", name))
                errors.Add(places[name], $"unit {name} has the serial of unit {seen[$"serial {serial}"]} ({serial}): initiators would take them for one disk");
            string what = $"{spec.Kind}:{(spec.Kind is "file" or "block" ? Path.GetFullPath(spec.Argument) : spec.Argument)}";
            if (spec.Kind is not ("memory" or "null") && !seen.TryAdd(what, name))
                errors.Add(places[name], $"unit {name} serves what unit {seen[what]} serves ({what}): map that unit twice instead");
            if (!used.Contains(name)) errors.Warn(places[name], $"unit {name} is a LUN of no target: it is opened, and nobody sees it");
        }
    }

    /// <summary>A target that other machines reach asks who they are, unless the operator wants it open.</summary>
    public static void Access(LunKitConfig config, ConfigSection root, ConfigErrors errors)
    {
        if (!config.IsExposed || config.AllowAnyone) return;
        // They are in the order of the file.
        foreach (var ((key, _), target) in root.EntriesOf("targets").Zip(config.Targets))
        {
            if (target.Definition is { Chap.Count: 0, Acls.Count: 0, RedirectTo: null })
                errors.Add(key.Place, "a portal beyond loopback lets anyone read and write this target: give it chap or acls, or say allow-anyone: true");
        }
    }

    /// <summary>Limits that contradict each other.</summary>
    public static void Limits(IscsiLimits limits, ConfigSection section, ConfigErrors errors)
    {
        if (limits.FirstBurstLength > limits.MaxBurstLength)
            Add("first-burst-length", $"first-burst-length ({limits.FirstBurstLength}) is more than max-burst-length ({limits.MaxBurstLength}), which RFC 7143 13.14 forbids");
        if (limits.MaxOutstandingBytesPerConnection > limits.MaxOutstandingBytes)
            Add("max-outstanding-bytes-per-connection", "one connection may hold more than all together (max-outstanding-bytes)");

        void Add(string key, string text) => errors.Add(section.Node(key)?.Place ?? section.Place, text);
    }
}
