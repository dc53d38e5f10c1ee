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
}
