using Microsoft.Extensions.Logging;

namespace LunKit.Diagnostics;

/// <summary>
/// Log messages of the core. Event ids: 1000 units, 2000 backstores; never reused. Levels: Trace per command, Debug per event of a
/// connection, Information life cycle, Warning degraded, Error lost. Never secrets, never data.
/// </summary>
internal static partial class LogMessages
{
    [LoggerMessage(1001, LogLevel.Warning, "{Unit}: command {Opcode:X2}h (tag {Tag:X}) failed with sense {Sense}: {Reason}")]
    public static partial void CommandFailed(ILogger log, string unit, byte opcode, ulong tag, string sense, string reason);

    [LoggerMessage(1002, LogLevel.Critical, "{Unit}: CDB {Cdb} (tag {Tag:X}) hit a fault of LunKit itself; answered HARDWARE ERROR, please report it")]
    public static partial void CommandCrashed(ILogger log, Exception e, string unit, string cdb, ulong tag);

    [LoggerMessage(1003, LogLevel.Error, "{Unit}: state cannot be saved: {Reason}")]
    public static partial void StateNotSaved(ILogger log, string unit, string reason);

    [LoggerMessage(1004, LogLevel.Information, "{Unit}: {Operation} finished after {Seconds:F1} s: {Outcome}")]
    public static partial void LongOperationEnded(ILogger log, string unit, string operation, double seconds, string outcome);

    [LoggerMessage(1005, LogLevel.Information, "{Unit}: capacity is now {Bytes} bytes")]
    public static partial void CapacityChanged(ILogger log, string unit, long bytes);

    [LoggerMessage(1006, LogLevel.Warning, "{Unit}: command {Opcode:X2}h is not passed to the device; allow={Opcode:X2} or policy=all lets it through")]
    public static partial void NotPassed(ILogger log, string unit, byte opcode);

    [LoggerMessage(1007, LogLevel.Error, "{Unit}: a flush failed ({When}): {Reason}; acknowledged writes may be lost")]
    public static partial void FlushFailed(ILogger log, string unit, string when, string reason);

    [LoggerMessage(1008, LogLevel.Error, "{Unit} is not closed after {Seconds:F0} s, its storage stays open: {Held}")]
    public static partial void UnitNotClosed(ILogger log, string unit, double seconds, string held);

    [LoggerMessage(1010, LogLevel.Warning, "{Unit}: the mode parameters after a reset could not be kept for the process that serves it next: {Reason}")]
    internal static partial void ModesNotKept(ILogger logger, string unit, string reason);

    [LoggerMessage(1011, LogLevel.Error, "The host has stopped. {Loss}")]
    internal static partial void MayBeLost(ILogger logger, string loss);

    [LoggerMessage(1060, LogLevel.Warning, "{Unit}: the device reports {Sense} in place of a flush, which is repeated{Hint}")]
    public static partial void FlushIsRepeated(ILogger log, string unit, string sense, string hint);

    [LoggerMessage(1009, LogLevel.Error, "{Unit}: its backstore threw when a command was cancelled")]
    public static partial void CancellationThrew(ILogger log, Exception e, string unit);

    [LoggerMessage(2001, LogLevel.Warning, "Filter trace: {Path} cannot be written ({Reason}): the trace ends, the disk goes on; set another file")]
    public static partial void TraceFailed(ILogger log, string path, string reason);
}
