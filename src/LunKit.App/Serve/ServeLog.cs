using Microsoft.Extensions.Logging;

namespace LunKit.App.Serve;

/// <summary>Log messages of the executable; event ids 5000 to 5999, never reused.</summary>
internal static partial class ServeLog
{
    [LoggerMessage(5001, LogLevel.Information, "Stopping: initiators are asked to log out, caches are flushed")]
    public static partial void Stopping(ILogger log);

    [LoggerMessage(5002, LogLevel.Information, "Stopped")]
    public static partial void Stopped(ILogger log);

    [LoggerMessage(5003, LogLevel.Warning, "The CHAP secret of {Name} has fewer than 12 characters; a listener could guess it")]
    public static partial void ShortSecret(ILogger log, string name);

    [LoggerMessage(5004, LogLevel.Warning, "Anyone who reaches the portal can read and write the disk (--allow-anyone)")]
    public static partial void Exposed(ILogger log);

    [LoggerMessage(5005, LogLevel.Information, "{Sessions} sessions, {Iops:F0} commands/s, {Read}/s read, {Written}/s written")]
    public static partial void Throughput(ILogger log, int sessions, double iops, string read, string written);

    [LoggerMessage(5006, LogLevel.Warning, "{Path} keeps its size: {Reason}")]
    public static partial void NotResized(ILogger log, string path, string reason);

    [LoggerMessage(5007, LogLevel.Information, "Stopping: commands that run are finished, caches are flushed; the kernel keeps the devices")]
    public static partial void StopsHandling(ILogger log);

    [LoggerMessage(5008, LogLevel.Information, "targetcli will not see this handler: {Reason}")]
    public static partial void NoBus(ILogger log, string reason);

    [LoggerMessage(5009, LogLevel.Warning, "targetcli does not see this handler any more: {Reason}")]
    public static partial void BusLost(ILogger log, string reason);

    [LoggerMessage(5010, LogLevel.Information, "Handler '{Command}' runs as process {ProcessId}")]
    public static partial void HandlerStarted(ILogger log, string command, int processId);

    [LoggerMessage(5011, LogLevel.Warning, "Handler '{Command}' ended ({End}); it is started again in {Seconds:F1} s")]
    public static partial void HandlerEnded(ILogger log, string command, string end, double seconds);

    [LoggerMessage(5012, LogLevel.Information, "{Unit}: identity, reservations and saved mode pages are kept in {File}")]
    public static partial void StateIsIn(ILogger log, string unit, string file);

    [LoggerMessage(5013, LogLevel.Warning, "{Unit}: {File} cannot keep its state ({Reason}): reservations end with LunKit, and initiators that ask for more (APTPL) are refused; --state-dir or state= name another place")]
    public static partial void StateIsVolatile(ILogger log, string unit, string file, string reason);

    [LoggerMessage(5014, LogLevel.Warning, "The standard output takes nothing any more: {Reason}")]
    public static partial void NotShown(ILogger log, string reason);

    [LoggerMessage(5015, LogLevel.Warning, "{Backstore}: has {Bytes} bytes, more than its size=, and is served as it is: a size creates and grows, and cuts nothing off")]
    public static partial void LargerThanSize(ILogger log, string backstore, long bytes);

    [LoggerMessage(5016, LogLevel.Warning, "Other users of this machine can read the CHAP secret in {Path}: chmod 600 {Path}")]
    public static partial void SecretIsReadable(ILogger log, string path);

    [LoggerMessage(5017, LogLevel.Information, "Stopping: commands that run are finished, caches are flushed")]
    public static partial void StopsHandlingForTarget(ILogger log);

    [LoggerMessage(5020, LogLevel.Warning, "{Unit}: its image has been deleted: it is served on, and its data goes when LunKit ends; copy it from an initiator before")]
    public static partial void ImageIsDeleted(ILogger log, string unit);

    [LoggerMessage(5018, LogLevel.Warning, "Every user of this machine can read a CHAP secret that is on the command line (ps); give it by --chap-file")]
    public static partial void SecretIsOnCommandLine(ILogger log);

    [LoggerMessage(5021, LogLevel.Information, "{Unit}: filters, from the initiator on: {Filters}")]
    public static partial void HasFilters(ILogger log, string unit, string filters);

    [LoggerMessage(5022, LogLevel.Information, "The configuration has been read again: {Changes} changes")]
    public static partial void Reloaded(ILogger log, int changes);

    [LoggerMessage(5023, LogLevel.Error, "The new configuration is refused, and nothing has changed: {Reason}")]
    public static partial void ReloadRefused(ILogger log, string reason);

    [LoggerMessage(5024, LogLevel.Information, "Changed: {What}")]
    public static partial void Changed(ILogger log, string what);

    [LoggerMessage(5025, LogLevel.Warning, "Takes effect when LunKit is started the next time: {What}")]
    public static partial void ChangesAtRestart(ILogger log, string what);

    [LoggerMessage(5026, LogLevel.Error, "Unit {Unit} is taken from all targets, and not closed yet: its storage does not answer")]
    public static partial void NotRemoved(ILogger log, string unit);

    [LoggerMessage(5027, LogLevel.Error, "Unit {Unit} is removed, and data may be lost: its last flush has failed: {Reason}")]
    public static partial void RemovedWithLoss(ILogger log, string unit, string reason);

    [LoggerMessage(5028, LogLevel.Error, "Unit {Unit}: filter {Filter} stays as it is: {Reason}")]
    public static partial void NotChanged(ILogger log, string unit, string filter, string reason);

    [LoggerMessage(5029, LogLevel.Warning, "{Warning}")]
    public static partial void Doubtful(ILogger log, string warning);
}
