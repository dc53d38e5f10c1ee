using LunKit.App.Backstores;
using LunKit.App.CommandLine;
using LunKit.App.Serve;
using LunKit.Iscsi;
using LunKit.LogicalUnits;
using LunKit.Targets;
using Microsoft.Extensions.Logging;

namespace LunKit.App.Config;

/// <summary>Makes a configuration of nodes whose shape has been checked, and notes what does not fit together.</summary>
internal sealed class ConfigBinder
{
    private static readonly Dictionary<int, LogicalUnit> s_noLuns = [];

    private readonly ConfigErrors _errors;
    private readonly ConfigSection _root;
    private readonly SecretReader _secrets;

    // Names in the file, also of units that are wrong: one error is enough for each.
    private readonly HashSet<string> _named = new(StringComparer.Ordinal);
    private readonly Dictionary<string, UnitConfig> _units = new(StringComparer.Ordinal);
    private readonly Dictionary<string, ConfigPlace> _places = new(StringComparer.Ordinal);

    private readonly Func<string, Portal> _portal;

    private ConfigBinder(ConfigNode root, ConfigErrors errors, Func<string, Portal> portal) => (_root, _errors, _secrets, _portal) = (new(root), errors, new(errors), portal);

    /// <summary>Makes it; what is wrong is in <paramref name="errors"/>, and the result is of no use then.</summary>
    /// <param name="root">The file.</param>
    /// <param name="errors">Takes what is wrong.</param>
    /// <param name="portal">Reads an address; throws <see cref="UserException"/>.</param>
    public static LunKitConfig Bind(ConfigNode root, ConfigErrors errors, Func<string, Portal> portal) => new ConfigBinder(root, errors, portal).Bind();

    private LunKitConfig Bind()
    {
        var portals = Portals();
        foreach (var (key, value) in _root.EntriesOf("units")) AddUnit(key, value);
        var targets = _root.EntriesOf("targets").Select(t => ReadTarget(t.Key, new(t.Value))).ToList();
        var handlers = _root.Section("handlers");
        var config = new LunKitConfig
        {
            Portals = portals, Units = _units, Targets = targets, DiscoveryChap = Credentials(_root.Section("discovery"), "chap"), Limits = Limits(),
            LogLevel = Enum.TryParse(_root.Section("log").Text("level"), ignoreCase: true, out LogLevel level) ? level : LogLevel.Information,
            StatePath = _root.Text("state-dir") ?? StateFolder.DefaultPath, HandlersPath = handlers.Text("socket") ?? HandlerSocket.DefaultPath,
            HandlerMemoryBytes = handlers.Size("memory") ?? 1L << 30, AllowAnyone = _root.Flag("allow-anyone"), ColdReset = _root.Flag("cold-reset"),
        };
        ConfigChecks.Units(_units, _places, targets, _errors);
        ConfigChecks.Access(config, _root, _errors);
        return config;
    }

    private List<Portal> Portals()
    {
        List<Portal> portals = [];
        // More are an error of the shape; names of hosts are looked up here.
        foreach (var item in _root.Items("portals").Take(ConfigShape.MostPortals))
        {
            var section = new ConfigSection(item);
            if ((item as ConfigScalar)?.Text is not { } text) text = $"{section.Text("address")},{section.Number("group") ?? 1}";
            if (text.StartsWith(',')) continue;
            try
            {
                var portal = _portal(text);
                if (section.Text("advertise") is { } other) portal = portal with { Advertise = other };
                if (portal.EndPoint.Port != 0 && portals.Any(p => p.EndPoint.Equals(portal.EndPoint))) _errors.Add(item.Place, $"{portal.EndPoint} stands twice");
                portals.Add(portal);
            }
            catch (UserException e)
            {
                _errors.Add(item.Place, e.Message);
            }
        }
        return portals.Count > 0 ? portals : [ServeOptions.ParsePortal(ServeCommand.DefaultPortal)];
    }

    private IscsiLimits Limits()
    {
        var section = _root.Section("limits");
        var limits = new IscsiLimits();
        foreach (var field in LimitFields.All)
        {
            long? value = field.IsSize ? section.Size(field.Key) : section.Number(field.Key);
            if (value is { } given && given >= field.Least && given <= field.Most) limits = field.With(limits, given);
        }
        ConfigChecks.Limits(limits, section, _errors);
        return limits;
    }

    private void AddUnit(ConfigScalar key, ConfigNode node)
    {
        string name = key.Text;
        _named.Add(name);
        var map = new ConfigSection(node);
        if (map.Text(UnitShape.KindKey) is not { } kindName || UnitKinds.Find(kindName) is not { } kind || map.Text(kind.Key) is not { } argument) return;
        List<(string Name, string Value, ConfigPlace Place)> options = [];
        foreach (var option in kind.Options)
        {
            if (option.Name == kind.Key && option.Name != "filter") continue;
            if (option.Name == "filter") options.AddRange(Texts(map.Items(UnitShape.FiltersKey)).Take(UnitShape.MostFilters).Select(f => ("filter", f.Text, f.Place)));
            else if (UnitShape.TakesSeveral(option) && map.Items(option.Name).Count > 0) options.Add((option.Name, string.Join('+', Texts(map.Items(option.Name)).Select(t => t.Text)), map.Node(option.Name)!.Place));
            else if (map.Node(option.Name) is ConfigScalar { IsEmpty: false } scalar) options.Add((option.Name, option.IsSwitch && FlagShape.Parse(scalar.Text) is { } isOn ? isOn ? "on" : "off" : scalar.Text, scalar.Place));
        }
        try
        {
            var spec = kind.Read(SpecText.Of(kind.Name, argument, options.Select(o => (o.Name, o.Value)), kind.Options));
            _units.Add(name, new UnitConfig(spec, MachineIdentity.Of($"unit {name}")));
            _places.Add(name, key.Place);
        }
        catch (UserException e)
        {
            // Without what stands before it for the command line: the whole unit as one text.
            int text = e.Message.IndexOf("': ", StringComparison.Ordinal);
            string why = text < 0 ? e.Message : e.Message[(text + 3)..];
            // It names the option, or quotes its value, or the kind of the filter.
            var guilty = options.FirstOrDefault(o => why.Contains($"{o.Name}=", StringComparison.Ordinal));
            if (guilty.Name is null) guilty = options.FirstOrDefault(o => why.Contains($"'{o.Value}'", StringComparison.Ordinal));
            if (guilty.Name is null) guilty = options.FirstOrDefault(o => why.StartsWith($"{o.Name} '{o.Value.Split(':')[0]}'", StringComparison.Ordinal));
            _errors.Add(guilty.Name is null ? map.Node(kind.Key)!.Place : guilty.Place, $"unit {name}: {why}");
        }
    }

