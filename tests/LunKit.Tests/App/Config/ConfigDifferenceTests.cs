using LunKit.App.Config;

namespace LunKit.Tests.App.Config;

/// <summary>What makes one configuration another, in words, and when it takes effect.</summary>
public sealed class ConfigDifferenceTests
{
    private const string Base = """
        units:
          a: {kind: file, path: /a, size: 1G, filters: [delay:1ms]}
          b: {kind: memory, size: 1M}
          u: {kind: user, config: file//u, size: 1G}
        targets:
          iqn.2026-11.test:a:
            luns: {0: a, 1: b, 2: u}
            chap: [{user: u, secret: the-secret-of-u}]
            acls: { iqn.2026-11.test:i: {luns: {0: 1} } }
        """;

    [Theory]
    [InlineData("", "", null)]
    [InlineData("delay:1ms", "delay:9ms", "live unit a: filters delay:1ms become delay:9ms")]
    [InlineData("[delay:1ms]", "[delay:1ms, readonly]", "refused unit a: filters cannot be added")]
    [InlineData("/a, size: 1G", "/a, size: 2G", "live unit a: grows to 2G")]
    [InlineData("/a, size: 1G", "/a, size: 1M", "refused unit a: 1G cannot shrink to 1M")]
    [InlineData("/a, size: 1G", "/a", "live unit a: keeps its size")]
    [InlineData("/u, size: 1G", "/u, size: 2G", "refused unit u: a user unit keeps its size")]
    [InlineData("path: /a", "path: /b", "refused unit a: file:/a cannot become file:/b")]
    [InlineData("kind: file, path: /a, size: 1G", "kind: file, path: /a, size: 1G, direct: on", "refused unit a: direct cannot change from its default to on")]
    [InlineData("size: 1M}", "size: 1M}\n  c: {kind: memory, size: 3M}", "live unit c: added (memory:3M)")]
    [InlineData("2: u}", "3: u}", "live target iqn.2026-11.test:a: LUN 2 (u) is taken away", "live target iqn.2026-11.test:a: LUN 3 is u")]
    [InlineData("0: a, 1: b", "0: b, 1: a", "live target iqn.2026-11.test:a: LUN 0 is b instead of a", "live target iqn.2026-11.test:a: LUN 1 is a instead of b")]
    [InlineData("the-secret-of-u", "another-secret-of-u", "live target iqn.2026-11.test:a: CHAP users are u")]
    [InlineData("{0: 1}", "{0: 2}", "live target iqn.2026-11.test:a: what iqn.2026-11.test:i may do changes")]
    [InlineData("iqn.2026-11.test:i", "iqn.2026-11.test:j", "live target iqn.2026-11.test:a: iqn.2026-11.test:i is no longer admitted", "live target iqn.2026-11.test:a: iqn.2026-11.test:j is admitted")]
    [InlineData("    acls", "    alias: other\n    acls", "live target iqn.2026-11.test:a: alias is 'other'")]
    [InlineData("    acls", "    explicit-alua: true\n    acls", "live target iqn.2026-11.test:a: initiators may set access states")]
    [InlineData("iqn.2026-11.test:a:", "iqn.2026-11.test:b:", "live target iqn.2026-11.test:b: added", "live target iqn.2026-11.test:a: removed, and its sessions end")]
    [InlineData("units:\n", "log: {level: debug}\nunits:\n", "live log level: Debug")]
    [InlineData("units:\n", "portals: [127.0.0.1:3333]\nunits:\n", "restart portals: 127.0.0.1:3333")]
    [InlineData("units:\n", "state-dir: /x\ncold-reset: true\nunits:\n", "restart state-dir: /x", "restart cold-reset: allowed")]
    [InlineData("units:\n", "handlers: {socket: '@h', memory: 2G}\nunits:\n", "restart handlers: socket: @h", "restart handlers: memory: 2147483648 bytes")]
    [InlineData("units:\n", "discovery: {chap: [{user: d, secret: secret-of-discovery}]}\nunits:\n", "restart discovery: CHAP users: d")]
    public void EachIsNamedOnce(string what, string becomes, params string?[] expected)
    {
        var old = ConfigFile.Parse(Base).Checked("old");
        var next = ConfigFile.Parse(what.Length == 0 ? Base : Base.Replace(what, becomes, StringComparison.Ordinal)).Checked("new");
        var changes = new ConfigDifference(old, next).Changes.Select(c => $"{c.Effect.ToString().ToLowerInvariant()} {c.What}").ToList();
        var wanted = (expected ?? [null]).OfType<string>().ToList();
        Assert.Equal(wanted.Count, changes.Count);
        foreach (string change in wanted) Assert.Contains(changes, c => c.StartsWith(change, StringComparison.Ordinal));
        Assert.DoesNotContain(changes, c => c.Contains("secret-of", StringComparison.Ordinal));
    }
}
