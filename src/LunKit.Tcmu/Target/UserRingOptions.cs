namespace LunKit.Tcmu.Target;

/// <summary>Limits of one device whose commands a handler process answers; the names are those of the kernel's TCMU.</summary>
public sealed record UserRingOptions
{
    /// <summary>Bytes of mailbox and ring. 256 KiB hold some 2,000 commands.</summary>
    public int RingBytes { get; init; } = 256 * 1024;

    /// <summary>Bytes for the data of commands at most; memory comes into being when it is used, and goes when it is not.</summary>
    public int DataAreaBytes { get; init; } = 64 << 20;

    /// <summary>Commands that are with the handler at once.</summary>
    public int MaxCommands { get; init; } = 1024;

    /// <summary>
    /// How long a command may take (<c>cmd_time_out</c>), with or without a handler; then the initiator gets NOT READY, LOGICAL UNIT
    /// COMMUNICATION FAILURE, which it may repeat.
    /// </summary>
    public TimeSpan CommandTimeout { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>How long a command may wait for room in the ring (<c>qfull_time_out</c>); then the initiator gets TASK SET FULL.</summary>
    public TimeSpan QueueTimeout { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>How long a handler may take for aborted commands when the device is removed; then they end without it.</summary>
    public TimeSpan ClosingTime { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>
    /// How long a handler may take after that to flush and to let go of the device; then the device ends without it, and what it has acknowledged counts as lost.
    /// Less than the half minute that the closing of a unit waits.
    /// </summary>
    public TimeSpan LeavingTime { get; init; } = TimeSpan.FromSeconds(20);

    /// <summary>
    /// When a handler dies with acknowledged writes that it had not flushed, the next flush of each initiator fails, and so do its
    /// flushes for this long after: for initiators that try again, and for those whose users flush each on their own account.
    /// </summary>
    public TimeSpan LossReportTime { get; init; } = TimeSpan.FromSeconds(10);
}
