using LunKit.LogicalUnits;
using LunKit.Targets;

namespace LunKit.Hosting;

/// <summary>Targets by name, without regard to case. Immutable.</summary>
public sealed class TargetSet
{
    private readonly Dictionary<string, Target> _byName;

    private TargetSet(Dictionary<string, Target> byName) => _byName = byName;

    /// <summary>No target.</summary>
    public static TargetSet Empty { get; } = new([]);

    /// <summary>These targets. Throws <see cref="HostException"/> when two have one name.</summary>
    public static TargetSet Of(IEnumerable<Target> targets)
    {
        var byName = NewDictionary();
        foreach (var target in targets)
            if (!byName.TryAdd(target.Name, target)) throw new HostException(HostError.Taken, $"there are two targets '{target.Name}'");
        return new(byName);
    }

    private static Dictionary<string, Target> NewDictionary(IReadOnlyDictionary<string, Target>? from = null) =>
        from is null ? new(StringComparer.OrdinalIgnoreCase) : new(from, StringComparer.OrdinalIgnoreCase);

    /// <summary>All of them, ordered by name.</summary>
    public IReadOnlyList<Target> All => [.. _byName.Values.OrderBy(t => t.Name, StringComparer.OrdinalIgnoreCase)];

    /// <summary>Whether there is a target of that name.</summary>
    public bool Contains(string name) => _byName.ContainsKey(name);

    /// <summary>The target of a name. Throws <see cref="HostException"/> when there is none.</summary>
    public Target this[string name] => _byName.GetValueOrDefault(name) ?? throw new HostException(HostError.NotFound, $"there is no target '{name}'");

    /// <summary>The same, with this target added, or in place of the one with its name.</summary>
    public TargetSet With(Target target) => new(NewDictionary(_byName)) { _byName = { [target.Name] = target } };

    /// <summary>The same without the target of that name.</summary>
    public TargetSet Without(string name)
    {
        var rest = NewDictionary(_byName);
        rest.Remove(name);
        return new(rest);
    }

    /// <summary>The same with a unit in no target.</summary>
    internal TargetSet Without(LogicalUnit unit)
    {
        var rest = NewDictionary(_byName);
        foreach (var target in _byName.Values.Where(t => t.Luns.Values.Contains(unit)))
            rest[target.Name] = target with { Luns = target.Luns.Where(l => l.Value != unit).ToDictionary() };
        return new(rest);
    }

    /// <summary>Names of the targets that are others than in an earlier set, or in one of the two only. Those that go come first: a unit that moves is never in two.</summary>
    internal IEnumerable<string> DifferencesTo(TargetSet before)
    {
        foreach (string name in before._byName.Keys)
            if (!Contains(name)) yield return name;
        foreach (var (name, target) in _byName)
            if (!before._byName.TryGetValue(name, out var old) || !target.IsSameAs(old)) yield return name;
    }
}
