namespace LunKit.Iscsi;

/// <summary>
/// Which failures are reported: one in ten seconds, with the number of those before it that were not. One thread.
/// </summary>
internal sealed class FailureReports(TimeProvider clock)
{
    private static readonly TimeSpan s_pause = TimeSpan.FromSeconds(10);

    private long? _last;
    private int _more;

    /// <summary>A failure: whether it is reported, and how many were not since the last that was.</summary>
    public bool IsDue(out int more)
    {
        more = _more;
        if (_last is { } last && clock.GetElapsedTime(last) < s_pause)
        {
            _more++;
            return false;
        }
        _last = clock.GetTimestamp();
        _more = 0;
        return true;
    }
}
