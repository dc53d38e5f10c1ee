namespace LunKit.Iscsi.Sessions;

/// <summary>
/// What a connection does by the clock: ends a login that takes too long, asks whether the initiator lives, and ends when the server stops. Only
/// the connection's thread uses it, except <see cref="Stop"/>.
/// </summary>
internal sealed class ConnectionTimers
{
    private readonly IscsiConnection _connection;
    private readonly long _accepted;
    private volatile int _stopRequested;
    private long _last;
    private long _closeDeadline;
    private bool _pinged;

    public ConnectionTimers(IscsiConnection connection)
    {
        _connection = connection;
        LastReceived = _last = _accepted = connection.Clock.GetTimestamp();
    }

    /// <summary>When bytes came last.</summary>
    public long LastReceived { get; private set; }

    /// <summary>Whether the server stops.</summary>
    public bool IsStopping => _stopRequested != 0;

    /// <summary>The server stops: the initiator has some seconds to log out. Any thread.</summary>
    public void Stop(int seconds) => _stopRequested = Math.Max(1, seconds);

    /// <summary>Bytes came. True: the timers are due, although the connection does not rest.</summary>
    public bool Received(long now)
    {
        LastReceived = now;
        _pinged = false;
        return now - _last > _connection.Clock.TimestampFrequency;
    }

    public long MillisecondsSince(long now) => (now - _last) * 1000 / _connection.Clock.TimestampFrequency;

    /// <summary>Milliseconds between two runs, at most.</summary>
    public int Milliseconds(FullFeaturePhase? phase) =>
        Math.Min(phase?.NextCheckMilliseconds ?? int.MaxValue, _stopRequested != 0 || _closeDeadline != 0 || phase is null ? 200 : 1000);

    public void Run(long now, FullFeaturePhase? phase)
    {
        var (clock, limits) = (_connection.Clock, _connection.Limits);
        _last = now;
        phase?.RunTimers(now);
        if (_stopRequested != 0 && _closeDeadline == 0)
        {
            _closeDeadline = now + _stopRequested * clock.TimestampFrequency;
            if (phase is not null) phase.RequestLogout(_stopRequested);
            else _connection.Abort("the server stops");
        }
        if (_closeDeadline != 0 && now >= _closeDeadline && phase?.Tasks.AreExecuting != true) _connection.Abort("the server stops");
        if (phase is null && clock.GetElapsedTime(_accepted, now).TotalSeconds > limits.LoginTimeoutSeconds)
            _connection.Abort($"no login within {limits.LoginTimeoutSeconds} s");
        double idle = clock.GetElapsedTime(LastReceived, now).TotalSeconds;
        if (phase is null || limits.NopInIntervalSeconds == 0 || idle < limits.NopInIntervalSeconds) return;
        if (!_pinged)
        {
            _pinged = true;
            phase.SendPing();
        }
        else if (idle > limits.NopInIntervalSeconds + limits.NopInTimeoutSeconds)
        {
            _connection.Abort($"no answer to NOP-In for {limits.NopInTimeoutSeconds} s", endsTasks: false);
        }
    }
}
