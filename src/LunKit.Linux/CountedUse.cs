namespace LunKit.Linux;

/// <summary>
/// Something of a library that operations use on any thread: closed when it is disposed and the last operation has ended. Thread safe.
/// </summary>
public abstract class CountedUse : IDisposable
{
    private int _users = 1;

    /// <summary>One more operation; false when it is being closed.</summary>
    public bool TryUse()
    {
        for (int users = Volatile.Read(ref _users); users > 0;)
        {
            int seen = Interlocked.CompareExchange(ref _users, users + 1, users);
            if (seen == users) return true;
            users = seen;
        }
        return false;
    }

    /// <summary>An operation has ended.</summary>
    public void Release()
    {
        if (Interlocked.Decrement(ref _users) == 0) Close();
    }

    /// <summary>Gives it back to the library; may wait. Called once, on the thread of the last user.</summary>
    protected abstract void Close();

    /// <summary>No operation begins any more.</summary>
    public void Dispose()
    {
        GC.SuppressFinalize(this);
        Release();
    }
}
