namespace LunKit.Linux;

/// <summary>
/// Connections of a library, each shared by all users that agree on its key: opened by the first, closed with the last. Thread safe.
/// </summary>
/// <param name="close">Closes a connection; called without a lock.</param>
public sealed class SharedConnections<TKey>(Action<nint> close) where TKey : notnull
{
    private readonly Lock _gate = new();
    private readonly Dictionary<TKey, SharedConnection> _connections = [];

    /// <summary>Connections that are shared now.</summary>
    public int Count
    {
        get { lock (_gate) return _connections.Count; }
    }

    /// <summary>
    /// A connection; the caller disposes it once. Only those who want the same one wait for <paramref name="open"/>, whose exception is the caller's.
    /// </summary>
    public SharedConnection Rent(TKey key, Func<nint> open)
    {
        SharedConnection? connection;
        lock (_gate)
        {
            if (!_connections.TryGetValue(key, out connection)) _connections.Add(key, connection = new SharedConnection(c => Return(key, c), c => Abandon(key, c)));
            connection.Users++;
        }
        try
        {
            connection.Open(open);
            return connection;
        }
        catch
        {
            connection.Dispose();
            throw;
        }
    }

    private void Abandon(TKey key, SharedConnection connection)
    {
        lock (_gate)
            if (_connections.GetValueOrDefault(key) == connection) _connections.Remove(key);
    }

    private void Return(TKey key, SharedConnection connection)
    {
        lock (_gate)
        {
            if (--connection.Users > 0) return;
            Abandon(key, connection);
        }
        if (connection.Handle != 0) close(connection.Handle);
    }
}

/// <summary>A connection of <see cref="SharedConnections{TKey}"/>.</summary>
public sealed class SharedConnection : IDisposable
{
    private readonly Lock _opening = new();
    private readonly Action<SharedConnection> _return, _abandon;

    internal SharedConnection(Action<SharedConnection> giveBack, Action<SharedConnection> abandon) => (_return, _abandon) = (giveBack, abandon);

    /// <summary>The library's handle.</summary>
    public nint Handle { get; private set; }

    /// <summary>Guarded by the lock of the connections.</summary>
    internal int Users { get; set; }

    internal void Open(Func<nint> open)
    {
        lock (_opening)
            if (Handle == 0) Handle = open();
    }

    /// <summary>It is of no use any more: who comes next gets another.</summary>
    public void Abandon() => _abandon(this);

    /// <summary>One user less.</summary>
    public void Dispose() => _return(this);
}
