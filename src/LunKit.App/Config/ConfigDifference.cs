using LunKit.App.Backstores;
using LunKit.Targets;

namespace LunKit.App.Config;

/// <summary>When a difference between two configurations takes effect.</summary>
internal enum Effect
{
    /// <summary>At once; sessions go on.</summary>
    Live,
    /// <summary>When LunKit is started the next time.</summary>
    Restart,
    /// <summary>Never: a reload that asks for it is refused as a whole.</summary>
    Refused,
}

/// <summary>One thing that differs.</summary>
/// <param name="Effect">When it takes effect.</param>
/// <param name="What">What differs, in words; secrets are never among them.</param>
internal readonly record struct Change(Effect Effect, string What);

/// <summary>What makes one configuration another: what <c>lunkit config diff</c> shows, and what a reload does.</summary>
internal sealed class ConfigDifference
{
    private readonly LunKitConfig _from, _to;
    private readonly List<Change> _changes = [];

    public ConfigDifference(LunKitConfig from, LunKitConfig to)
    {
        (_from, _to) = (from, to);
        foreach (string name in AddedUnits) Note(Effect.Live, $"unit {name}: added ({to.Units[name].Spec.Text})");
        foreach (string name in RemovedUnits) Note(Effect.Live, $"unit {name}: removed");
        foreach (string name in KeptUnits) Compare(name, from.Units[name].Spec, to.Units[name].Spec);
        CompareTargets();
        CompareSettings();
    }

    /// <summary>All that differs, in words.</summary>
    public IReadOnlyList<Change> Changes => _changes;

    /// <summary>Names of units that only the new configuration has.</summary>
    public IEnumerable<string> AddedUnits => _to.Units.Keys.Where(n => !_from.Units.ContainsKey(n)).Order(StringComparer.Ordinal);

    /// <summary>Names of units that only the old configuration has.</summary>
    public IEnumerable<string> RemovedUnits => _from.Units.Keys.Where(n => !_to.Units.ContainsKey(n)).Order(StringComparer.Ordinal);

    /// <summary>Names of units that both have.</summary>
    public IEnumerable<string> KeptUnits => _from.Units.Keys.Where(_to.Units.ContainsKey).Order(StringComparer.Ordinal);

    /// <summary>Units whose filters differ.</summary>
    public List<string> FilteredUnits { get; } = [];

    /// <summary>Units that grow, and their new sizes in bytes.</summary>
    public List<(string Name, long Bytes)> GrownUnits { get; } = [];

    private void Note(Effect effect, string what) => _changes.Add(new(effect, what));

    private void Compare(string name, UnitSpec old, UnitSpec next)
    {
        if (old.Kind != next.Kind || old.Argument != next.Argument)
        {
            Note(Effect.Refused, $"unit {name}: {old.Kind}:{old.Argument} cannot become {next.Kind}:{next.Argument} while it is served; give the other disk another name");
            return;
        }
        foreach (string option in old.Options.Concat(next.Options).Select(o => o.Name).Distinct().Order(StringComparer.Ordinal))
        {
            var (before, after) = (Values(old, option), Values(next, option));
            if (before.SequenceEqual(after)) continue;
            if (option == "filter") CompareFilters(name, before, after);
            else if (option == "size") CompareSizes(name, next, before.FirstOrDefault(), after.FirstOrDefault());
            else Note(Effect.Refused, $"unit {name}: {option} cannot change from {Or(before)} to {Or(after)} while it is served; take the unit out, reload, and put it in again");
        }
    }

    private static List<string> Values(UnitSpec spec, string option) => [.. spec.Options.Where(o => o.Name == option).Select(o => o.Value)];

    private static string Or(List<string> values) => values.Count == 0 ? "its default" : string.Join(", ", values);

    private void CompareFilters(string name, List<string> before, List<string> after)
    {
        if (before.Select(KindOf).SequenceEqual(after.Select(KindOf)))
        {
            FilteredUnits.Add(name);
            Note(Effect.Live, $"unit {name}: filters {Or(before)} become {Or(after)}");
            return;
        }
        Note(Effect.Refused, $"unit {name}: filters cannot be added or taken away while it is served, only changed (KIND:off does nothing); it has {Or(before)}");

        static string KindOf(string filter) => filter.Split(':', 2)[0];
    }

    private void CompareSizes(string name, UnitSpec next, string? before, string? after)
    {
        long? old = before is null ? null : Serve.ByteSize.TryParse(before, out long was) ? was : null;
        if (after is null || !Serve.ByteSize.TryParse(after, out long bytes)) Note(Effect.Live, $"unit {name}: keeps its size");
        else if (old is { } less && bytes < less) Note(Effect.Refused, $"unit {name}: {before} cannot shrink to {after}: that would cut off what is in use");
        else if (UnitKinds.Find(next.Kind) is { IsBytes: true })
        {
            GrownUnits.Add((name, bytes));
            Note(Effect.Live, $"unit {name}: grows to {after}");
        }
        else Note(Effect.Refused, $"unit {name}: a {next.Kind} unit keeps its size while it is served");
    }

