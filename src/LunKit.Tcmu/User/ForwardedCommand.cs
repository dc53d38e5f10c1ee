using System.Threading.Tasks.Sources;
using LunKit.LogicalUnits;

namespace LunKit.Tcmu.User;

/// <summary>A command on its way through a handler process. Pooled by its <see cref="UserRing"/>, whose lock guards all but the result.</summary>
internal sealed class ForwardedCommand(UserRing ring) : IValueTaskSource<CommandResult>
{
    private int _holders;

    // The fabric goes on where this is set: it only takes a note of it.
    private ManualResetValueTaskSourceCore<CommandResult> _source;

    /// <summary>The command; null when its initiator has its answer, and only id and data are still the handler's.</summary>
    public ScsiCommand? Command { get; private set; }

    /// <summary>What it sends, in shared memory.</summary>
    public RingMemory? DataOut { get; set; }

    /// <summary>Room for what it takes, in shared memory.</summary>
    public RingMemory? DataIn { get; set; }

    /// <summary>Whether <see cref="DataOut"/> is a copy of what the fabric has; else it is where the fabric received it.</summary>
    public bool DataOutIsCopy { get; set; }

    /// <summary>Bytes that it takes, if its handler does not say another number.</summary>
    public int DataInLength { get; private set; }

    /// <summary>Bytes that its handler may fill.</summary>
    public int DataInRoom { get; private set; }

    /// <summary>Its place in the order of arrival.</summary>
    public long Sequence { get; private set; }

    /// <summary>When it fails (<see cref="Environment.TickCount64"/>).</summary>
    public long Deadline { get; set; }

    /// <summary>A handler may have begun it.</summary>
    public bool WasPosted { get; set; }

    /// <summary>The handler was told that it is aborted.</summary>
    public bool AbortIsTold { get; set; }

    public short Version => _source.Version;

    public void Begin(ScsiCommand command, int dataInLength, int dataInRoom, long sequence)
    {
        // Whoever waits for its result, and the ring, until the handler is done with its data.
        _holders = 2;
        Command = command;
        DataInLength = dataInLength;
        DataInRoom = dataInRoom;
        Sequence = sequence;
        WasPosted = AbortIsTold = false;
    }

    /// <summary>It has an answer, which <see cref="Complete"/> brings when the ring's lock is free.</summary>
    public void End() => Command = null;

    /// <summary>Answers it, once.</summary>
    public void Complete(CommandResult result) => _source.SetResult(result);

    /// <summary>The handler is done with it.</summary>
    public void ReleaseData()
    {
        ForgetData();
        Release();
    }

    /// <summary>Gives back its memory, before it was posted.</summary>
    public void ForgetData()
    {
        DataOut?.Dispose();
        DataIn?.Dispose();
        DataOut = DataIn = null;
    }

    /// <summary>One of its holders is done with it; the last gives it back to the pool.</summary>
    private void Release()
    {
        if (Interlocked.Decrement(ref _holders) == 0) ring.Recycle(this);
    }

    public CommandResult GetResult(short token)
    {
        var result = _source.GetResult(token);
        _source.Reset();
        Release();
        return result;
    }

    public ValueTaskSourceStatus GetStatus(short token) => _source.GetStatus(token);

    public void OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) => _source.OnCompleted(continuation, state, token, flags);
}
