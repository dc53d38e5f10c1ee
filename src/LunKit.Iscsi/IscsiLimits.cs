namespace LunKit.Iscsi;

/// <summary>What one peer, and all peers together, may use. Every default says why.</summary>
public sealed record IscsiLimits
{
    /// <summary>Connections in all: each has a thread, and once it has logged in buffers of 768 KiB.</summary>
    public int MaxConnections { get; init; } = 1024;

    /// <summary>Connections from one address: room for a multi-session host, not for a flood.</summary>
    public int MaxConnectionsPerAddress { get; init; } = 256;

    /// <summary>Connections of one session (MaxConnections): more do not go faster on one machine.</summary>
    public int MaxConnectionsPerSession { get; init; } = 4;

    /// <summary>Seconds from accept to full feature phase; open-iscsi gives up after 15.</summary>
    public int LoginTimeoutSeconds { get; init; } = 15;

    /// <summary>Login or text exchanges before the peer is taken for a loop.</summary>
    public int MaxNegotiationRounds { get; init; } = 32;

    /// <summary>Bytes of text in one exchange over all its PDUs: SendTargets answers are the longest real ones.</summary>
    public int MaxTextBytes { get; init; } = 64 * 1024;

    /// <summary>Commands outstanding per session (the CmdSN window).</summary>
    public int QueueDepth { get; init; } = 256;

    /// <summary>
    /// Immediate commands that may wait at a time on one connection, and as many task management functions: they are outside the command window.
    /// Initiators use them one by one, to recover; more are rejected.
    /// </summary>
    public int MaxImmediateCommands { get; init; } = 8;

    /// <summary>Data segment bytes of one PDU that the target takes (MaxRecvDataSegmentLength).</summary>
    public int MaxRecvDataSegmentLength { get; init; } = 256 * 1024;

    /// <summary>Unsolicited bytes of one command (FirstBurstLength): bounds what comes unasked to depth times this.</summary>
    public int FirstBurstLength { get; init; } = 256 * 1024;

    /// <summary>Bytes of one solicited burst (MaxBurstLength).</summary>
    public int MaxBurstLength { get; init; } = 1024 * 1024;

    /// <summary>Ready-To-Transfers outstanding per command.</summary>
    public int MaxOutstandingR2T { get; init; } = 8;

    /// <summary>Bytes that one connection may have solicited and not yet received.</summary>
    public long MaxSolicitedBytesPerConnection { get; init; } = 64L << 20;

    /// <summary>
    /// Bytes that the commands of one connection may hold (data collected, data to send, commands kept until their turn): beyond it,
    /// further commands with data are answered TASK SET FULL. Room for a full window of 1 MiB commands.
    /// </summary>
    public long MaxOutstandingBytesPerConnection { get; init; } = 256L << 20;

    /// <summary>The same for all connections together: beyond it, each may go on with one command at a time.</summary>
    public long MaxOutstandingBytes { get; init; } = 2L << 30;

    /// <summary>Highest error recovery level that is agreed on. Levels 1 and 2 keep what was sent until it is acknowledged.</summary>
    public int ErrorRecoveryLevel { get; init; } = 2;

    /// <summary>Bytes of sent data that one connection keeps for SNACK; older data is forgotten first.</summary>
    public long MaxRetainedBytesPerConnection { get; init; } = 64L << 20;

    /// <summary>Seconds without data for an R2T until it is asked for again (error recovery level 1 and 2).</summary>
    public int DataOutTimeoutSeconds { get; init; } = 5;

    /// <summary>
    /// Seconds without data that was asked for until the connection ends, however often it was asked for. Twice what initiators give a command by
    /// default, so that theirs is the first to notice.
    /// </summary>
    public int DataOutDeadlineSeconds { get; init; } = 60;

    /// <summary>Seconds that the tasks of a lost connection wait for another one (DefaultTime2Retain, error recovery level 2).</summary>
    public int Time2RetainSeconds { get; init; } = 20;

    /// <summary>Bytes of answers that wait for a slow reader before its commands are left unread.</summary>
    public int MaxPendingOutputBytes { get; init; } = 8 << 20;

    /// <summary>Seconds without traffic before a NOP-In asks whether the initiator lives; 0 for never.</summary>
    public int NopInIntervalSeconds { get; init; } = 30;

    /// <summary>Seconds to wait for the answer to it, or for a stalled reader.</summary>
    public int NopInTimeoutSeconds { get; init; } = 30;

    /// <summary>Seconds that initiators have to log out when the server stops.</summary>
    public int LogoutTimeoutSeconds { get; init; } = 3;
}
