using System.CommandLine;
using System.Runtime.InteropServices;
using LunKit.App.Serve;
using LunKit.Tcmu;
using Microsoft.Extensions.Logging;

namespace LunKit.App.Handle;

/// <summary><c>lunkit handle</c>: the handler process for the kernel's user backstores (TCMU).</summary>
internal static class HandleCommand
{
    private const string Details = """
        Answer the SCSI commands of the Linux kernel's target for its user backstores (TCMU). Needs root and the module target_core_user.

        A backstore is created in configfs (or with targetcli) with the configuration SUBTYPE/PATH; LunKit serves those whose subtype it knows:
          file/PATH        an image file, created with the size of the backstore if it does not exist
          memory/ANYTHING  a disk in memory, thin
          null/ANYTHING    takes writes, reads zeroes
        More by --subtype NAME=BACKSTORE, where BACKSTORE is as for lunkit serve and {path}, {size} and {block} stand for the device's.

        Examples:
          lunkit handle
          lunkit handle --subtype images=file:/srv/images/{path},size={size},direct
        """;

    public static Command Create()
    {
        var subtypes = new Option<string[]>("--subtype") { Description = "Another subtype, and what it opens; may be repeated", HelpName = "NAME=BACKSTORE" };
        var noReplies = new Option<bool>("--no-replies") { Description = "Do not make the kernel wait for replies (beside another handler, e.g. tcmu-runner)" };
        var level = new Option<LogLevel>("--log-level") { Description = "Trace, Debug, Information, Warning, Error or None", HelpName = "LEVEL", DefaultValueFactory = _ => LogLevel.Information };
        var command = new Command("handle", Details) { subtypes, noReplies, level };
        command.SetAction((result, _) => RunAsync(result.GetValue(subtypes) ?? [], !result.GetValue(noReplies), result.GetValue(level)));
        return command;
    }

    private static async Task<int> RunAsync(string[] extra, bool replies, LogLevel level)
    {
        var log = new ConsoleLogger(level);
        var subtypes = Subtype.BuiltIn.ToDictionary(s => s.Name);
        foreach (var subtype in extra.Select(Subtype.Parse)) subtypes[subtype.Name] = subtype;
        var stop = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        void Stop(PosixSignalContext context) => context.Cancel = stop.TrySetResult();
        using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Stop);
        using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Stop);
        KernelModules.Load("target_core_user");
        try
        {
            await using var handler = TcmuHandler.Start(subtypes.ToDictionary(s => s.Key, s => s.Value.Factory(log)), log, replies);
            using var service = TcmuService.TryStart(subtypes, log);
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