    private static IEnumerable<ConfigScalar> Texts(IReadOnlyList<ConfigNode> items) => items.OfType<ConfigScalar>().Where(s => !s.IsEmpty);

    private TargetConfig ReadTarget(ConfigScalar key, ConfigSection map)
    {
        Dictionary<int, string> luns = [];
        HashSet<string> used = new(StringComparer.Ordinal);
        foreach (var (lun, unit) in map.EntriesOf("luns"))
        {
            if (_errors.IsFull) break;
            if (NumberShape.Parse(lun.Text) is not { } number || unit is not ConfigScalar { IsEmpty: false } name) continue;
            if (!_named.Contains(name.Text)) _errors.Add(name.Place, $"there is no unit '{name.Text}'{Nearest.Hint(name.Text, _named)}");
            else if (!used.Add(name.Text)) _errors.Add(name.Place, $"unit '{name.Text}' is a LUN of this target already: initiators would take them for two disks, or for two paths to one");
            if (!luns.TryAdd((int)number, name.Text)) _errors.Add(lun.Place, $"LUN {number} stands twice");
        }
        var chap = Credentials(map, "chap");
        var mutual = map.Node("mutual-chap") is ConfigMap node ? _secrets.Read(node) : null;
        // A login without authentication is possible when the target has no credential.
        bool isOpen = map.Items("chap").Count == 0 && map.EntriesOf("acls").Any(a => new ConfigSection(a.Value).Node("chap") is not null);
        var acls = map.EntriesOf("acls").Select(a => ReadAcl(a.Key.Text, a.Value, luns, isOpen)).ToList();
        HashSet<string> initiators = new(StringComparer.OrdinalIgnoreCase);
        foreach (var (initiator, _) in map.EntriesOf("acls"))
            if (!initiators.Add(initiator.Text)) _errors.Add(initiator.Place, $"{initiator.Text} stands twice: names of initiators are compared without regard to case");
        var all = chap.Concat(acls.Select(a => a.Chap).OfType<ChapCredential>()).ToList();
        if (mutual is not null && all.Count == 0) _errors.Add(map.Node("mutual-chap")!.Place, "mutual-chap needs chap: the initiator proves itself first");
        if (mutual is not null && mutual.Secret.Length > 0 && all.Any(c => c.Secret == mutual.Secret))
            _errors.Add(map.Node("mutual-chap")!.Place, "both directions of CHAP have the same secret; RFC 7143 forbids that, since one could be reflected as the other");
        if (map.Flag("redirect-permanently") && map.Text("redirect") is null) _errors.Add(map.Node("redirect-permanently")!.Place, "redirect-permanently needs redirect");
        return new(new Target
        {
            Name = key.Text, Alias = map.Text("alias") ?? "LunKit", Luns = s_noLuns, Chap = chap, MutualChap = mutual, Acls = acls, ExplicitAlua = map.Flag("explicit-alua"),
            RedirectTo = map.Text("redirect"), RedirectPermanently = map.Flag("redirect-permanently"),
        }, luns);
    }

    private NodeAcl ReadAcl(string initiator, ConfigNode node, Dictionary<int, string> luns, bool isOpen)
    {
        var map = new ConfigSection(node);
        var acl = new NodeAcl(initiator) { Chap = map.Node("chap") is ConfigMap chap ? _secrets.Read(chap) : null };
        if (acl.Chap is null && isOpen)
            _errors.Add(node.Place, $"{initiator} has no chap, and neither has the target, though other initiators have: anyone could log in under this name; give it one");
        if (map.Node("luns") is not ConfigMap) return acl;
        // The core keeps it the other way round.
        Dictionary<int, int> mapped = [];
        HashSet<long> taken = [];
        foreach (var (seen, behind) in map.EntriesOf("luns"))
        {
            if (NumberShape.Parse(seen.Text) is not { } lun || behind is not ConfigScalar scalar || NumberShape.Parse(scalar.Text) is not { } real) continue;
            if (!luns.ContainsKey((int)real)) _errors.Add(behind.Place, $"the target has no LUN {real}");
            else if (!taken.Add(lun)) _errors.Add(seen.Place, $"LUN {lun} stands twice");
            else if (!mapped.TryAdd((int)real, (int)lun)) _errors.Add(behind.Place, $"LUN {real} of the target is seen twice by {initiator}");
        }
        return acl with { MappedLuns = mapped };
    }

    private List<ChapCredential> Credentials(ConfigSection section, string key) => [.. section.Items(key).OfType<ConfigMap>().Select(_secrets.Read).OfType<ChapCredential>()];
}
