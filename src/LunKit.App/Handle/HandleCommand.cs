using System.CommandLine;
using System.Runtime.InteropServices;
using LunKit.App.Serve;
using LunKit.Tcmu;
using LunKit.Tcmu.Devices;
using Microsoft.Extensions.Logging;

namespace LunKit.App.Handle;

/// <summary><c>lunkit handle</c>: the handler process for the kernel's user backstores (TCMU).</summary>
internal static class HandleCommand
{
    private const string Details = """
        Answer the SCSI commands of the Linux kernel's target for its user backstores (TCMU), which needs root and the module target_core_user; or
        with --target those of a LunKit target (lunkit serve user:...), which needs neither.

        A backstore is created in configfs (or with targetcli), or named on lunkit serve's command line, with the configuration SUBTYPE/PATH; LunKit serves those whose subtype it knows:
          file/PATH        an image file, created with the size of the backstore if it does not exist
          block/PATH       a block device
          rbd/POOL/IMAGE[;conf=PATH][;id=USER][;osd_op_timeout=SECONDS]   a Ceph RBD image, as tcmu-runner names it
          glfs/VOLUME@HOST/PATH                                           a file on a Gluster volume, likewise
          pscsi/PATH       a real SCSI device, e.g. /dev/sg3
          memory/ANYTHING  a disk in memory, thin
          null/ANYTHING    takes writes, reads zeroes
        More by --subtype NAME=BACKSTORE, where BACKSTORE is as for lunkit serve and {path}, {size} and {block} stand for the device's.

        Examples:
          lunkit handle
          lunkit handle --target /run/lunkit/handlers.sock
          lunkit handle --subtype images=file:/srv/images/{path},size={size},direct
        """;

    public static Command Create()
    {
        var subtypes = new Option<string[]>("--subtype") { Description = "Another subtype, and what it opens; may be repeated", HelpName = "NAME=BACKSTORE" };
        var noReplies = new Option<bool>("--no-replies") { Description = "Do not make the kernel wait for replies (beside another handler, e.g. tcmu-runner)" };
        var target = new Option<string?>("--target") { Description = "Handle the devices of the LunKit target that listens at PATH, instead of the kernel's", HelpName = "PATH" };
        var users = new Option<uint[]>("--target-user") { Description = "User id that the target may have besides root and this process's own; may be repeated. It says which files are opened", HelpName = "UID" };
        var level = new Option<LogLevel>("--log-level") { Description = "Trace, Debug, Information, Warning, Error or None", HelpName = "LEVEL", DefaultValueFactory = _ => LogLevel.Information };
        var command = new Command("handle", Details) { subtypes, target, users, noReplies, level };
        command.SetAction((result, _) => RunAsync(
            result.GetValue(subtypes) ?? [], result.GetValue(target), result.GetValue(users) ?? [], !result.GetValue(noReplies), result.GetValue(level)));
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

    private static async Task<int> RunAsync(string[] extra, string? target, uint[] users, bool replies, LogLevel level)
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
        if (target is null) KernelModules.Load("target_core_user");
        try
        {
            var factories = subtypes.ToDictionary(s => s.Key, s => s.Value.Factory(log));
            await using var handler = target is null ? TcmuHandler.Start(factories, log, replies) : TcmuHandler.Connect(target, factories, log, users);
            using var service = target is null ? await TcmuService.TryStartAsync(subtypes, log, stop.Task) : null;
            Console.WriteLine($"LunKit handles {string.Join(", ", subtypes.Keys.Order(StringComparer.Ordinal))}");
            await stop.Task;
            ServeLog.StopsHandling(log);
        }
        catch (Exception e) when (e is TcmuException or ArgumentException)
        {
            throw new UserException(e.Message);
        }
        return 0;
    }
}
