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

    [LoggerMessage(3006, LogLevel.Warning, "{Device}: its ring was reset and is served again")]
    public static partial void Recovered(ILogger log, string device);

    [LoggerMessage(3007, LogLevel.Warning, "{Device} keeps its configuration: {Reason}")]
    public static partial void NotReconfigured(ILogger log, string device, string reason);

    [LoggerMessage(3008, LogLevel.Warning, "{Device}: commands are still executing {Seconds} s after the stop")]
    public static partial void NotDrained(ILogger log, string device, double seconds);

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
}
