using System.CommandLine;
using System.Globalization;
using System.Runtime.InteropServices;
using LunKit.App.Serve;
using LunKit.Backstores;
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

    private static readonly IReadOnlyDictionary<string, string> s_builtIn = new Dictionary<string, string>
    {
        ["file"] = "file:{path},size={size},block={block}", ["memory"] = "memory:{size},block={block}", ["null"] = "null:{size},block={block}",
    };

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
        var templates = new Dictionary<string, string>(s_builtIn);
        foreach (string text in extra)
        {
            int equals = text.IndexOf('=', StringComparison.Ordinal);
            if (equals < 1) throw new UserException($"--subtype '{text}': write NAME=BACKSTORE, e.g. images=file:/srv/{{path}},size={{size}}", 2);
            templates[text[..equals]] = text[(equals + 1)..];
        }
        var stop = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        void Stop(PosixSignalContext context) => context.Cancel = stop.TrySetResult();
        using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Stop);
        using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Stop);
        try
        {
            await using var handler = TcmuHandler.Start(templates.ToDictionary(t => t.Key, t => Factory(t.Value)), log, replies);
            Console.WriteLine($"LunKit handles {string.Join(", ", templates.Keys.Order(StringComparer.Ordinal))}");
            await stop.Task;
            ServeLog.StopsHandling(log);
        }
        catch (Exception e) when (e is TcmuException or ArgumentException)
        {
            throw new UserException(e.Message);
        }
        return 0;
    }

    private static TcmuHandlerFactory Factory(string template) => (config, _) =>
    {
        string text = template.Replace("{path}", config.Path, StringComparison.Ordinal)
            .Replace("{size}", config.SizeBytes.ToString(CultureInfo.InvariantCulture), StringComparison.Ordinal)
            .Replace("{block}", config.BlockSize.ToString(CultureInfo.InvariantCulture), StringComparison.Ordinal);
        try
        {
            return ValueTask.FromResult(BackstoreSpec.Parse(text).OpenStore(readOnly: false));
        }
        catch (UserException e)
        {
            throw new TcmuException(e.Message, e);
        }
    };
}
