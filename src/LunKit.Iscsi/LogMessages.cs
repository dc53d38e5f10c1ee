using Microsoft.Extensions.Logging;

namespace LunKit.Iscsi;

/// <summary>Log messages of the iSCSI fabric; event ids 4000 to 4999, never reused. Never secrets.</summary>
internal static partial class LogMessages
{
    [LoggerMessage(4001, LogLevel.Information, "Listening on {EndPoint} (portal group {Group})")]
    public static partial void Listening(ILogger log, string endPoint, int group);

    [LoggerMessage(4002, LogLevel.Information, "{Initiator} at {Remote} logged in to {Target} (session {Tsih}, CHAP user {User})")]
    public static partial void LoggedIn(ILogger log, string initiator, string remote, string target, ushort tsih, string user);

    [LoggerMessage(4003, LogLevel.Warning, "Login of '{Initiator}' at {Remote} refused with status {Status}: {Reason}")]
    public static partial void LoginRefused(ILogger log, string initiator, string remote, string status, string reason);

    [LoggerMessage(4004, LogLevel.Information, "Connection of '{Initiator}' at {Remote} ended: {Reason}")]
    public static partial void ConnectionEnded(ILogger log, string initiator, string remote, string reason);

    [LoggerMessage(4005, LogLevel.Warning, "Connection of '{Initiator}' at {Remote} broke the protocol: {Reason}")]
    public static partial void ProtocolError(ILogger log, string remote, string initiator, string reason);

    [LoggerMessage(4006, LogLevel.Critical, "Connection at {Remote} hit a fault of LunKit itself and was closed, please report it")]
    public static partial void ConnectionCrashed(ILogger log, Exception e, string remote);

    [LoggerMessage(4007, LogLevel.Warning, "Connection from {Remote} refused: {Reason}")]
    public static partial void ConnectionRefused(ILogger log, string remote, string reason);

    [LoggerMessage(4008, LogLevel.Warning, "{Remote}: PDU {Opcode:X2}h rejected: {Reason}")]
    public static partial void Rejected(ILogger log, string remote, byte opcode, string reason);

    [LoggerMessage(4009, LogLevel.Information, "{InitiatorPort}: {Function} for LUN {Lun}")]
    public static partial void TaskManagement(ILogger log, string initiatorPort, string function, int lun);

    [LoggerMessage(4010, LogLevel.Information, "Session {Tsih} of {Initiator} is replaced by a new login")]
    public static partial void SessionReinstated(ILogger log, ushort tsih, string initiator);

    [LoggerMessage(4011, LogLevel.Warning, "Connection of {Initiator} at {Remote} is lost ({Reason}); {Count} commands wait for another connection")]
    public static partial void TasksKept(ILogger log, string initiator, string remote, int count, string reason);

    [LoggerMessage(4012, LogLevel.Warning, "A connection could not be accepted: {Reason} ({More} more since the last such line)")]
    public static partial void AcceptFailed(ILogger log, string reason, int more);
}
