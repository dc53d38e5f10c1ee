using System.Text.Json.Nodes;

namespace LunKit.App.Config.Convert;

/// <summary>
/// A configuration that is being made of another program's, and what could not be carried over: each a line for the operator. Nothing is dropped silently, and
/// what would become more open than it was is left out.
/// </summary>
internal sealed class Conversion
{
    private readonly JsonArray _portals = [];
    private readonly JsonObject _units = [], _targets = [];
    private readonly JsonArray _discovery = [];
    private readonly List<string> _notCarried = [];
    private readonly List<(string Target, string[] Addresses)> _reach = [];
    private readonly HashSet<string> _addresses = new(StringComparer.OrdinalIgnoreCase);

    /// <summary>What the operator must look at.</summary>
    public IReadOnlyList<string> NotCarried => _notCarried;

    /// <summary>Notes what is lost, once.</summary>
    public void Lose(string what)
    {
        if (!_notCarried.Contains(what)) _notCarried.Add(what);
    }

    /// <summary>An address to listen on.</summary>
    public void AddPortal(string address, int group = 1)
    {
        if (!_addresses.Add(address)) return;
        if (group == 1) _portals.Add((JsonNode)address);
        else _portals.Add((JsonNode)new JsonObject { ["address"] = address, ["group"] = group });
    }

    /// <summary>A target was reached on these addresses only. Every target of LunKit is reached on all: noted when that is more than before.</summary>
    public void Reach(string target, IReadOnlyList<string> addresses) => _reach.Add((target, [.. addresses.Order(StringComparer.OrdinalIgnoreCase)]));

    /// <summary>Adds a unit; its name, which is made of <paramref name="wanted"/>.</summary>
    public string AddUnit(string wanted, JsonObject unit)
    {
        string name = string.Concat(wanted.Select(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '_' or '-' ? c : '-')).TrimStart('.', '_', '-');
        if (name.Length == 0) name = "unit";
        name = name[..Math.Min(name.Length, 56)];
        string free = name;
        for (int i = 2; _units.ContainsKey(free); i++) free = $"{name}-{i}";
        _units[free] = unit;
        return free;
    }

    /// <summary>Adds a target. False: there is one of that name already, which is noted.</summary>
    public bool AddTarget(string name, JsonObject target)
    {
        string lower = name.ToLowerInvariant();
        if (_targets.ContainsKey(lower))
        {
            Lose($"target {name}: there is another of that name; its second definition is left out");
            return false;
        }
        _targets[lower] = target;
        return true;
    }

    /// <summary>A credential for discovery.</summary>
    public void AddDiscovery(JsonObject credential) => _discovery.Add((JsonNode)credential);

    /// <summary>The file, with what is lost at its head.</summary>
    /// <param name="from">What it was made of.</param>
    public string Text(string from)
    {
        foreach (var (target, addresses) in _reach.Where(r => r.Addresses.Length < _addresses.Count))
            Lose($"target {target}: it was reached on {string.Join(", ", addresses)} only; every LunKit target is reached on every portal: run a second `lunkit serve` with a file of its own where that matters");
        var document = new JsonObject();
        if (_portals.Count > 0) document["portals"] = _portals.DeepClone();
        document["units"] = _units.DeepClone();
        document["targets"] = _targets.DeepClone();
        if (_discovery.Count > 0) document["discovery"] = new JsonObject { ["chap"] = _discovery.DeepClone() };
        var head = new List<string> { $"# Made by `lunkit config convert` of {OneLine(from)}." };
        if (_notCarried.Count > 0) head.AddRange(["#", "# Not carried over:", .. _notCarried.Select(l => $"#   {OneLine(l)}")]);
        return string.Join('\n', head) + "\n\n" + YamlText.Of(document);
    }

    // What was read from a file must not end a comment.
    private static string OneLine(string text) => string.Concat(text.Select(c => char.IsControl(c) || c is '\u2028' or '\u2029' or '\u0085' ? ' ' : c));

    /// <summary>A credential of the configuration.</summary>
    public static JsonObject Credential(string user, string secret) => new() { ["user"] = user, ["secret"] = secret };
}