    private void CompareTargets()
    {
        var old = _from.Targets.ToDictionary(t => t.Definition.Name, StringComparer.OrdinalIgnoreCase);
        var next = _to.Targets.ToDictionary(t => t.Definition.Name, StringComparer.OrdinalIgnoreCase);
        foreach (var target in _to.Targets.Where(t => !old.ContainsKey(t.Definition.Name))) Note(Effect.Live, $"target {target.Definition.Name}: added");
        foreach (var target in _from.Targets.Where(t => !next.ContainsKey(t.Definition.Name))) Note(Effect.Live, $"target {target.Definition.Name}: removed, and its sessions end");
        foreach (var target in _from.Targets)
            if (next.TryGetValue(target.Definition.Name, out var other)) CompareTarget(target, other);
    }

    private void CompareTarget(TargetConfig old, TargetConfig next)
    {
        string name = old.Definition.Name;
        foreach (int lun in old.Luns.Keys.Union(next.Luns.Keys).Order())
        {
            string? before = old.Luns.GetValueOrDefault(lun), after = next.Luns.GetValueOrDefault(lun);
            if (before == after) continue;
            Note(Effect.Live, after is null ? $"target {name}: LUN {lun} ({before}) is taken away"
                : before is null ? $"target {name}: LUN {lun} is {after}" : $"target {name}: LUN {lun} is {after} instead of {before}");
        }
        Target was = old.Definition, becomes = next.Definition;
        if (was.Alias != becomes.Alias) Note(Effect.Live, $"target {name}: alias is '{becomes.Alias}'");
        if (was.ExplicitAlua != becomes.ExplicitAlua) Note(Effect.Live, $"target {name}: initiators may {(becomes.ExplicitAlua ? "" : "not ")}set access states");
        if (!was.Chap.SequenceEqual(becomes.Chap)) Note(Effect.Live, $"target {name}: CHAP users are {Users(becomes.Chap)} (for logins from here on)");
        if (was.MutualChap != becomes.MutualChap) Note(Effect.Live, $"target {name}: mutual CHAP is {becomes.MutualChap?.Name ?? "off"} (for logins from here on)");
        if (was.Acls.Count == 0 != (becomes.Acls.Count == 0)) Note(Effect.Live, $"target {name}: {(becomes.Acls.Count == 0 ? "every initiator" : "only the initiators of acls")} may log in");
        foreach (var acl in was.Acls.Where(a => becomes.Acls.All(o => o.InitiatorName != a.InitiatorName)))
            Note(Effect.Live, $"target {name}: {acl.InitiatorName} is no longer admitted, and its sessions end");
        foreach (var acl in becomes.Acls.Where(a => was.Acls.All(o => o.InitiatorName != a.InitiatorName))) Note(Effect.Live, $"target {name}: {acl.InitiatorName} is admitted");
        foreach (var acl in becomes.Acls)
            if (was.Acls.FirstOrDefault(o => o.InitiatorName == acl.InitiatorName) is { } before && !before.IsSameAs(acl)) Note(Effect.Live, $"target {name}: what {acl.InitiatorName} may do changes");
    }

    private static string Users(IReadOnlyList<ChapCredential> chap) => chap.Count == 0 ? "nobody: no authentication" : string.Join(", ", chap.Select(c => c.Name));

    private void CompareSettings()
    {
        if (_from.LogLevel != _to.LogLevel) Note(Effect.Live, $"log level: {_to.LogLevel}");
        Restart(_from.Portals.SequenceEqual(_to.Portals), "portals", string.Join(", ", _to.Portals.Select(p => $"{p.EndPoint}")));
        Restart(_from.DiscoveryChap.SequenceEqual(_to.DiscoveryChap), "discovery: CHAP users", Users(_to.DiscoveryChap));
        Restart(_from.Limits == _to.Limits, "limits", "as the file says");
        Restart(_from.StatePath == _to.StatePath, "state-dir", _to.StatePath);
        Restart(_from.HandlersPath == _to.HandlersPath, "handlers: socket", _to.HandlersPath);
        Restart(_from.HandlerMemoryBytes == _to.HandlerMemoryBytes, "handlers: memory", $"{_to.HandlerMemoryBytes} bytes");
        Restart(_from.ColdReset == _to.ColdReset, "cold-reset", _to.ColdReset ? "allowed" : "not allowed");
    }

    private void Restart(bool isSame, string what, string becomes)
    {
        if (!isSame) Note(Effect.Restart, $"{what}: {becomes}");
    }
}
