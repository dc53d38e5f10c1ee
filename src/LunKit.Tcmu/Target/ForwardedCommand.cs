using System.Threading.Tasks.Sources;
using LunKit.LogicalUnits;
using LunKit.Scsi;
using LunKit.Tcmu.Ring;

namespace LunKit.Tcmu.Target;

/// <summary>What the target knows of a command that a handler executes.</summary>
/// <param name="DataInLength">Bytes that it takes, if its handler does not say another number.</param>
/// <param name="DataInRoom">Bytes that its handler may fill; not fewer than it takes.</param>
/// <param name="Effect">What its good end means for what is acknowledged and not durable.</param>
/// <param name="Repeatable">Whether it may be carried out twice.</param>
/// <param name="IgnoresUnitAttention">Whether it is executed while a unit attention is pending.</param>
internal readonly record struct ForwardingPlan(int DataInLength, int DataInRoom, CommandEffect Effect, bool Repeatable, bool IgnoresUnitAttention);

/// <summary>
/// A command on its way through a handler process. Pooled by its <see cref="RingCommands"/>; the lock of the device's
/// <see cref="UserRing"/> guards all but the result.
/// </summary>
internal sealed class ForwardedCommand(RingCommands owner) : IValueTaskSource<CommandResult>
{
    private int _holders;

    // The fabric goes on where this is set: it only takes a note of it.
    private ManualResetValueTaskSourceCore<CommandResult> _source;

    /// <summary>The command; null when its initiator has its answer, and only id and data are still the handler's.</summary>
    public ScsiCommand? Command { get; private set; }

    /// <summary>What is known of it.</summary>
    public ForwardingPlan Plan { get; private set; }

    /// <summary>What it sends, in shared memory.</summary>
    public RingMemory? DataOut { get; private set; }

    /// <summary>Room for what it takes, in shared memory.</summary>
    public RingMemory? DataIn { get; private set; }

    /// <summary>Whether <see cref="DataOut"/> is a copy of what the fabric has; else it is where the fabric received it.</summary>
    public bool DataOutIsCopy { get; private set; }

    /// <summary>Its place in the order of arrival.</summary>
    public long Sequence { get; private set; }

    /// <summary><see cref="UnflushedWrites.Mark"/> when it arrived.</summary>
    public long Mark { get; private set; }

    /// <summary>When it fails (<see cref="RingRuntime.Clock"/>).</summary>
    public long Deadline { get; set; }

    /// <summary>A handler may have begun it.</summary>
    public bool WasPosted { get; set; }

    /// <summary>When the handler was told that it is aborted (<see cref="RingRuntime.Clock"/>); 0: it was not.</summary>
    public long AbortToldAt { get; set; }

    /// <summary>What keeps its blocks when it was answered before its handler was done.</summary>
    public AbandonedCommand? Remnant { get; set; }

    public short Version => _source.Version;

    public void Begin(ScsiCommand command, in ForwardingPlan plan, long sequence, long mark)
    {
        // Whoever waits for its result, and the ring, until the handler is done with its data.
        _holders = 2;
        (Command, Plan, Sequence, Mark) = (command, plan, sequence, mark);
        (WasPosted, AbortToldAt) = (false, 0);
    }

    /// <summary>Has its memory in the data area, what it sends in it; false when there is no room now.</summary>
    public bool TryPlace(RingRegion region)
    {
        if (Command!.DataOut.Length > 0 && DataOut is null && !TryPlaceDataOut(region, Command)) return false;
        return Plan.DataInRoom == 0 || (DataIn ??= region.TryRent(Plan.DataInRoom, inOnePiece: false)) is not null;
    }

    private bool TryPlaceDataOut(RingRegion region, ScsiCommand command)
    {
        // Where the fabric received it: no copy.
        if (command.DataOutOwner is RingMemory memory && memory.Region == region && memory.Length == command.DataOut.Length)
        {
            memory.AddUser();
            (DataOut, DataOutIsCopy) = (memory, false);
            return true;
        }
        if (region.TryRent(command.DataOut.Length, inOnePiece: false) is not { } copy) return false;
        (DataOut, DataOutIsCopy) = (copy, true);
        CopyDataOut();
        return true;
    }

    /// <summary>Fills its copy again: a handler before may have written over what it was sent.</summary>
    public void CopyDataOut()
    {
        if (DataOutIsCopy && DataOut is { } copy) Command!.DataOut.CopyTo(copy.View(copy.Length));
    }

    /// <summary>What the handler is told of where it comes from.</summary>
    public CommandOriginAbi Origin => new()
    {
        Initiator = Command!.Nexus.Number, Tag = Command.Tag, TargetPort = (ushort)Command.Nexus.TargetPort.RelativeId, Lun = (ushort)(Command.UnitNexus?.Lun ?? 0),
        Attribute = (byte)Command.Attribute, DataOutBufferSize = (uint)Math.Min(Command.DataOutBufferSize, uint.MaxValue),
    };

    /// <summary>What a completion means for its initiator; hands its data over.</summary>
    public CommandResult ResultOf(in RingCompletion completion, ReadOnlySpan<byte> sense)
    {
        var command = Command!;
        var status = (ScsiStatus)completion.Status;
        if (completion.IsUnknown || !Enum.IsDefined(status)) return CommandResult.CheckCondition(Sense.LogicalUnitCommunicationFailure);
        if (status == ScsiStatus.CheckCondition && completion.ReadLength > 0 && DataIn is { } beside)
        {
            int bytes = Math.Min(completion.ReadLength, beside.Length);
            beside.View(bytes).CopyTo(command.RentDataIn(bytes));
            return CommandResult.Relayed(status, bytes, sense);
        }
        if (status != ScsiStatus.Good || DataIn is not { } taken) return CommandResult.Relayed(status, 0, sense);
        int length = completion.ReadLength < 0 ? Plan.DataInLength : Math.Min(completion.ReadLength, taken.Length);
        if (length == 0) return CommandResult.Good;
        var data = taken.View(length);
        // An initiator that does not read keeps what is lent to it: not when others would have no room.
        if (!completion.KeepsBuffers && taken.Region.HasPlenty && command.TryLendDataIn(data, taken)) DataIn = null;
        else data.CopyTo(command.RentDataIn(length));
        return CommandResult.Data(length);
    }

    /// <summary>It has an answer, which <see cref="Complete"/> brings when the ring's lock is free.</summary>
    public void End() => Command = null;

    /// <summary>Answers it, once.</summary>
    public void Complete(CommandResult result) => _source.SetResult(result);

    /// <summary>The handler is done with it.</summary>
    public void ReleaseData()
    {
        EndRemnant();
        ForgetData();
        Release();
    }

    /// <summary>Nothing of it can happen any more: others may have its blocks.</summary>
    public void EndRemnant()
    {
        Remnant?.End();
        Remnant = null;
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
        if (Interlocked.Decrement(ref _holders) == 0) owner.Recycle(this);
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
