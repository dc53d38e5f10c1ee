using LunKit.Iscsi;

namespace LunKit.App.Config;

/// <summary>A limit that the configuration can set.</summary>
/// <param name="Key">Its key.</param>
/// <param name="Least">The least that it can be.</param>
/// <param name="Most">The most.</param>
/// <param name="IsSize">Whether it counts bytes, and may be written as 256M.</param>
/// <param name="Meaning">What it bounds, and why its default is what it is.</param>
/// <param name="Get">Reads it.</param>
/// <param name="With">The same limits with another value of it.</param>
internal sealed record LimitField(string Key, long Least, long Most, bool IsSize, string Meaning, Func<IscsiLimits, long> Get, Func<IscsiLimits, long, IscsiLimits> With);

/// <summary>Everything that <see cref="IscsiLimits"/> bounds; a test compares the two.</summary>
internal static class LimitFields
{
    // 24 bits: RFC 7143 13.12 to 13.14.
    private const long MostSegment = (1 << 24) - 1, Any = int.MaxValue;

    public static IReadOnlyList<LimitField> All { get; } =
    [
        Count("max-connections", 1, 65536, "connections in all; each has a thread, and buffers of 768 KiB once it has logged in", l => l.MaxConnections, (l, v) => l with { MaxConnections = v }),
        Count("max-connections-per-address", 1, 65536, "connections from one address: room for a host with many sessions, not for a flood; raise it behind NAT", l => l.MaxConnectionsPerAddress, (l, v) => l with { MaxConnectionsPerAddress = v }),
        Count("max-connections-per-session", 1, 64, "connections of one session (MaxConnections); more do not go faster on one machine", l => l.MaxConnectionsPerSession, (l, v) => l with { MaxConnectionsPerSession = v }),
        Count("login-timeout-seconds", 1, 3600, "time from accept to full feature phase; open-iscsi gives up after 15", l => l.LoginTimeoutSeconds, (l, v) => l with { LoginTimeoutSeconds = v }),
        Count("max-negotiation-rounds", 4, 1024, "login or text exchanges before the peer is taken for a loop", l => l.MaxNegotiationRounds, (l, v) => l with { MaxNegotiationRounds = v }),
        Size("max-text-bytes", 8192, 16 << 20, "text of one exchange over all its PDUs; SendTargets answers are the longest real ones", l => l.MaxTextBytes, (l, v) => l with { MaxTextBytes = (int)v }),
        Count("queue-depth", 1, 4096, "commands outstanding per session (the CmdSN window)", l => l.QueueDepth, (l, v) => l with { QueueDepth = v }),
        Count("max-immediate-commands", 1, 1024, "immediate commands that may wait at a time on one connection, and as many task management functions: they are outside the command window", l => l.MaxImmediateCommands, (l, v) => l with { MaxImmediateCommands = v }),
        Size("max-recv-data-segment-length", 512, MostSegment, "data segment of one PDU that the target takes (MaxRecvDataSegmentLength)", l => l.MaxRecvDataSegmentLength, (l, v) => l with { MaxRecvDataSegmentLength = (int)v }),
        Size("first-burst-length", 512, MostSegment, "unsolicited data of one command (FirstBurstLength)", l => l.FirstBurstLength, (l, v) => l with { FirstBurstLength = (int)v }),
        Size("max-burst-length", 512, MostSegment, "data of one solicited burst (MaxBurstLength)", l => l.MaxBurstLength, (l, v) => l with { MaxBurstLength = (int)v }),
        Count("max-outstanding-r2t", 1, 64, "Ready-To-Transfers outstanding per command", l => l.MaxOutstandingR2T, (l, v) => l with { MaxOutstandingR2T = v }),
        Size("max-solicited-bytes-per-connection", 1 << 20, Any, "data that one connection may have solicited and not yet received", l => l.MaxSolicitedBytesPerConnection, (l, v) => l with { MaxSolicitedBytesPerConnection = v }),
        Size("max-outstanding-bytes-per-connection", 1 << 20, long.MaxValue, "what the commands of one connection may hold; beyond it commands with data are answered TASK SET FULL", l => l.MaxOutstandingBytesPerConnection, (l, v) => l with { MaxOutstandingBytesPerConnection = v }),
        Size("max-outstanding-bytes", 1 << 20, long.MaxValue, "the same for all connections together; beyond it each may go on with one command at a time", l => l.MaxOutstandingBytes, (l, v) => l with { MaxOutstandingBytes = v }),
        Count("error-recovery-level", 0, 2, "highest error recovery level that is agreed on; 1 and 2 keep what was sent until it is acknowledged", l => l.ErrorRecoveryLevel, (l, v) => l with { ErrorRecoveryLevel = v }),
        Size("max-retained-bytes-per-connection", 1 << 20, long.MaxValue, "sent data that one connection keeps for SNACK; older data is forgotten first", l => l.MaxRetainedBytesPerConnection, (l, v) => l with { MaxRetainedBytesPerConnection = v }),
        Count("data-out-timeout-seconds", 1, 3600, "time without data for an R2T until it is asked for again (error recovery level 1 and 2)", l => l.DataOutTimeoutSeconds, (l, v) => l with { DataOutTimeoutSeconds = v }),
        Count("data-out-deadline-seconds", 1, 3600, "time without data that was asked for until the connection ends; twice what initiators give a command, so that theirs is the first to notice", l => l.DataOutDeadlineSeconds, (l, v) => l with { DataOutDeadlineSeconds = v }),
        Count("time2retain-seconds", 0, 3600, "time that the tasks of a lost connection wait for another one (DefaultTime2Retain, error recovery level 2)", l => l.Time2RetainSeconds, (l, v) => l with { Time2RetainSeconds = v }),
        Size("max-pending-output-bytes", 1 << 20, Any, "answers that wait for a slow reader before its commands are left unread", l => l.MaxPendingOutputBytes, (l, v) => l with { MaxPendingOutputBytes = (int)v }),
        Count("nop-in-interval-seconds", 0, 3600, "time without traffic before a NOP-In asks whether the initiator lives; 0 for never", l => l.NopInIntervalSeconds, (l, v) => l with { NopInIntervalSeconds = v }),
        Count("nop-in-timeout-seconds", 1, 3600, "time to wait for the answer to it, or for a stalled reader", l => l.NopInTimeoutSeconds, (l, v) => l with { NopInTimeoutSeconds = v }),
        Count("logout-timeout-seconds", 0, 600, "time that initiators have to log out when the server stops", l => l.LogoutTimeoutSeconds, (l, v) => l with { LogoutTimeoutSeconds = v }),
    ];

    private static LimitField Count(string key, int least, int most, string meaning, Func<IscsiLimits, int> get, Func<IscsiLimits, int, IscsiLimits> with) =>
        new(key, least, most, IsSize: false, meaning, l => get(l), (l, v) => with(l, (int)v));

    private static LimitField Size(string key, long least, long most, string meaning, Func<IscsiLimits, long> get, Func<IscsiLimits, long, IscsiLimits> with) =>
        new(key, least, most, IsSize: true, meaning, get, with);
}
