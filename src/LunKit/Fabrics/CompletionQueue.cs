namespace LunKit.Fabrics;

/// <summary>
/// Tasks that were completed by other threads, for the one thread that owns them. Any thread adds, the owner takes all at once. Allocates nothing
/// once it has grown.
/// </summary>
internal sealed class CompletionQueue<T> where T : class
{
    private readonly Lock _gate = new();
    private List<T> _waiting = [];
    private List<T> _taken = [];
    private volatile int _count;

    /// <summary>Whether nothing waits. Any thread; what is added meanwhile may be missed.</summary>
    public bool IsEmpty => _count == 0;

    public void Add(T task)
    {
        lock (_gate)
        {
            _waiting.Add(task);
            _count = _waiting.Count;
        }
    }

    /// <summary>All that wait, in the order of their completion; valid until the next call. The owner only.</summary>
    public List<T> Take()
    {
        _taken.Clear();
        if (_count == 0) return _taken;
        lock (_gate)
        {
            (_waiting, _taken) = (_taken, _waiting);
            _count = 0;
        }
        return _taken;
    }
}
