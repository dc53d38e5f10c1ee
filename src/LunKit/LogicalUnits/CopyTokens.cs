using System.Security.Cryptography;

namespace LunKit.LogicalUnits;

/// <summary>
/// The ROD tokens (SPC-5 5.18.6) that a block unit has given out: representations of ranges as they were, change vulnerable: a
/// write to a range revokes its tokens. Tokens are random, expire, and are limited in number. Thread safe.
/// </summary>
internal sealed class CopyTokens
{
    /// <summary>Tokens at once; the oldest goes first.</summary>
    public const int MaxTokens = 256;

    /// <summary>Default and longest inactivity time-out in seconds.</summary>
    public const int DefaultTimeoutSeconds = 60, MaxTimeoutSeconds = 600;

    public sealed record Token(byte[] Id, IReadOnlyList<(long Lba, uint Count)> Ranges, TimeSpan Timeout)
    {
        public long LastUsed { get; set; } = TimeProvider.System.GetTimestamp();
        public bool IsExpired => TimeProvider.System.GetElapsedTime(LastUsed) > Timeout;
    }

    private readonly Lock _gate = new();
    private readonly List<Token> _tokens = [];
    private volatile int _count;

    public Token Add(IReadOnlyList<(long Lba, uint Count)> ranges, int timeoutSeconds)
    {
        var token = new Token(RandomNumberGenerator.GetBytes(64), ranges, TimeSpan.FromSeconds(timeoutSeconds));
        lock (_gate)
        {
            _tokens.RemoveAll(t => t.IsExpired);
            if (_tokens.Count >= MaxTokens) _tokens.RemoveAt(0);
            _tokens.Add(token);
            _count = _tokens.Count;
        }
        return token;
    }

    public Token? Find(ReadOnlySpan<byte> id)
    {
        lock (_gate)
        {
            foreach (var token in _tokens)
            {
                if (!CryptographicOperations.FixedTimeEquals(token.Id, id) || token.IsExpired) continue;
                token.LastUsed = TimeProvider.System.GetTimestamp();
                return token;
            }
            return null;
        }
    }

    /// <summary>Whether the token is still good: no write has touched its blocks.</summary>
    public bool Contains(Token token)
    {
        lock (_gate) return _tokens.Contains(token);
    }

    public void Remove(Token token)
    {
        lock (_gate)
        {
            _tokens.Remove(token);
            _count = _tokens.Count;
        }
    }

    /// <summary>A write to [start, end) makes the tokens of those blocks void.</summary>
    public void Revoke(long start, long end)
    {
        // On the path of every write; the closure below must not cost it anything.
        if (_count != 0 && start < end) RevokeOverlapping(start, end);
    }

    private void RevokeOverlapping(long start, long end)
    {
        lock (_gate)
        {
            _tokens.RemoveAll(t => t.Ranges.Any(r => r.Lba < end && start < r.Lba + r.Count));
            _count = _tokens.Count;
        }
    }
}
