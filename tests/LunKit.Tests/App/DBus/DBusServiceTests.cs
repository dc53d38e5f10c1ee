using System.Diagnostics;
using System.Text;
using LunKit.App.Handle;
using LunKit.Tests.Tcmu;
using Tmds.DBus.Protocol;

namespace LunKit.Tests.App.DBus;

/// <summary>What targetcli and others see on the bus, on a real dbus-daemon.</summary>
public sealed class DBusServiceTests : IDisposable
{
    private const string Name = "org.kernel.TCMUService1", Root = "/org/kernel/TCMUService1", File = Root + "/file";
    private const string Properties = "org.freedesktop.DBus.Properties", Introspectable = "org.freedesktop.DBus.Introspectable", Objects = "org.freedesktop.DBus.ObjectManager";
    private static readonly Dictionary<string, Subtype> s_subtypes = Subtype.BuiltIn.Append(new Subtype("not-a-path", "null:{size}", "has no object")).ToDictionary(s => s.Name);

    private readonly string _folder = Directory.CreateTempSubdirectory("lunkit-dbus-").FullName;
    private readonly ListLog _log = new();
    private Process? _daemon;

    private string Address => $"unix:path={_folder}/bus";

    private async Task StartDaemonAsync()
    {
        string config = Path.Combine(_folder, "bus.conf");
        await System.IO.File.WriteAllTextAsync(config, $"""
            <busconfig>
              <type>system</type><listen>{Address}</listen><auth>EXTERNAL</auth>
              <policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="{Name}"/></policy>
            </busconfig>
            """);
        try
        {
            _daemon = Process.Start(new ProcessStartInfo("dbus-daemon", ["--config-file=" + config, "--nofork", "--nopidfile", "--print-address"]) { RedirectStandardOutput = true, RedirectStandardError = true });
        }
        catch (System.ComponentModel.Win32Exception)
        {
            Assert.Skip("needs dbus-daemon");
        }
        _daemon!.BeginErrorReadLine();
        Assert.NotNull(await _daemon.StandardOutput.ReadLineAsync(TestContext.Current.CancellationToken));
    }

    private void StopDaemon()
    {
        if (_daemon is null) return;
        _daemon.Kill();
        _daemon.WaitForExit();
        _daemon.Dispose();
        _daemon = null;
    }

    public void Dispose()
    {
        StopDaemon();
        Directory.Delete(_folder, recursive: true);
    }

    private Task<TcmuService?> StartAsync() => TcmuService.TryStartAsync(s_subtypes, _log, new TaskCompletionSource().Task, Address);

    private async Task<DBusConnection> ConnectAsync()
    {
        var client = new DBusConnection(new DBusConnectionOptions(Address));
        await client.ConnectAsync();
        return client;
    }

    private static Task<T> CallAsync<T>(DBusConnection client, string path, string? @interface, string member, Func<Reader, T> read, params string[] arguments)
    {
        using var writer = client.GetMessageWriter();
        writer.WriteMethodCallHeader(Name, path, @interface, member, arguments.Length == 0 ? null : new string('s', arguments.Length));
        foreach (string argument in arguments) writer.WriteString(Encoding.UTF8.GetBytes(argument));
        return client.CallMethodAsync(writer.CreateMessage(), (m, _) => read(m.GetBodyReader()));
    }

    private static async Task<string> RefusalAsync(DBusConnection client, string path, string? @interface, string member, params string[] arguments) =>
        (await Assert.ThrowsAsync<DBusErrorReplyException>(() => CallAsync(client, path, @interface, member, _ => 0, arguments))).ErrorName;

    private static (bool, string) Verdict(Reader reader) => (reader.ReadBool(), reader.ReadString());

    [Theory]
    [InlineData("org.kernel.TCMUService1", "org.freedesktop.DBus.Properties", "org.freedesktop.DBus.Introspectable", "org.freedesktop.DBus.ObjectManager")]
    [InlineData(null, null, null, null)]
    public async Task EveryMethodAnswers(string? own, string? properties, string? introspectable, string? objects)
    {
        await StartDaemonAsync();
        using var service = await StartAsync();
        Assert.NotNull(service);
        using var client = await ConnectAsync();

        var managed = await CallAsync(client, Root, objects, "GetManagedObjects", r =>
        {
            var found = new Dictionary<string, string>();
            var end = r.ReadDictionaryStart();
            while (r.HasNext(end))
            {
                string path = r.ReadObjectPathAsString();
                var interfaces = r.ReadDictionaryStart();
                while (r.HasNext(interfaces))
                {
                    Assert.Equal(Name, r.ReadString());
                    found[path] = Assert.Single(r.ReadDictionaryOfStringToVariantValue(), p => p.Key == "ConfigDesc").Value.GetString();
                }
            }
            return found;
        });
        Assert.Equal(Subtype.BuiltIn.ToDictionary(s => $"{Root}/{s.Name}", s => s.Description), managed);

        string root = await CallAsync(client, Root, introspectable, "Introspect", r => r.ReadString());
        Assert.Equal("""<node><interface name="org.freedesktop.DBus.ObjectManager"><method name="GetManagedObjects"><arg type="a{oa{sa{sv}}}" direction="out"/></method></interface>""" +
            string.Concat(Subtype.BuiltIn.Select(s => $"<node name=\"{s.Name}\"/>")) + "</node>", root);
        Assert.Equal("""<node><interface name="org.kernel.TCMUService1"><method name="CheckConfig"><arg type="s" direction="in"/><arg type="b" direction="out"/><arg type="s" direction="out"/></method><property name="ConfigDesc" type="s" access="read"/></interface></node>""",
            await CallAsync(client, File, introspectable, "Introspect", r => r.ReadString()));

        Assert.Equal(s_subtypes["file"].Description, (await CallAsync(client, File, properties, "GetAll", r => r.ReadDictionaryOfStringToVariantValue(), Name))["ConfigDesc"].GetString());
        Assert.Equal(s_subtypes["file"].Description, await CallAsync(client, File, properties, "Get", r => r.ReadVariantValue().GetString(), Name, "ConfigDesc"));

        Assert.Equal((true, ""), await CallAsync(client, File, own, "CheckConfig", Verdict, $"file/{_folder}/x.img"));
        Assert.Equal((false, "the folder /nowhere does not exist"), await CallAsync(client, File, own, "CheckConfig", Verdict, "file//nowhere/x.img"));
        Assert.Equal((false, "'x' does not begin with file/"), await CallAsync(client, File, own, "CheckConfig", Verdict, "x"));
        Assert.Equal(0, await CallAsync(client, Root, "org.freedesktop.DBus.Peer", "Ping", _ => 0));
    }

