using LunKit.App.Config;
using LunKit.App.Serve;
using LunKit.Backstores;
using LunKit.Iscsi.Initiator;
using LunKit.LogicalUnits;
using LunKit.Scsi;
using Microsoft.Extensions.Logging;

namespace LunKit.Tests.App.Config;

/// <summary>A configuration that changes while initiators use what it serves.</summary>
public sealed class ReloadTests : IDisposable
{
    private const string One = "iqn.2026-11.test:one", Two = "iqn.2026-11.test:two", Initiator = "iqn.2026-11.test:initiator";
    private readonly string _folder = Directory.CreateTempSubdirectory("lunkit-reload-").FullName;
    private readonly RecordingLog _log = new();

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private sealed class RecordingLog : ILogger
    {
        private readonly List<string> _lines = [];
        public IReadOnlyList<string> Lines { get { lock (_lines) return [.. _lines]; } }
        public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;
        public bool IsEnabled(LogLevel logLevel) => true;
        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            lock (_lines) _lines.Add($"[{eventId.Id}] {formatter(state, exception)}");
        }
        public void Clear() { lock (_lines) _lines.Clear(); }
    }

    private LunKitConfig Config(string units, string targets, string more = "") =>
        ConfigFile.Parse($"portals: ['127.0.0.1:0']\nstate-dir: {_folder}\nunits: {{{units}}}\ntargets: {{{targets}}}\n{more}").Checked("test");

    private Task<Server> StartAsync(string units, string targets) => Server.StartAsync(Config(units, targets), _log);

    private static async Task<IscsiInitiator> ConnectAsync(Server server, string target, params int[] luns)
    {
        var initiator = await IscsiInitiator.ConnectAsync(new InitiatorOptions { Portal = server.Portals[0].EndPoint, TargetName = target, InitiatorName = Initiator });
        foreach (int lun in luns) await initiator.ExecuteAsync(lun, new byte[6]);
        return initiator;
    }

    private static async Task<long> BlocksAsync(IscsiInitiator initiator, int lun)
    {
        var answer = await initiator.ExecuteAsync(lun, [0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], dataInLength: 8);
        return System.Buffers.Binary.BinaryPrimitives.ReadUInt32BigEndian(answer.Data) + 1L;
    }

    private string Image(string name, string size = "1M") => $"{name}: {{kind: file, path: {_folder}/{name}.img, size: {size}}}";

    /// <summary>What stays goes on, without a unit attention; what comes and goes is told.</summary>
    [Fact]
    public async Task UnitsAndTargetsComeAndGo()
    {
        await using var server = await StartAsync($"{Image("a")}, {Image("b")}", $"'{One}': {{luns: {{0: a, 1: b}}}}, '{Two}': {{luns: {{0: b}}}}");
        await using var one = await ConnectAsync(server, One, 0, 1);
        await using var two = await ConnectAsync(server, Two, 0);
        var next = Config($"{Image("a")}, {Image("c")}", $"'{One}': {{luns: {{0: a, 5: c}}}}, '{Two}': {{luns: {{0: a}}}}");
        await server.ReloadAsync(next);
        Assert.Equal(Sense.ReportedLunsChanged, (await one.ExecuteAsync(0, new byte[6])).SenseCode);
        Assert.Equal(ScsiStatus.Good, (await one.ExecuteAsync(0, new byte[6])).Status);
        Assert.Equal(Sense.LogicalUnitNotSupported, (await one.ExecuteAsync(1, new byte[6])).SenseCode);
        await one.ExecuteAsync(5, new byte[6]);
        Assert.Equal(2048, await BlocksAsync(one, 5));
        // What was removed is closed: another may have it.
        await using (var again = FileBackstore.Open(new() { Path = $"{_folder}/b.img" })) Assert.Equal(1 << 20, again.Geometry.LengthBytes);
        _log.Clear();
        await server.ReloadAsync(next);
        Assert.Equal(["[5022] The configuration has been read again: 0 changes"], _log.Lines);
        Assert.Equal(ScsiStatus.Good, (await one.ExecuteAsync(0, new byte[6])).Status);
        await server.ReloadAsync(Config("", ""));
        Assert.Empty(server.Units);
        Assert.Equal(0, server.SessionCount);
    }

    [Fact]
    public async Task ADiskGrowsAndItsFiltersChange()
    {
        await using var server = await StartAsync($"a: {{kind: file, path: {_folder}/a.img, size: 1M, filters: ['readonly:off']}}", $"'{One}': {{luns: {{0: a}}}}");
        await using var one = await ConnectAsync(server, One, 0);
        byte[] write = [0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0];
        Assert.Equal(ScsiStatus.Good, (await one.ExecuteAsync(0, write, new byte[512])).Status);
        await server.ReloadAsync(Config($"a: {{kind: file, path: {_folder}/a.img, size: 2M, filters: ['readonly:off']}}", $"'{One}': {{luns: {{0: a}}}}"));
        Assert.Equal(Sense.CapacityChanged, (await one.ExecuteAsync(0, new byte[6])).SenseCode);
        Assert.Equal(4096, await BlocksAsync(one, 0));
        await server.ReloadAsync(Config($"a: {{kind: file, path: {_folder}/a.img, size: 2M, filters: [readonly]}}", $"'{One}': {{luns: {{0: a}}}}"));
        Assert.Equal(ScsiStatus.CheckCondition, (await one.ExecuteAsync(0, write, new byte[512])).Status);
        // What cannot be done afterwards is told.
        await server.ReloadAsync(Config($"a: {{kind: file, path: {_folder}/a.img, size: 3M, filters: [readonly]}}", $"'{One}': {{luns: {{0: a}}}}"));
        Assert.Contains(_log.Lines, l => l.StartsWith("[5006]", StringComparison.Ordinal));
    }

    /// <summary>A reload that cannot be done as a whole changes nothing.</summary>
    [Theory]
    [InlineData("c: {kind: file, path: /nowhere/c.img, size: 1M}", "0: a", "/nowhere")]
    [InlineData("c: {kind: memory, size: 2M, serial: s}", "0: c", "memory:1M cannot become", true)]
    [InlineData("c: {kind: memory, size: 1M, serial: t}", "0: c", "serial cannot change from s to t", true)]
    public async Task WhatCannotBeDoneChangesNothing(string unit, string luns, string reason, bool replaces = false)
    {
        await using var server = await StartAsync($"{Image("a")}, c: {{kind: memory, size: 1M, serial: s}}", $"'{One}': {{luns: {{0: a, 1: c}}}}");
        await using var one = await ConnectAsync(server, One, 0, 1);
        string others = replaces ? Image("a") : $"{Image("a")}, {Image("b")}";
        _log.Clear();
        await server.ReloadAsync(Config($"{others}, {(replaces ? unit : unit.Replace("c:", "d:", StringComparison.Ordinal))}", $"'{One}': {{luns: {{{luns}}}}}"));
        Assert.Contains(_log.Lines, l => l.StartsWith("[5023]", StringComparison.Ordinal) && l.Contains(reason, StringComparison.Ordinal));
        foreach (int lun in (int[])[0, 1]) Assert.Equal(ScsiStatus.Good, (await one.ExecuteAsync(lun, new byte[6])).Status);
        Assert.Equal(2, server.Units.Count);
        // Nothing is left of what had been opened.
        Assert.False(File.Exists($"{_folder}/b.img"));
    }

    /// <summary>Initiators that are no longer named are logged out, and cannot come back; the others notice nothing.</summary>
    [Fact]
    public async Task WhoIsNoLongerAdmittedGoes()
    {
        await using var server = await StartAsync(Image("a"), $"'{One}': {{luns: {{0: a}}}}");
        await using var one = await ConnectAsync(server, One, 0);
        await server.ReloadAsync(Config(Image("a"), $"'{One}': {{luns: {{0: a}}, acls: {{'iqn.2026-11.test:other': {{}}}}}}"));
        await Assert.ThrowsAnyAsync<Exception>(() => one.ExecuteAsync(0, new byte[6]));
        await Assert.ThrowsAnyAsync<Exception>(() => ConnectAsync(server, One));
        Assert.Contains(_log.Lines, l => l.Contains("only the initiators of acls may log in", StringComparison.Ordinal));
    }

    [Fact]
    public async Task WhatNeedsARestartIsSaidEachTime()
    {
        await using var server = await StartAsync(Image("a"), $"'{One}': {{luns: {{0: a}}}}");
        for (int i = 0; i < 2; i++)
        {
            _log.Clear();
            await server.ReloadAsync(Config(Image("a"), $"'{One}': {{luns: {{0: a}}}}", "limits: {queue-depth: 8}\ncold-reset: true\n"));
            Assert.Equal(2, _log.Lines.Count(l => l.StartsWith("[5025]", StringComparison.Ordinal)));
        }
        Assert.Equal(256, server.Config.Limits.QueueDepth);
    }

    /// <summary>Whoever reloads while it stops changes nothing any more.</summary>
    [Fact]
    public async Task AReloadWhileItStopsDoesNothing()
    {
        var server = await StartAsync(Image("a"), $"'{One}': {{luns: {{0: a}}}}");
        var stopping = server.DisposeAsync().AsTask();
        await server.ReloadAsync(Config(Image("b"), ""));
        await stopping;
        Assert.False(File.Exists($"{_folder}/b.img"));
    }
}
