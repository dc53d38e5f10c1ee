namespace LunKit.Tcmu.Target;

/// <summary>
/// The memory that the data areas of many devices may have together, as the kernel's <c>global_max_data_area_mb</c>. A device that has no
/// command out may always take what one needs, so none waits for another; all others wait for their own commands to end. Thread safe.
/// </summary>
/// <param name="limitBytes">All data areas together, but for one command of each device.</param>
public sealed class DataAreaBudget(long limitBytes)
{
    private long _used;

    /// <summary>The limit in bytes.</summary>
    public long LimitBytes => limitBytes;

    /// <summary>Bytes that have memory behind them now, at most.</summary>
    public long UsedBytes => Volatile.Read(ref _used);

    /// <summary>Whether those that have more than they need are to give it back at once.</summary>
    internal bool IsTight => UsedBytes > limitBytes / 4 * 3;

    /// <summary>Takes bytes; false, having taken none, when that is beyond the limit and not a must.</summary>
    internal bool TryTake(long bytes, bool must)
    {
        if (Interlocked.Add(ref _used, bytes) <= limitBytes || must) return true;
        Return(bytes);
        return false;
    }

    internal void Return(long bytes) => Interlocked.Add(ref _used, -bytes);
}
