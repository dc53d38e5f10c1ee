namespace LunKit.Backstores;

/// <summary>
/// Tokens that come at a steady rate, up to a limit. What is taken may be more than there is: the rest is a debt that the next pay off. Not thread safe.
/// </summary>
internal sealed class TokenBucket
{
    // What is lost in adding fractions of tokens, with room.
    private const double Tolerance = 1e-6;

    private double _perSecond, _limit, _tokens;

    /// <summary>Changes the rate; 0 is no limit. A debt remains. A bucket that had no limit is full.</summary>
    public void Set(double perSecond, TimeSpan burst)
    {
        double limit = Math.Max(1, perSecond * burst.TotalSeconds);
        _tokens = _perSecond == 0 ? limit : Math.Min(_tokens, limit);
        (_perSecond, _limit) = (perSecond, limit);
    }

    /// <summary>Adds the tokens of a time.</summary>
    public void Add(double seconds) => _tokens = Math.Min(_limit, _tokens + seconds * _perSecond);

    /// <summary>How long it takes until there is a token: 0 when there is one.</summary>
    public double SecondsUntilOne => _perSecond == 0 ? 0 : Math.Max(0, 1 - Tolerance - _tokens) / _perSecond;

    /// <summary>Takes tokens, also more than there are.</summary>
    public void Take(double tokens)
    {
        if (_perSecond != 0) _tokens -= tokens;
    }
}
