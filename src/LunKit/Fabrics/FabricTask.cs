using System.Runtime.CompilerServices;
using LunKit.LogicalUnits;

namespace LunKit.Fabrics;

/// <summary>
/// A command of a fabric, from its arrival to its answer: waits for its execution without allocating, and brings the result to
/// <see cref="OnCompleted"/>. Pooled by its fabric, whose thread is the only one that uses it, except where a member says otherwise.
/// </summary>
internal abstract class FabricTask : ScsiCommand
{
    private readonly Action _completed;
    private ValueTaskAwaiter<CommandResult> _awaiter;

    protected FabricTask() => _completed = TakeResult;

    /// <summary>What the execution ended with.</summary>
    public CommandResult Result { get; private set; }

    /// <summary>It is in the unit's hands, and comes back through <see cref="OnCompleted"/>.</summary>
    public bool IsExecuting { get; set; }

    /// <summary>The link of the <see cref="CompletionQueue{T}"/> that it is in.</summary>
    internal FabricTask? NextCompleted { get; set; }

    /// <summary>Waits for an execution that goes on after its batch.</summary>
    public void Await(ValueTask<CommandResult> running)
    {
        IsExecuting = true;
        _awaiter = running.GetAwaiter();
        _awaiter.UnsafeOnCompleted(_completed);
    }

    private void TakeResult()
    {
        Result = _awaiter.GetResult();
        _awaiter = default;
        OnCompleted();
    }

    /// <summary>The execution has ended, and <see cref="Result"/> is there. Any thread: hands the task to the one that owns it, and does nothing else.</summary>
    private protected abstract void OnCompleted();
}
