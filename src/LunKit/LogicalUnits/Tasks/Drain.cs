namespace LunKit.LogicalUnits;

/// <summary>The wait for some commands to leave their task set. Its count is guarded by the task set's lock.</summary>
internal sealed class Drain : IThreadPoolWorkItem
{
    private readonly TaskCompletionSource _source = new();

    /// <summary>Commands that it still waits for; one more while it is being made.</summary>
    internal int Remaining = 1;

    /// <summary>Completes when all of them have left. Never fails.</summary>
    public Task Task => _source.Task;

    /// <summary>Called once, without the lock, when none remains.</summary>
    internal void Complete() => _source.TrySetResult();

    void IThreadPoolWorkItem.Execute() => Complete();
}
