using LunKit.LogicalUnits;

namespace LunKit.Tests.LogicalUnits.Tasks;

/// <summary>A unit's work queue that runs on the test's thread, when the test says so: nothing happens by chance.</summary>
internal sealed class ManualQueue : WorkQueue
{
    private readonly Lock _gate = new();
    private readonly Queue<IThreadPoolWorkItem> _items = [];

    public int Count
    {
        get { lock (_gate) return _items.Count; }
    }

    public override void Post(IThreadPoolWorkItem item)
    {
        lock (_gate) _items.Enqueue(item);
    }

    public override void Cancel(CancellationTokenSource source, Action<Exception> fault) => CancelHere(source, fault);

    /// <summary>Cancels, with all that follows, on this thread.</summary>
    public static void CancelHere(CancellationTokenSource source, Action<Exception> fault)
    {
        try
        {
            source.Cancel();
        }
        catch (AggregateException e)
        {
            fault(e);
        }
    }

    /// <summary>Runs one item; false when there is none.</summary>
    public bool RunOne()
    {
        IThreadPoolWorkItem? item;
        lock (_gate)
            if (!_items.TryDequeue(out item)) return false;
        item.Execute();
        return true;
    }

    public void RunAll()
    {
        while (RunOne())
        {
        }
    }
}
