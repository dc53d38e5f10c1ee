namespace LunKit.Iscsi.Sessions;

/// <summary>
/// What a connection does by the clock: ends a login that takes too long, asks whether the initiator is still there, asks it to log
/// out when the server stops. Only the connection's thread uses it.
/// </summary>
internal sealed class ConnectionTimers(IscsiConnection connection)
{
    private readonly long _accepted = connection.LastReceived;
    private long _last = connection.LastReceived;
    private long _closeDeadline;
    private bool _pinged;

    private TimeProvider Clock => connection.Clock;
    private IscsiLimits Limits => connection.Limits;

    /// <summary>What the thread had allocated when the timers ran last.</summary>
    public long AllocatedBytes { get; private set; }

    /// <summary>Bytes have come. A peer that never lets the thread sleep does not escape the timers.</summary>
    public void Received(long now, FullFeaturePhase? phase)
    {
        _pinged = false;
        if (now - _last > Clock.TimestampFrequency) Run(now, phase);
    }

    /// <summary>Runs the timers if it is time; false when it is not.</summary>
    public bool RunDue(long now, FullFeaturePhase? phase)
    {
        if (Milliseconds(now) < Interval(phase)) return false;
        Run(now, phase);
        return true;
    }

    /// <summary>Milliseconds until the timers are due.</summary>
    public long Left(FullFeaturePhase? phase) => Math.Max(1, Interval(phase) - Milliseconds(Clock.GetTimestamp()));

    private long Milliseconds(long now) => (now - _last) * 1000 / Clock.TimestampFrequency;

    private int Interval(FullFeaturePhase? phase)
    {
        int most = connection.IsStopping || phase is null ? 200 : 1000;
        return phase is null ? most : Math.Min(most, phase.NextCheckMilliseconds);
    }

    public void Run(long now, FullFeaturePhase? phase)
    {
        _last = now;
        AllocatedBytes = GC.GetAllocatedBytesForCurrentThread();
        phase?.RunTimers(now);
        if (connection.IsStopping) Stop(now, phase);
        if (phase is not null) CheckPeer(now, phase);
        else if (Clock.GetElapsedTime(_accepted, now).TotalSeconds > Limits.LoginTimeoutSeconds)
            connection.Abort($"no login within {Limits.LoginTimeoutSeconds} s");
    }

    private void Stop(long now, FullFeaturePhase? phase)
    {
        if (_closeDeadline == 0)
        {
            _closeDeadline = now + connection.StopSeconds * Clock.TimestampFrequency;
            if (phase is not null) phase.RequestLogout(connection.StopSeconds);
            else connection.Abort("the server stops");
        }
        if (now >= _closeDeadline && phase?.Tasks.AreExecuting != true) connection.Abort("the server stops");
    }

    private void CheckPeer(long now, FullFeaturePhase phase)
    {
        double idle = Clock.GetElapsedTime(connection.LastReceived, now).TotalSeconds;
        if (Limits.NopInIntervalSeconds == 0 || idle < Limits.NopInIntervalSeconds) return;
        if (!_pinged)
        {
            _pinged = true;
            phase.SendPing();
        }
        else if (idle > Limits.NopInIntervalSeconds + Limits.NopInTimeoutSeconds)
        {
            connection.Abort($"no answer to NOP-In for {Limits.NopInTimeoutSeconds} s", endsTasks: false);
        }
    }
}
