using Microsoft.Extensions.Logging;

namespace LunKit.Tcmu;

/// <summary>Log messages of the rings; event ids 3000 to 3999, never reused.</summary>
internal static partial class LogMessages
{
    [LoggerMessage(3001, LogLevel.Error, "{Device}: {Reason}; the device is reset before it is served again")]
    public static partial void RingBroken(ILogger log, string device, string reason);

    [LoggerMessage(3002, LogLevel.Critical, "{Device} hit a fault of LunKit itself, please report it")]
    public static partial void DeviceCrashed(ILogger log, Exception e, string device);

    [LoggerMessage(3003, LogLevel.Information, "{Device}: task management function {Type} for {Count} commands")]
    public static partial void TaskManagement(ILogger log, string device, byte type, int count);

    [LoggerMessage(3004, LogLevel.Information, "{Device} is served ({Path}, {Bytes} bytes)")]
    public static partial void Serving(ILogger log, string device, string path, long bytes);

    [LoggerMessage(3005, LogLevel.Error, "{Device} cannot be served: {Reason}")]
    public static partial void NotServed(ILogger log, string device, string reason);

    [LoggerMessage(3026, LogLevel.Warning, "{Device} is served by another process; it is taken over when that is gone")]
    public static partial void ServedElsewhere(ILogger log, string device);

    [LoggerMessage(3006, LogLevel.Warning, "{Device}: its ring was reset and is served again")]
    public static partial void Recovered(ILogger log, string device);

    [LoggerMessage(3007, LogLevel.Warning, "{Device} keeps its configuration: {Reason}")]
    public static partial void NotReconfigured(ILogger log, string device, string reason);

    [LoggerMessage(3008, LogLevel.Warning, "{Device} is not closed {Seconds} s after the stop, and stays open until its backstore answers: {Commands}")]
    public static partial void NotDrained(ILogger log, string device, double seconds, string commands);

    [LoggerMessage(3009, LogLevel.Error, "{Device}: the last flush failed, data may be lost: {Reason}")]
    public static partial void FlushFailed(ILogger log, string device, string reason);

    [LoggerMessage(3010, LogLevel.Information, "{Device} is closed")]
    public static partial void Closed(ILogger log, string device);

    [LoggerMessage(3011, LogLevel.Critical, "The handler hit a fault of LunKit itself, please report it")]
    public static partial void HandlerCrashed(ILogger log, Exception e);

    [LoggerMessage(3012, LogLevel.Warning, "{Device}: no reply could be sent to the kernel: {Reason}")]
    public static partial void ReplyFailed(ILogger log, string device, string reason);

    [LoggerMessage(3013, LogLevel.Warning, "{Device}: no handler has its subtype; whoever enables it gets ENOENT")]
    public static partial void NobodyHandles(ILogger log, string device);

    [LoggerMessage(3014, LogLevel.Warning, "{Device}: a command {Opcode:x2} that its handler may have begun is not repeated; the initiator is told")]
    public static partial void NotRepeated(ILogger log, string device, byte opcode);

    [LoggerMessage(3015, LogLevel.Warning, "{Device}: a command {Opcode:x2} was not completed within {Seconds} s")]
    public static partial void TimedOut(ILogger log, string device, byte opcode, double seconds);

    [LoggerMessage(3016, LogLevel.Information, "{Device} is with handler process {ProcessId}")]
    public static partial void HandlerAttached(ILogger log, string device, int processId);

    [LoggerMessage(3017, LogLevel.Warning, "{Device} has no handler any more; its commands wait for the next one")]
    public static partial void HandlerGone(ILogger log, string device);

    [LoggerMessage(3018, LogLevel.Error, "{Device}: handler process {ProcessId} refuses it: {Reason} (error {Errno})")]
    public static partial void HandlerRefuses(ILogger log, string device, int processId, string reason, int errno);

    [LoggerMessage(3019, LogLevel.Warning, "The connection of handler process {ProcessId} ended: {Reason}")]
    public static partial void HandlerConnectionEnded(ILogger log, int processId, string reason);

    [LoggerMessage(3020, LogLevel.Information, "Connected to the target at {Path}")]
    public static partial void TargetConnected(ILogger log, string path);

    [LoggerMessage(3021, LogLevel.Warning, "The target at {Path} is gone, looking for it again: {Reason}")]
    public static partial void TargetGone(ILogger log, string path, string reason);

    [LoggerMessage(3022, LogLevel.Warning, "Process {ProcessId} of user {UserId} is not admitted as a handler: another user, or too many connections")]
    public static partial void HandlerNotAdmitted(ILogger log, int processId, uint userId);

    [LoggerMessage(3023, LogLevel.Error, "{Device}: its handler has died with acknowledged writes that it had not flushed; initiators get a unit attention, and their next flush fails")]
    public static partial void WritesLost(ILogger log, string device);

    [LoggerMessage(3024, LogLevel.Warning, "{Device}: its end waits for {Commands}")]
    public static partial void Hangs(ILogger log, string device, string commands);

    [LoggerMessage(3025, LogLevel.Error, "{Device}: no memory for the result of a command {Opcode:x2}: its initiator hears that its outcome is unknown")]
    public static partial void NoMemoryForResult(ILogger log, string device, byte opcode);

    [LoggerMessage(3027, LogLevel.Warning, "{Device} waits for a handler, and so do its commands; handlers connect to {Path}, e.g. lunkit handle --target {Path}")]
    public static partial void WaitsForHandler(ILogger log, string device, string path);

    [LoggerMessage(3029, LogLevel.Information, "{Device}: its backstore has {Bytes} bytes, of which the first {Served} are served; dev_size makes it longer")]
    public static partial void IsLonger(ILogger log, string device, long bytes, long served);

    [LoggerMessage(3028, LogLevel.Warning, "No target listens at {Path}, looking for it: {Reason}")]
    public static partial void TargetMissing(ILogger log, string path, string reason);
}
