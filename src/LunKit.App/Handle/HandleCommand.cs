using System.CommandLine;
using System.Runtime.InteropServices;
using LunKit.App.CommandLine;
using LunKit.App.Serve;
using LunKit.Tcmu;
using LunKit.Tcmu.Devices;
using Microsoft.Extensions.Logging;

namespace LunKit.App.Handle;

/// <summary><c>lunkit handle</c>: the handler process for the kernel's user backstores (TCMU).</summary>
internal static class HandleCommand
{
    private static readonly string s_details = $"""
        The Linux kernel's target hands the SCSI commands of its user backstores (TCMU) to this process, which needs root and the module
        target_core_user. With --target it answers for the user: units of a LunKit target (lunkit serve user:...), which needs neither.

        A backstore is created in configfs (or with targetcli), or named on lunkit serve's command line, with the configuration SUBTYPE/PATH. LunKit
        serves these subtypes, and those of --subtype NAME=BACKSTORE, where BACKSTORE is as for lunkit serve and {"{path}"}, {"{size}"} and {"{block}"} stand for the device's:
        {string.Join("\n", Subtype.BuiltIn.Select(s => $"  {s.Name + "/...",-12} {s.Description}"))}
        """;


    public static Command Create()
    {
        var subtypes = new Option<string[]>("--subtype") { Description = "Another subtype, and what it opens; may be repeated", HelpName = "NAME=BACKSTORE" };
        var noReplies = new Option<bool>("--no-replies") { Description = "Do not make the kernel wait for replies (beside another handler, e.g. tcmu-runner)" };
        var target = new Option<string?>("--target") { Description = "Handle the devices of the LunKit target that listens at PATH, instead of the kernel's", HelpName = "PATH" };
        var users = new Option<uint[]>("--target-user")
        {
            Description = "User id that the target may have besides root and that of this process; may be repeated. The target says which files are opened", HelpName = "UID",
            CustomParser = Words.UserIds,
        };
        var states = new Option<string>("--state-dir") { Description = "Folder that keeps saved mode pages, and erasures that have not ended, of units that are no files", HelpName = "PATH", DefaultValueFactory = _ => StateFolder.DefaultPath };
        var level = Words.Level(LogLevel.Information);
        var command = new AppCommand("handle", "Answer the SCSI commands of the Linux kernel's user backstores (TCMU), or of a LunKit target.", subtypes, target, users, noReplies, states, level)
        {
            Details = s_details,
            Examples =
            [
                ("lunkit handle", "for the kernel's target, in tcmu-runner's place"),
                ("lunkit handle --target /run/lunkit/handlers.sock", "for the user: units of a lunkit serve"),
                ("lunkit handle --subtype images=file:/srv/images/{path},size={size},direct", "a subtype of your own"),
            ],
        };
        command.SetAction((result, _) => RunAsync(
            result.GetValue(subtypes) ?? [], result.GetValue(target), result.GetValue(users) ?? [], !result.GetValue(noReplies), result.GetValue(states)!, result.GetValue(level)));
        return command;
    }

    /// <summary>The target that started this process is gone when standard input ends.</summary>
    private static async Task StopWithInputAsync(TaskCompletionSource stop)
    {
        await using var input = Console.OpenStandardInput();
        var nothing = new byte[64];
        while (await input.ReadAsync(nothing) > 0) { }
        stop.TrySetResult();
    }

    private static void PrepareKernel()
    {
        if (!Environment.IsPrivilegedProcess) throw new UserException("handling the kernel's devices needs root; those of a LunKit target do not: lunkit handle --target PATH");
        KernelModules.Load("target_core_user");
        if (!KernelModules.IsLoaded("target_core_user") && !KernelModules.IsAvailable("target_core_user"))
            throw new UserException("this kernel has no TCMU (module target_core_user); `lunkit doctor` says more. For the devices of a LunKit target: lunkit handle --target PATH");
    }

    private static async Task<int> RunAsync(string[] extra, string? target, uint[] users, bool replies, string statePath, LogLevel level)
    {
        Preload.All();
        var log = new ConsoleLogger(level);
        var subtypes = Subtype.BuiltIn.ToDictionary(s => s.Name);
        foreach (var subtype in extra.Select(Subtype.Parse)) subtypes[subtype.Name] = subtype;
        var stop = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        void Stop(PosixSignalContext context) => context.Cancel = stop.TrySetResult();
        using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Stop);
        using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Stop);
        if (Environment.GetEnvironmentVariable(HandlerProcess.SupervisedVariable) == "1") _ = StopWithInputAsync(stop);
        if (target is null) PrepareKernel();
        try
        {
            var states = new StateFolder(Path.GetFullPath(statePath), log);
            var factories = subtypes.ToDictionary(s => s.Key, s => s.Value.Factory(log, states));
            await using var handler = target is null ? TcmuHandler.Start(factories, log, replies) : TcmuHandler.Connect(target, factories, log, users);
            using var service = target is null ? await TcmuService.TryStartAsync(subtypes, log, stop.Task) : null;
            Console.WriteLine($"LunKit handles {string.Join(", ", subtypes.Keys.Order(StringComparer.Ordinal))}");
            await stop.Task;
            if (target is null) ServeLog.StopsHandling(log);
            else ServeLog.StopsHandlingForTarget(log);
        }
        catch (Exception e) when (e is TcmuException or ArgumentException)
        {
            throw new UserException(e.Message);
        }
        return 0;
    }
}
