using System.Diagnostics;
using System.Net;
using LunKit.App.Config;
using LunKit.App.Serve;
using LunKit.Targets;

namespace LunKit.Tests.App.Config;

/// <summary>Any file is answered in bounded time and memory, by bounded messages, and none of them has a secret in it.</summary>
public sealed class ConfigBoundsTests
{
    // A check whose time grows with the square of the file takes minutes.
    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(30);

    private static ConfigResult Parse(string text) => ConfigFile.Parse(text, address => IPEndPoint.TryParse(address.Split(',')[0], out var point) ? new Portal(point) : throw new UserException("no address", 2));

    private static string Repeat(int count, Func<int, string> item) => string.Concat(Enumerable.Range(0, count).Select(item));

    public static TheoryData<string, string> Large => new()
    {
        { "units", "units:\n" + Repeat(40_000, i => $"  disk{i}: {{kind: memory, size: 1M}}\n") },
        { "units of nobody", "units: {}\ntargets:\n  iqn.2026-11.test:a:\n    luns:\n" + Repeat(100_000, i => $"      {i}: disk{i}\n") },
        { "names that are near", "units:\n" + Repeat(20_000, i => $"  disk{i}: {{kind: memory, size: 1M}}\n") + "targets:\n  iqn.2026-11.test:a:\n    luns:\n" + Repeat(20_000, i => $"      {i}: dsik{i}\n") },
        { "LUNs", "units:\n" + Repeat(16_384, i => $"  d{i}: {{kind: memory, size: 1M}}\n") + Targets(4, "luns:\n" + Repeat(16_384, i => $"      {i}: d{i}\n")) },
        { "initiators", "targets:\n  iqn.2026-11.test:a:\n    acls:\n" + Repeat(80_000, i => $"      iqn.2026-11.test:i{i}: {{}}\n") },
        { "targets", "portals: [192.0.2.1:3260]\n" + Targets(60_000, "alias: a\n") },
        { "portals", "portals:\n" + Repeat(100_000, i => $"- 127.0.0.{i & 255}:{i}\n") },
        { "keys that nobody knows", Repeat(100_000, i => $"key{i}: 1\n") },
        { "a long key", new string('k', 2_000_000) + ": 1\n" },
        { "two long names", $"units:\n  ? {new string('k', 1_000_000)}\n  : {{kind: memory, size: 1M}}\ntargets: {{'iqn.2026-11.test:a': {{luns: {{0: {new string('l', 1_000_000)}}}}}}}" },
        { "filters", "units: {a: {kind: memory, size: 1M, filters: [" + Repeat(100_000, _ => "delay:x,") + "]}}" },
        { "values", "[" + Repeat(1_100_000, _ => "1,") + "]" },
        { "brackets", new string('[', 1_000_000) },
        { "maps", Repeat(1_000_000, _ => "{a: ") },
        { "dashes", Repeat(1_000_000, _ => "- ") },
        { "questions", Repeat(1_000_000, _ => "? ") },
        { "quotes", "state-dir: \"" + Repeat(500_000, _ => "\\\n ") },
        { "a folded text", "state-dir: >\n" + Repeat(500_000, _ => " a\n\n") },
        { "comments", Repeat(1_000_000, _ => "#\n") + "units: {}" },
    };

    private static string Targets(int count, string body) => "targets:\n" + Repeat(count, i => $"  iqn.2026-11.test:{i}:\n    {body}");

    [Theory]
    [MemberData(nameof(Large), DisableDiscoveryEnumeration = true)]
    public void LargeFilesAreAnsweredInTime(string what, string text)
    {
        var clock = Stopwatch.StartNew();
        var result = Parse(text);
        Assert.True(clock.Elapsed < s_limit, $"{what}: {clock.Elapsed}");
        Assert.Equal(result.Config is null, result.Errors.Any(e => !e.IsWarning));
        Assert.InRange(result.Errors.Count, 0, 200);
        Assert.All(result.Errors, e => Assert.InRange(e.Text.Length, 1, 1100));
    }

    /// <summary>A text that needs quotation marks, and has none, is a secret all the same.</summary>
    [Theory]
    [InlineData("secret: *hunter2")]
    [InlineData("secret: &hunter2 x")]
    [InlineData("secret: !hunter2 x")]
    [InlineData("secret: !<hunter2> x")]
    [InlineData("secret: abc, hunter2")]
    [InlineData("secret: abc, hunter2: 1")]
    [InlineData("secret: abc: hunter2")]
    [InlineData("secret: %hunter2")]
    [InlineData("secret: @hunter2")]
    [InlineData("secret: `hunter2")]
    [InlineData("secret: \"hunter2\\q\"")]
    [InlineData("secret: 'hunter2")]
    [InlineData("secret: \"hunter2")]
    [InlineData("secret: [hunter2]")]
    [InlineData("secret: {hunter2: hunter2}")]
    [InlineData("secret: hunter2, secret: hunter2")]
    [InlineData("secret: hunter2, secret-file: /none")]
    [InlineData("secret: hunter2, user: u")]
    [InlineData("secret: hunter2-hunter2\u0000")]
    [InlineData("secret: hunter2}")]
    [InlineData("secret: hunter2]")]
    public void NoMessageHasASecret(string credential)
    {
        foreach (string text in (string[])[$"targets: {{'iqn.2026-11.test:a': {{chap: [{{user: v, {credential}}}]}}}}", $"discovery:\n  chap:\n  - user: v\n    {credential}\n"])
            Assert.All(Parse(text).Errors, e => Assert.DoesNotContain("hunter2", e.Text, StringComparison.Ordinal));
    }

    /// <summary>As many warnings as are shown hide no error, and more errors than are shown make no file right.</summary>
    [Fact]
    public void WarningsHideNoError()
    {
        string unused = "units:\n" + Repeat(300, i => $"  disk{i}: {{kind: memory, size: 1M}}\n");
        var served = Parse(unused);
        Assert.NotNull(served.Config);
        Assert.Equal(100, served.Errors.Count);
        var refused = Parse("portals: [192.0.2.1:3260]\n" + unused + "targets: {'iqn.2026-11.test:a': {}}\n");
        Assert.Null(refused.Config);
        Assert.Contains("allow-anyone", Assert.Single(refused.Errors, e => !e.IsWarning).Text, StringComparison.Ordinal);
    }

    /// <summary>What is quoted from the file neither begins a line nor speaks to the terminal.</summary>
    [Fact]
    public void MessagesAreOneLineOfText() =>
        Assert.All(Parse("\"a\\e[31m\\nlunkit.yaml:1:1: all is well\": 1").Errors, e => Assert.DoesNotContain(e.Text, char.IsControl));
}
