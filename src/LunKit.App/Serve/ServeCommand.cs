using System.CommandLine;
using System.CommandLine.Parsing;
using System.Runtime.InteropServices;
using LunKit.App.Backstores;
using LunKit.App.CommandLine;
using LunKit.App.Config;
using LunKit.Linux;
using LunKit.LogicalUnits;
using LunKit.Targets;
using Microsoft.Extensions.Logging;

namespace LunKit.App.Serve;

/// <summary><c>lunkit serve</c>: serves backstores as the LUNs of one iSCSI target until it is told to stop.</summary>
internal static class ServeCommand
{
    internal const string DefaultPortal = "127.0.0.1:3260";

    private const string DefaultIqn = "iqn.2026-11.local.lunkit:disk", DefaultBackstore = "file:lunkit.img,size=10G";

    private static readonly string s_details = $"""
        Each BACKSTORE becomes LUN 0, 1, 2, ... of one target; without one a thin 10 GiB image lunkit.img of this folder is served.

        {BackstoresCommand.Overview()}
        Options of a backstore follow it after commas; `lunkit backstores KIND` shows those of a kind.
        SIZE: 512M, 10G, 1T (powers of 1024). SIGHUP makes LunKit take over, and report to initiators, the new size of images and devices that have grown.
        """;