    [Fact]
    public async Task WhatIsNotThereIsRefusedByItsName()
    {
        await StartDaemonAsync();
        using var service = await StartAsync();
        using var client = await ConnectAsync();
        const string error = "org.freedesktop.DBus.Error.";
        Assert.Equal(error + "UnknownObject", await RefusalAsync(client, "/", Introspectable, "Introspect"));
        Assert.Equal(error + "UnknownObject", await RefusalAsync(client, "/org/kernel", Introspectable, "Introspect"));
        Assert.Equal(error + "UnknownObject", await RefusalAsync(client, Root + "/absent", Name, "CheckConfig", "x"));
        Assert.Equal(error + "UnknownObject", await RefusalAsync(client, File + "/below", Name, "CheckConfig", "x"));
        Assert.Equal(error + "UnknownMethod", await RefusalAsync(client, Root, Name, "CheckConfig", "x"));
        Assert.Equal(error + "UnknownMethod", await RefusalAsync(client, File, Objects, "GetManagedObjects"));
        Assert.Equal(error + "UnknownMethod", await RefusalAsync(client, File, Properties, "Set", Name, "ConfigDesc"));
        Assert.Equal(error + "UnknownProperty", await RefusalAsync(client, File, Properties, "Get", Name, "Other"));
        Assert.Equal(error + "UnknownProperty", await RefusalAsync(client, File, Properties, "Get"));
        Assert.Equal(error + "InvalidArgs", await RefusalAsync(client, File, Name, "CheckConfig"));
    }

    [Fact]
    public async Task LongTextsAndManyCallersAreAnswered()
    {
        await StartDaemonAsync();
        using var service = await StartAsync();
        using var client = await ConnectAsync();
        string odd = string.Concat(Enumerable.Repeat("a=,;{}\"\\\n\u00e9\u2603\ud83d\ude00", 1000));
        Assert.Equal((false, $"'{odd}' does not begin with file/"), await CallAsync(client, File, Name, "CheckConfig", Verdict, odd));
        foreach (string text in (string[])["file/" + odd, "file//nowhere/" + new string('/', 10_000) + "x", "file//nowhere/" + new string('x', 1 << 20) + "/x"])
            Assert.False((await CallAsync(client, File, Name, "CheckConfig", Verdict, text)).Item1);
        // The bus itself allows 128 pending calls of a caller.
        for (int round = 0; round < 20; round++)
        {
            var many = Enumerable.Range(0, 100).Select(i => CallAsync(client, File, Name, "CheckConfig", Verdict, $"x{i}")).ToList();
            for (int i = 0; i < many.Count; i++) Assert.Equal((false, $"'x{i}' does not begin with file/"), await many[i]);
        }
        Assert.Empty(_log.Lines);
    }

    [Fact]
    public async Task TheNameIsOnesAtATime()
    {
        await StartDaemonAsync();
        using (var first = await StartAsync())
        {
            Assert.NotNull(first);
            Assert.Null(await StartAsync());
            Assert.Contains($"the name {Name} is not available", Assert.Single(_log.Lines), StringComparison.Ordinal);
        }
        using var second = await StartAsync();
        Assert.NotNull(second);
    }

    [Fact]
    public async Task ABusThatEndsIsReportedAndAnotherServesTheNextStart()
    {
        await StartDaemonAsync();
        using var first = await StartAsync();
        StopDaemon();
        var clock = Stopwatch.StartNew();
        while (_log.Lines.Count == 0 && clock.Elapsed < TimeSpan.FromSeconds(20)) await Task.Delay(10, TestContext.Current.CancellationToken);
        Assert.StartsWith("targetcli does not see this handler any more: ", Assert.Single(_log.Lines), StringComparison.Ordinal);
        await StartDaemonAsync();
        using var second = await StartAsync();
        using var client = await ConnectAsync();
        Assert.Equal((true, ""), await CallAsync(client, File, Name, "CheckConfig", Verdict, $"file/{_folder}/x.img"));
    }
}
