using System.Diagnostics.CodeAnalysis;

namespace LunKit.Fabrics;

/// <summary>
/// Tasks that were completed by other threads, for the one thread that owns them. Any thread adds, the owner takes all at once. The tasks
/// themselves are its links: it takes no lock and no memory, so that no completion is lost where memory is short.
/// </summary>
internal sealed class CompletionQueue<T> where T : FabricTask
{
    private FabricTask? _last;

    /// <summary>Whether nothing waits. Any thread; what is added meanwhile may be missed.</summary>
    public bool IsEmpty => Volatile.Read(ref _last) is null;

    /// <summary>Adds a task that is in no queue; a full fence.</summary>
    public void Add(T task)
    {
        var last = Volatile.Read(ref _last);
        while (true)
        {
            task.NextCompleted = last;
            var found = Interlocked.CompareExchange(ref _last, task, last);
            if (found == last) return;
            last = found;
        }
    }

    /// <summary>All that wait, in the order of their completion. The owner only.</summary>
    public CompletedTasks<T> Take()
    {
        if (IsEmpty) return default;
        FabricTask? first = null;
        int count = 0;
        for (var task = Interlocked.Exchange(ref _last, null); task is not null; count++)
        {
            var earlier = task.NextCompleted;
            task.NextCompleted = first;
            (first, task) = (task, earlier);
        }
        return new(first, count);
    }
}

/// <summary>Tasks that were taken from a queue, one after the other; a copy starts where it was copied, while none of them is added again.</summary>
internal struct CompletedTasks<T>(FabricTask? first, int count) where T : FabricTask
{
    private FabricTask? _first = first;

    /// <summary>How many are left.</summary>
    public int Count { get; private set; } = count;

    public bool TryTake([NotNullWhen(true)] out T? task)
    {
        task = (T?)_first;
        if (task is null) return false;
        _first = task.NextCompleted;
        Count--;
        return true;
    }
}