    public static Command Create()
    {
        var backstores = new Argument<string[]>("BACKSTORE") { Arity = ArgumentArity.ZeroOrMore, Description = $"What to serve (default: {DefaultBackstore})" };
        var portals = new Option<string[]>("--portal") { Description = $"Address to listen on, HOST:PORT[,GROUP][,advertise=HOST:PORT]; may be repeated (default: {DefaultPortal})", HelpName = "HOST:PORT" };
        var iqn = new Option<string>("--iqn") { Description = "Name of the target", HelpName = "NAME", DefaultValueFactory = _ => DefaultIqn };
        var chap = new Option<string?>("--chap") { Description = "Credential that initiators must have (visible in the process list: prefer --chap-file)", HelpName = "USER:SECRET" };
        var mutual = new Option<string?>("--mutual-chap") { Description = "Credential with which the target proves itself to initiators that ask", HelpName = "USER:SECRET" };
        var chapFile = new Option<string?>("--chap-file") { Description = "File with a line USER:SECRET, and perhaps a second one for mutual CHAP", HelpName = "PATH" };
        var allow = new Option<string[]>("--allow") { Description = "Initiator that may log in; may be repeated (default: all)", HelpName = "INITIATOR-IQN" };
        var handlers = new Option<string>("--handlers") { Description = "Where handler processes of user: units connect: a path, or '@' and a name", HelpName = "PATH", DefaultValueFactory = _ => HandlerSocket.DefaultPath };
        var handlerMemory = new Option<string>("--handler-memory") { Description = "Shared memory that the data of all user: units may take together", HelpName = "SIZE", DefaultValueFactory = _ => "1G" };
        var readOnly = new Option<bool>("--read-only") { Description = "Refuse writes" };
        var writeCache = Words.OneOf("--write-cache", "State of the write cache at the start", "on", "on", "off");
        var exposed = new Option<bool>("--allow-anyone") { Description = "Serve other machines without CHAP or an allow list" };
        var explicitAlua = new Option<bool>("--explicit-alua") { Description = "Let initiators set the access states of port groups, for all others too" };
        var coldReset = new Option<bool>("--cold-reset")
        {
            Description = "Let initiators end the sessions of all others by TARGET COLD RESET",
        };
        var states = new Option<string>("--state-dir") { Description = "Folder that keeps identity and reservations of units that are no files", HelpName = "PATH", DefaultValueFactory = _ => StateFolder.DefaultPath };
        var file = new Option<string?>("--config") { Description = "Serve what this file says (docs/configuration.md), instead of BACKSTOREs and options", HelpName = "FILE" };
        var level = Words.Level(LogLevel.Information);
        var command = new AppCommand("serve", "Serve disks over iSCSI.", backstores, portals, iqn, chap, mutual, chapFile, allow, handlers, handlerMemory, readOnly,
            writeCache, exposed, explicitAlua, coldReset, states, file, level)
        {
            Details = s_details,
            Examples =
            [
                ("lunkit serve", "a thin 10 GiB lunkit.img in this folder"),
                ("lunkit serve memory:1G", "a RAM disk"),
                ("lunkit serve disk.img,size=100G other.img,readonly", "two LUNs"),
                ("lunkit serve disk.img,filter=delay:5ms", "a slow disk (lunkit backstores lists the filters)"),
                ("lunkit serve --portal 0.0.0.0:3260 --chap-file secret", "for other machines"),
                ("lunkit serve user:file//srv/d.img,size=10G,handler=auto", "a file, in a process of its own"),
                ("lunkit serve --config /etc/lunkit/lunkit.yaml", "several targets; SIGHUP reads the file again"),
            ],
        };
        command.SetAction((result, _) =>
        {
            if (result.GetValue(file) is { } config)
            {
                // An option that the file overrules silently would be a trap.
                if (result.CommandResult.Children.FirstOrDefault(c => c is OptionResult { Implicit: false } o ? o.Option != file && o.Option != level : c is ArgumentResult { Tokens.Count: > 0 }) is { } other)
                    throw new UserException($"{(other as OptionResult)?.Option.Name ?? "a BACKSTORE"} cannot stand beside --config: write it into {config}", 2);
                return RunFileAsync(config, result.GetResult(level) is { Implicit: false } ? result.GetValue(level) : null);
            }
            var chosen = result.GetValue(portals) is { Length: > 0 } given ? given : [DefaultPortal];
            var secrets = result.GetValue(chapFile) is { } path ? ServeOptions.ReadChapFile(path) : default;
            return RunAsync(new ServeOptions
            {
                Backstores = result.GetValue(backstores) is { Length: > 0 } specs ? specs : [DefaultBackstore],
                Portals = [.. chosen.Select(ServeOptions.ParsePortal)],
                Iqn = result.GetValue(iqn)!,
                Chap = result.GetValue(chap) is { } c ? ServeOptions.ParseCredential(c, "--chap") : secrets.Chap,
                MutualChap = result.GetValue(mutual) is { } m ? ServeOptions.ParseCredential(m, "--mutual-chap") : secrets.Mutual,
                ChapFile = result.GetValue(chapFile),
                HasSecretOnCommandLine = (result.GetValue(chap) ?? result.GetValue(mutual)) is not null,
                Allow = [.. (result.GetValue(allow) ?? []).Select(ServeOptions.CheckInitiator)],
                HandlerMemoryBytes = ByteSize.TryParse(result.GetValue(handlerMemory)!, out long memory) ? memory
                    : throw new UserException($"--handler-memory '{result.GetValue(handlerMemory)}' is not a size such as 512M", 2),
                HandlersPath = result.GetValue(handlers)!,
                ReadOnly = result.GetValue(readOnly),
                WriteCache = result.GetValue(writeCache) == "on",
                AllowAnyone = result.GetValue(exposed),
                ExplicitAlua = result.GetValue(explicitAlua),
                ColdReset = result.GetValue(coldReset),
                StatePath = result.GetValue(states)!,
                LogLevel = result.GetValue(level),
            });
        });
        return command;
    }

    private static async Task<int> RunAsync(ServeOptions options)
    {
        ServeOptions.CheckIqn(options.Iqn);
        var log = new ConsoleLogger(options.LogLevel);
        CheckAccess(options, log);
        return await RunAsync(options.ToConfig(), log, static server => server.RefreshSizesAsync());
    }

