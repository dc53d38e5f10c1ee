using System.Reflection;
using LunKit.App.Config;
using LunKit.Iscsi;

namespace LunKit.Tests.App.Config;

/// <summary>What a configuration may say, and that everything else is refused, where it stands.</summary>
public sealed class ConfigFileTests : IDisposable
{
    private const string Target = "iqn.2026-11.test:a";
    private readonly string _folder = Directory.CreateTempSubdirectory("lunkit-config-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private static LunKitConfig Right(string text)
    {
        var result = ConfigFile.Parse(text);
        Assert.True(result.Config is not null, string.Join("\n", result.Errors.Select(e => ConfigErrors.Line("text", e))));
        return result.Config;
    }

    [Theory]
    [InlineData("", "1:1", "the smallest that serves a disk")]
    [InlineData("# nothing\n", "1:1", "the file is empty")]
    [InlineData("[1]", "1:1", "a map is expected here, with the keys portals, units")]
    [InlineData("units: [", "1:8", "is not closed")]
    [InlineData("units: {a: [1,\n  {b: 2\n", "2:3", "is not closed")]
    [InlineData("units: [1\ntargets: {}\n", "1:8", "is not closed")]
    [InlineData("state-dir: '/a\n", "1:12", "this is not YAML")]
    [InlineData("units: {\n", "1:8", "is not closed")]
    [InlineData("units: {}\n\u0000", "2:1", "NUL")]
    [InlineData("units: {}\nunits: {}", "2:1", "'units' stands twice; the first is in line 1")]
    [InlineData("units: {}\n---\nunits: {}", "2:1", "a second document")]
    [InlineData("units: &a {}", "1:8", "anchors (&) are not supported")]
    [InlineData("units: {a: {kind: memory, size: 1M}, b: *a}", "1:41", "aliases (*) are not supported")]
    [InlineData("state-dir: !!str /a", "1:12", "tags (!) are not supported")]
    [InlineData("? [a]\n: b", "1:1", "a key must be a word")]
    [InlineData("unit: {}", "1:1", "'unit' is not known here; did you mean 'units'?")]
    [InlineData("units: 5", "1:8", "a map is expected here: NAME, a colon, and a unit")]
    [InlineData("units: {a: memory}", "1:12", "a unit is a map, e.g. {kind: file")]
    [InlineData("units: {a: {size: 1M}}", "1:12", "'kind' is missing; there are memory, file")]
    [InlineData("units: {a: {kind: memry, size: 1M}}", "1:19", "kind 'memry' is not known; did you mean 'memory'?")]
    [InlineData("units: {a: {kind: null, size: 1M}}", "1:19", "kind: \"null\" needs its quotation marks")]
    [InlineData("units: {a: {kind: memory}}", "1:12", "'size' is missing")]
    [InlineData("units: {a: {kind: memory, size: 1M, blok: 512}}", "1:37", "'blok' is not known here; did you mean 'block'?")]
    [InlineData("units: {a: {kind: memory, size: 1M, block: 100}}", "1:44", "unit a: block=100 is not 512 or 4096")]
    [InlineData("units: {a: {kind: memory, size: much}}", "1:33", "unit a: 'much' is not a size")]
    [InlineData("units: {a: {kind: file, path: /a, size: ten}}", "1:41", "unit a: 'ten' is not a size")]
    [InlineData("units: {a: {kind: file, path: /a, direct: maybe}}", "1:43", "'maybe' is not true or false")]
    [InlineData("units: {a: {kind: file, path: }}", "1:31", "nothing stands here; PATH is expected")]
    [InlineData("units: {a: {kind: file, path: ''}}", "1:31", "nothing stands here; PATH is expected")]
    [InlineData("units: {a: {kind: file, path: \"a\\0b\"}}", "1:31", "there is a NUL character")]
    [InlineData("units: {a: {kind: memory, size: 1M, filters: [dely:5ms]}}", "1:47", "filter 'dely' is not known; did you mean 'delay'?")]
    [InlineData("units: {a: {kind: memory, size: 1M, filters: delay}}", "1:46", "a list is expected here")]
    [InlineData("units: {a/b: {kind: memory, size: 1M}}", "1:9", "'a/b' is not a unit's name")]
    [InlineData("units: {a: {kind: file, path: /a}, b: {kind: file, path: //a}}", "1:36", "unit b serves what unit a serves")]
    [InlineData("units: {a: {kind: memory, size: 1M, serial: s}, b: {kind: memory, size: 1M, serial: s}}", "1:49", "unit b has the serial of unit a")]
    [InlineData("units: {a: {kind: user, config: file//a}}", "1:12", "'size' is missing")]
    [InlineData("targets: {disk: {}}", "1:11", "'disk' is not an iSCSI name")]
    [InlineData("targets: {'iqn.2026-11.test:a': {luns: {0: a}}}", "1:44", "there is no unit 'a'")]
    [InlineData("units: {disk: {kind: memory, size: 1M}}\ntargets: {'iqn.2026-11.test:a': {luns: {0: dsik}}}", "2:44", "there is no unit 'dsik'; did you mean 'disk'?")]
    [InlineData("units: {a: {kind: memory, size: 1M}}\ntargets: {'iqn.2026-11.test:a': {luns: {x: a}}}", "2:41", "'x' is not a LUN: 0 to 16383")]
    [InlineData("units: {a: {kind: memory, size: 1M}}\ntargets: {'iqn.2026-11.test:a': {luns: {0: a, 1: a}}}", "2:50", "is a LUN of this target already")]
    [InlineData("units: {a: {kind: memory, size: 1M}}\ntargets: {'iqn.2026-11.test:a': {luns: {0: a}, acls: {'iqn.2026-11.test:i': {luns: {0: 1}}}}}", "2:88", "the target has no LUN 1")]
    [InlineData("units: {a: {kind: memory, size: 1M}}\ntargets: {'iqn.2026-11.test:a': {luns: {0: a}, acls: {'iqn.2026-11.test:i': {luns: {0: 0, 1: 0}}}}}", "2:94", "is seen twice by")]
    [InlineData("units: {a: {kind: memory, size: 1M}, b: {kind: memory, size: 1M}}\ntargets: {'iqn.2026-11.test:a': {luns: {0: a, 1: b}, acls: {'iqn.2026-11.test:i': {luns: {0: 0, 00: 1}}}}}", "2:97", "LUN 0 stands twice")]
    [InlineData("targets: {'iqn.2026-11.test:a': {acls: {host: {}}}}", "1:41", "'host' is not the name of an iSCSI initiator")]
    [InlineData("targets: {'iqn.2026-11.test:a': {chap: [{user: u}]}}", "1:41", "write one of secret, secret-file, credential for user u; there are 0")]
    [InlineData("targets: {'iqn.2026-11.test:a': {chap: [{user: u, secret-file: /nowhere/at/all}]}}", "1:64", "/nowhere/at/all cannot be read")]
    [InlineData("targets: {'iqn.2026-11.test:a': {chap: [{user: u, credential: ../x}]}}", "1:63", "it has a '/'")]
    [InlineData("targets: {'iqn.2026-11.test:a': {mutual-chap: {user: u, secret: twelve-chars1}}}", "1:47", "mutual-chap needs chap")]
    [InlineData("targets: {'iqn.2026-11.test:a': {chap: [{user: u, secret: twelve-chars1}], mutual-chap: {user: t, secret: twelve-chars1}}}", "1:89", "RFC 7143 forbids")]
    [InlineData("targets: {'iqn.2026-11.test:a': {acls: {'iqn.2026-11.test:i': {chap: {user: u, secret: twelve-chars1}}, 'iqn.2026-11.test:j': {}}}}", "1:127", "anyone could log in under this name")]
    [InlineData("targets: {'iqn.2026-11.test:a': {acls: {'iqn.2026-11.test:I': {}, 'iqn.2026-11.test:i': {}}}}", "1:67", "stands twice: names of initiators")]
    [InlineData("targets: {'iqn.2026-11.test:a': {redirect: host}}", "1:44", "'host' is not HOST:PORT[,GROUP]")]
    [InlineData("targets: {'iqn.2026-11.test:a': {alias: \"a\\nb\"}}", "1:41", "control characters")]
    [InlineData("targets: {'iqn.2026-11.test:a': {redirect-permanently: true}}", "1:56", "needs redirect")]
    [InlineData("portals: []", "1:10", "the list is empty")]
    [InlineData("portals: [127.0.0.1:x]", "1:11", "'x' is not a port")]
    [InlineData("portals: [{address: '0.0.0.0:3260', advertise: host}]", "1:48", "'host' is not HOST:PORT")]
    [InlineData("portals: [127.0.0.1:3260, {address: '127.0.0.1:3260'}]", "1:27", "stands twice")]
    [InlineData("portals: [{address: '127.0.0.1:3260', group: 0}]", "1:46", "'0' is not a whole number from 1 to 65535")]
    [InlineData("portals: ['0.0.0.0:3260']\ntargets: {'iqn.2026-11.test:a': {}}", "2:11", "a portal beyond loopback lets anyone")]
    [InlineData("limits: {queue-depth: 0}", "1:23", "'0' is not a whole number from 1 to 4096")]
    [InlineData("limits: {first-burst-length: 2M, max-burst-length: 1M}", "1:30", "is more than max-burst-length")]
    [InlineData("limits: {max-burst-length: 17M}", "1:28", "17M is not 512 B to")]
    [InlineData("log: {level: loud}", "1:14", "'loud' is not trace, debug")]
    [InlineData("handlers: {memory: 1}", "1:20", "1 is not 1 MiB to")]
    public void WhatIsWrongIsSaidWhereItStands(string text, string place, string message)
    {
        var result = ConfigFile.Parse(text);
        Assert.Null(result.Config);
        var lines = result.Errors.Where(e => !e.IsWarning).Select(e => ConfigErrors.Line("f", e)).ToList();
        Assert.Contains(lines, l => l.StartsWith($"f:{place}: ", StringComparison.Ordinal) && l.Contains(message, StringComparison.Ordinal));
        // Nothing is said twice.
        Assert.Equal(lines.Count, lines.Distinct().Count());
    }

    [Fact]
    public void AllErrorsAreSaidAtOnce()
    {
        var result = ConfigFile.Parse("portals: [x:y]\nunitz: {}\nunits: {a: {kind: file}}\nlimits: {queue-depth: x}\n");
        Assert.Equal([1, 2, 3, 4], result.Errors.Where(e => !e.IsWarning).Select(e => e.Place.Line));
    }

    [Fact]
    public void DeepOnesEnd()
    {
        var result = ConfigFile.Parse(new string('[', 100_000));
        Assert.Contains("levels", Assert.Single(result.Errors).Text, StringComparison.Ordinal);
        Assert.Contains("MiB", Assert.Single(ConfigFile.Parse(new string(' ', ConfigReader.MostBytes + 1)).Errors).Text, StringComparison.Ordinal);
    }

    [Fact]
    public void AConfigurationSaysAllOfThis()
    {
        string secret = Path.Combine(_folder, "secret");
        File.WriteAllText(secret, "from-the-file-itself\nsecond line\n");
        File.SetUnixFileMode(secret, UnixFileMode.UserRead);
        var config = Right($$"""
            portals: [127.0.0.1:3260, {address: "127.0.0.1:3261", group: 2, advertise: "storage.example:13260"}]
            units:
              a: {kind: file, path: "/srv/a,b:c.img", size: 1G, writecache: off, filters: [delay:5ms, readonly]}
              b: {kind: memory, size: 1M, serial: 0007}
            targets:
              {{Target}}:
                luns: {0: a, 7: b}
                chap: [{user: u, secret-file: "{{secret}}" }]
                acls:
                  iqn.2026-11.test:i: {luns: {0: 7} }
                  iqn.2026-11.test:j: {}
            limits: {queue-depth: 16}
            log: {level: warning}
            """);
        Assert.Equal([(1, null), (2, "storage.example:13260")], config.Portals.Select(p => (p.GroupTag, p.Advertise)));
        Assert.Equal("/srv/a,b:c.img", config.Units["a"].Spec.Argument);
        Assert.Equal([("filter", "delay:5ms"), ("filter", "readonly"), ("size", "1G"), ("writecache", "off")], config.Units["a"].Spec.Options.Order());
        Assert.Contains(("serial", "0007"), config.Units["b"].Spec.Options);
        var target = Assert.Single(config.Targets);
        Assert.Equal("from-the-file-itself", Assert.Single(target.Definition.Chap).Secret);
        Assert.Equal([KeyValuePair.Create(7, 0)], target.Definition.Acls[0].MappedLuns!);
        Assert.Null(target.Definition.Acls[1].MappedLuns);
        Assert.Equal((16, 256 * 1024), (config.Limits.QueueDepth, config.Limits.FirstBurstLength));
        string shown = YamlText.Of(ConfigDocument.Of(config));
        Assert.DoesNotContain("from-the-file-itself", shown, StringComparison.Ordinal);
        Assert.DoesNotContain(new ConfigDifference(config, Right(shown)).Changes, c => !c.What.Contains("CHAP", StringComparison.Ordinal));
    }

    [Fact]
    public void WhatIsDoubtfulIsSaidAndServed()
    {
        string secret = Path.Combine(_folder, "secret");
        File.WriteAllText(secret, "short\n");
        File.SetUnixFileMode(secret, UnixFileMode.UserRead | UnixFileMode.OtherRead);
        var result = ConfigFile.Parse($"units: {{a: {{kind: memory, size: 1M}}}}\ntargets: {{'{Target}': {{chap: [{{user: u, secret-file: {secret}}}]}}}}");
        Assert.NotNull(result.Config);
        Assert.Collection(result.Errors,
            e => Assert.Contains("a LUN of no target", e.Text, StringComparison.Ordinal),
            e => Assert.Contains("chmod 600", e.Text, StringComparison.Ordinal),
            e => Assert.Contains("fewer than 12", e.Text, StringComparison.Ordinal));
        Assert.DoesNotContain(result.Errors, e => e.Text.Contains("short", StringComparison.Ordinal));
    }

    [Fact]
    public void EveryLimitCanBeSet()
    {
        var properties = typeof(IscsiLimits).GetProperties(BindingFlags.Public | BindingFlags.Instance).Select(p => p.Name).ToList();
        var limits = new IscsiLimits();
        foreach (var field in LimitFields.All)
        {
            long other = field.Get(limits) == field.Least ? field.Least + 1 : field.Least;
            var changed = field.With(limits, other);
            string property = Assert.Single(properties, p => Kebab(p) == field.Key);
            Assert.Equal(other, Convert.ToInt64(typeof(IscsiLimits).GetProperty(property)!.GetValue(changed), System.Globalization.CultureInfo.InvariantCulture));
            Assert.Equal(limits, field.With(changed, field.Get(limits)));
            Assert.InRange(field.Get(limits), field.Least, field.Most);
        }
        Assert.Equal(properties.Count, LimitFields.All.Count);

        static string Kebab(string name) => string.Concat(name.Replace("R2T", "R2t").Replace("2Retain", "2retain").Select((c, i) => char.IsUpper(c) && i > 0 ? $"-{char.ToLowerInvariant(c)}" : $"{char.ToLowerInvariant(c)}"));
    }
}
