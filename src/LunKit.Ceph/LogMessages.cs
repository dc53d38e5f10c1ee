using Microsoft.Extensions.Logging;

namespace LunKit.Ceph;

/// <summary>Log messages; event ids 2100 to 2199, never reused.</summary>
internal static partial class LogMessages
{
    [LoggerMessage(2101, LogLevel.Information, "rbd:{Image} is connected ({Bytes} bytes, objects of {ObjectBytes})")]
    public static partial void Connected(ILogger log, string image, long bytes, long objectBytes);

    [LoggerMessage(2102, LogLevel.Warning, "rbd:{Image} is connecting: {Reason}; commands are answered NOT READY until it is there")]
    public static partial void Connecting(ILogger log, string image, string reason);

    [LoggerMessage(2103, LogLevel.Error, "rbd:{Image}: this client was shut out with writes in its cache that were not flushed: they may be lost, and flushes fail from now on")]
    public static partial void CacheLost(ILogger log, string image);

    [LoggerMessage(2105, LogLevel.Information, "rbd:{Image}: took the exclusive lock of an earlier process of this machine, which has ended")]
    public static partial void LockTaken(ILogger log, string image);

    [LoggerMessage(2104, LogLevel.Warning, "rbd:{Image}: its new size cannot be read: {Reason}")]
    public static partial void SizeNotRead(ILogger log, string image, string reason);
}