    /// <summary>Serves what a file says, and what it says later (SIGHUP).</summary>
    private static async Task<int> RunFileAsync(string path, LogLevel? level)
    {
        string file = Path.GetFullPath(path);
        var first = ConfigFile.Read(file);
        var config = Leveled(first.Checked(path));
        var log = new ConsoleLogger(config.LogLevel);
        Warn(first);
        return await RunAsync(config, log, ReloadAsync);

        LunKitConfig Leveled(LunKitConfig read) => level is { } given ? read with { LogLevel = given } : read;

        void Warn(ConfigResult result)
        {
            foreach (var warning in result.Errors.Where(e => e.IsWarning)) ServeLog.Doubtful(log, $"{file}:{warning.Place.Line}:{warning.Place.Column}: {warning.Text}");
        }

        async Task ReloadAsync(Server server)
        {
            try
            {
                var result = ConfigFile.Read(file);
                foreach (var error in result.Errors.Where(e => !e.IsWarning)) ServeLog.ReloadRefused(log, ConfigErrors.Line(file, error));
                if (result.Config is not { } next) return;
                Warn(result);
                await server.ReloadAsync(Leveled(next));
                await server.RefreshSizesAsync();
            }
            catch (UserException e)
            {
                ServeLog.ReloadRefused(log, e.Message);
            }
        }
    }

    private static async Task<int> RunAsync(LunKitConfig config, ConsoleLogger log, Func<Server, Task> onHangUp)
    {
        Preload.All();
        var stop = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        void Stop(PosixSignalContext context)
        {
            // A second signal ends the process at once, as the signal itself would.
            context.Cancel = stop.TrySetResult();
        }
        using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Stop);
        using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Stop);
        using var manager = new ServiceManager();
        var server = await Server.StartAsync(config, log);
        Signals.HearHangUp();
        using var hangUp = PosixSignalRegistration.Create(PosixSignal.SIGHUP, context =>
        {
            context.Cancel = true;
            _ = HangUpAsync();
        });
        manager.Ready(server.Status);
        await using var watchdog = manager.WatchdogPause is { } pause ? new Watchdog(pause, () => _ = server.Status, manager.Alive) : null;
        await ShowAsync(server, log, stop.Task);
        await stop.Task;
        manager.Stopping();
        ServeLog.Stopping(log);
        await server.DisposeAsync();
        ServeLog.Stopped(log);
        return 0;

        async Task HangUpAsync()
        {
            // Not on the thread of signals, which a file on a hung file system would hold up.
            await WorkQueue.Pool.YieldAsync();
            manager.Reloading();
            await onHangUp(server);
            manager.Ready(server.Status);
        }
    }

    /// <summary>Shows what is served, and how it goes. A terminal that has gone, or a file on a full disk, ends the show and not the service.</summary>
    private static async Task ShowAsync(Server server, ConsoleLogger log, Task stop)
    {
        try
        {
            Announcement.Print(Console.Out, server);
            await Throughput.ShowAsync(server, log, stop);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            ServeLog.NotShown(log, e.Message);
        }
    }

    private static void CheckAccess(ServeOptions options, ConsoleLogger log)
    {
        if (options.MutualChap is not null && options.Chap is null) throw new UserException("--mutual-chap needs --chap: the initiator proves itself first", 2);
        if (options.MutualChap is { } m && options.Chap is { } c && m.Secret == c.Secret)
            throw new UserException("both directions of CHAP have the same secret; RFC 7143 forbids that, since one could be reflected as the other", 2);
        foreach (var credential in new[] { options.Chap, options.MutualChap })
            if (credential is not null && credential.Secret.Length < 12) ServeLog.ShortSecret(log, credential.Name);
        if (options.HasSecretOnCommandLine) ServeLog.SecretIsOnCommandLine(log);
        if (options.ChapFile is { } secret && (File.GetUnixFileMode(secret) & (UnixFileMode.GroupRead | UnixFileMode.OtherRead)) != 0) ServeLog.SecretIsReadable(log, secret);
        if (!options.IsExposed || options.Chap is not null || options.Allow.Count > 0) return;
        if (!options.AllowAnyone)
            throw new UserException("a portal beyond loopback lets anyone read and write the disk: give --chap-file, --chap or --allow, or say --allow-anyone", 2);
        ServeLog.Exposed(log);
    }
}
