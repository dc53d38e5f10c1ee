namespace LunKit.Iscsi.Sessions;

/// <summary>
/// A login that waits for its place in a session: asked again and again by its connection, it never blocks. Each wait has a limit, and ends in a
/// decision or in another wait. Only the connection's thread uses it.
/// </summary>
internal sealed class SessionClaim
{
    private readonly IscsiConnection? _connection;
    private readonly Func<bool> _isOver = static () => true;
    private readonly Func<bool, SessionClaim>? _next;
    private readonly SessionPlace _place;
    private readonly long _deadline;

    /// <summary>Waits until something is over, or the time is, and goes on with whether it was.</summary>
    public SessionClaim(IscsiConnection connection, Func<bool> isOver, TimeSpan limit, Func<bool, SessionClaim> next)
    {
        (_connection, _isOver, _next) = (connection, isOver, next);
        _deadline = connection.Clock.GetTimestamp() + (long)(limit.TotalSeconds * connection.Clock.TimestampFrequency);
    }

    private SessionClaim(SessionPlace place) => _place = place;

    /// <summary>What has to be taken back when the connection ends while it waits.</summary>
    public Action? Abandoned { get; init; }

    public static SessionClaim Decided(SessionPlace place) => new(place);

    /// <summary>The place, or why there is none; null: ask <paramref name="later"/> again.</summary>
    public SessionPlace? Ask(out SessionClaim later)
    {
        later = this;
        while (later._next is { } next)
        {
            bool isOver = later._isOver();
            if (!isOver && later._connection!.Clock.GetTimestamp() < later._deadline) return null;
            later = next(isOver);
        }
        return later._place;
    }
}
