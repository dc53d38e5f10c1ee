using Microsoft.Extensions.Logging;

namespace LunKit.Gluster;

/// <summary>Log messages; event ids 2200 to 2299, never reused.</summary>
internal static partial class LogMessages
{
    [LoggerMessage(2201, LogLevel.Information, "gluster:{File} is connected ({Bytes} bytes)")]
    public static partial void Connected(ILogger log, string file, long bytes);

    [LoggerMessage(2202, LogLevel.Warning, "gluster:{File} is connecting: {Reason}; commands are answered NOT READY until it is there")]
    public static partial void Connecting(ILogger log, string file, string reason);

    [LoggerMessage(2203, LogLevel.Warning, "gluster:{File}: the volume does not answer ({Reason}); operations wait up to {Seconds} s for it")]
    public static partial void Waiting(ILogger log, string file, string reason, double seconds);

    [LoggerMessage(2204, LogLevel.Information, "gluster:{File}: the volume answers again")]
    public static partial void AnswersAgain(ILogger log, string file);
}
