using System.Buffers;
using System.Runtime.CompilerServices;
using System.Diagnostics;
using LunKit.Backstores;
using LunKit.Diagnostics;
using LunKit.Linux;
using LunKit.Scsi;
using LunKit.Targets;
using Microsoft.Extensions.Logging;

namespace LunKit.LogicalUnits;

/// <summary>
/// A SCSI device server: turns a <see cref="ScsiCommand"/> into a <see cref="CommandResult"/> through one command table, and never
/// throws for what an initiator did. Shared by all nexuses; thread safe.
/// </summary>
public abstract partial class LogicalUnit : IAsyncDisposable
{
    // Longer than a disk that is only slow, shorter than a service manager waits.
    private static readonly TimeSpan s_closing = TimeSpan.FromSeconds(30);

    private readonly Lock _gate = new();
    private UnitNexus[] _nexuses = [];
    private Task? _closing;

    private protected LogicalUnit(
        UnitIdentity identity, UnitMemory memory, CommandTable table, ModePages modePages, ILogger? log, UnitRuntime? runtime = null)
    {
        Identity = identity;
        Memory = memory;
        Table = table;
        ModePages = modePages;
        Log = log ?? StandardErrorLog.Instance;
        Reservations = new PersistentReservations(this, memory);
        Runtime = runtime ?? UnitRuntime.System;
        Tasks = new TaskSet(Runtime.Queue, e => LogMessages.CancellationThrew(Log, e, Identity.Name));
        TaskManager = new TaskManager(this);
    }

    /// <summary>Serial number and names.</summary>
    public UnitIdentity Identity { get; }

    /// <summary>Counters of what the unit did.</summary>
    public UnitStatistics Statistics { get; } = new();

    internal UnitMemory Memory { get; }
    internal CommandTable Table { get; }
    internal ModePages ModePages { get; }
    internal PersistentReservations Reservations { get; }
    internal UnitRuntime Runtime { get; }
    internal TaskSet Tasks { get; }
    internal TaskManager TaskManager { get; }
    internal Alua Alua { get; set; } = Alua.AllActive;
    internal ILogger Log { get; }

    /// <summary>Peripheral device type (SPC-5 6.6.2), e.g. 0 for direct access.</summary>
    internal abstract byte DeviceType { get; }

    internal virtual bool IsRemovable => false;

    /// <summary>Why what answers its commands cannot be reached, in words; null when it can, or nobody knows.</summary>
    internal virtual string? WhyUnavailable => null;

    /// <summary>Bytes of the unit and of its logical blocks; null where there are none, or somebody else knows.</summary>
    internal virtual (long Bytes, int BlockBytes)? Capacity => null;

    /// <summary>The holder of SPC-2's RESERVE(6)/RESERVE(10), or null.</summary>
    internal UnitNexus? ReserveHolder { get; set; }

    /// <summary>The nexuses that see the unit now.</summary>
    internal ReadOnlySpan<UnitNexus> Nexuses => Volatile.Read(ref _nexuses);

    /// <summary>
    /// How many bytes the command wants from the initiator, known from its CDB alone; 0 when it would be refused anyway or takes
    /// none. The fabric asks the initiator for no more than this.
    /// </summary>
    /// <param name="cdb">The CDB.</param>
    /// <param name="offered">Bytes that the initiator has for the command.</param>
    public virtual long DataOutLength(ReadOnlySpan<byte> cdb, long offered)
    {
        var row = Table.Find(cdb);
        return row?.DataOut is null || cdb.Length < row.Usage.Length ? 0 : row.DataOut(DataBlockSize, cdb[..row.Usage.Length]);
    }

    /// <summary>Bytes of a block, by which CDBs count their data.</summary>
    private protected virtual int DataBlockSize => 512;

    /// <summary>
    /// Memory in which the unit wants the data of a command from the initiator, so that nobody need copy it; the fabric puts it into
    /// <see cref="ScsiCommand.DataOutOwner"/> and disposes it with the command. Null: the fabric's own will do.
    /// </summary>
    internal virtual IMemoryOwner<byte>? RentDataOut(int length) => null;

    /// <summary>Enters a command whose data is still to come from the initiator: it keeps its place in the order, and task management finds it.</summary>
    public void Arrive(ScsiCommand command) => Tasks.Enter(command);

    /// <summary>
    /// The command is over for its fabric: the answer is queued for sending, or there is none. Called exactly once for each command that arrived
    /// or was executed; task management that affects the command is answered after this.
    /// </summary>
    public void Complete(ScsiCommand command)
    {
        if (command.IsAborted) Unheard(command.Nexus);
        Tasks.Leave(command);
    }

    /// <summary>An initiator may not have heard what its commands have ended with: one was aborted, or a connection is gone.</summary>
    internal virtual void Unheard(Nexus nexus) { }

    /// <summary>
    /// Executes one command, on the caller's thread as far as that needs no waiting. When the task completes the unit has done with the command
    /// and its memory; the fabric answers and calls <see cref="Complete"/>. Never throws.
    /// </summary>
    public ValueTask<CommandResult> ExecuteAsync(ScsiCommand command)
    {
        var row = command.Row = FindRow(command.Cdb);
        // A fabric may bring more bytes than the command has; its shape follows from the table alone.
        if (row is not null) command.CutCdb(row.Usage.Length);
        if (command.Place.State != TaskState.Collecting) Tasks.Enter(command);
        try
        {
            TaskGrant grant;
            do
            {
                int version = Tasks.Version;
                if (Refuses(command, out var lease, out var refusal)) return new(Count(command, refusal));
                Runtime.Queue.Pause();
                grant = Tasks.Begin(command, lease, version);
            }
            while (grant == TaskGrant.Stale);
            if (grant == TaskGrant.Aborted) return new(Count(command, CommandResult.TaskAborted));
            Runtime.Queue.Pause();
            if (grant == TaskGrant.Blocked) return RunWhenGrantedAsync(command);
            var running = Run(command);
            return running.IsCompletedSuccessfully ? new(Count(command, running.Result)) : FinishAsync(command, running);
        }
        catch (Exception e)
        {
            return new(Count(command, Failed(command, e)));
        }
    }

    private async ValueTask<CommandResult> RunWhenGrantedAsync(ScsiCommand command)
    {
        bool granted = await command.WaitGrantAsync().ConfigureAwait(false);
        ValueTask<CommandResult> running;
        try
        {
            // What the command waited for may have changed the world: a reset, a reservation, a smaller capacity.
            running = !granted || command.IsAborted ? new(NotBegun(command)) : Refuses(command, out _, out var refusal) ? new(refusal) : Run(command);
        }
        catch (Exception e)
        {
            running = ValueTask.FromException<CommandResult>(e);
        }
        return await FinishAsync(command, running).ConfigureAwait(false);
    }

    // Pooled: a unit whose commands end in another process comes here with every one.
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    private async ValueTask<CommandResult> FinishAsync(ScsiCommand command, ValueTask<CommandResult> running)
    {
        CommandResult result;
        try
        {
            result = await running.ConfigureAwait(false);
        }
        catch (Exception e)
        {
            result = Failed(command, e);
        }
        // Others may have its blocks, before its fabric has found the time to answer it.
        Tasks.End(command);
        return Count(command, result);
    }

    private bool Refuses(ScsiCommand command, out BlockLease lease, out CommandResult refusal)
    {
        lease = default;
        return Admission.Refuses(this, command, out refusal) || Prepare(command, out lease, out refusal);
    }

    /// <summary>The row of a CDB: what is known of the command. Null: nobody knows it.</summary>
    internal virtual CommandDescriptor? FindRow(ReadOnlySpan<byte> cdb) => Table.Find(cdb);

    /// <summary>Whether commands without a row are executed, and may change the medium.</summary>
    internal virtual bool TakesUnknown => false;

    /// <summary>Refusals of the device type, and the blocks that a command that is not refused works on. True: refused.</summary>
    private protected abstract bool Prepare(ScsiCommand command, out BlockLease lease, out CommandResult refusal);

    /// <summary>Executes a command that has been admitted.</summary>
    private protected abstract ValueTask<CommandResult> Run(ScsiCommand command);

    private protected CommandResult Count(ScsiCommand command, CommandResult result)
    {
        Statistics.CountCommand(result.Status, command.DataOut.Length, result.DataInLength);
        return result;
    }

    internal void Join(UnitNexus nexus)
    {
        lock (_gate) Volatile.Write(ref _nexuses, [.. _nexuses, nexus]);
        nexus.EstablishUnitAttention(Sense.PowerOnOrReset);
    }

    /// <summary>
    /// The nexus sees the unit no more. <paramref name="isLost"/>: because it is gone; else its commands are answered, and the task is their end.
    /// </summary>
    internal virtual Task Leave(UnitNexus nexus, bool isLost)
    {
        // What arrives from here on is refused; what is in the task set already is found there.
        nexus.Unmap();
        var left = Task.CompletedTask;
        if (isLost) TaskManager.NexusLost(nexus);
        else left = TaskManager.Unmapped(nexus);
        lock (_gate)
        {
            Volatile.Write(ref _nexuses, [.. _nexuses.Where(n => n != nexus)]);
            if (ReserveHolder == nexus) ReserveHolder = null;
        }
        nexus.PreventsRemoval = false;
        return left;
    }

    /// <summary>Takes SPC-2's reservation; false when another nexus has it.</summary>
    internal bool TryReserve(UnitNexus nexus)
    {
        lock (_gate)
        {
            if (ReserveHolder is not null && ReserveHolder != nexus) return false;
            ReserveHolder = nexus;
            return true;
        }
    }

    /// <summary>Gives SPC-2's reservation back; a nexus that does not hold it changes nothing.</summary>
    internal void Release(UnitNexus nexus)
    {
        lock (_gate) ReserveHolder = ReserveHolder == nexus ? null : ReserveHolder;
    }

    /// <summary>Establishes a unit attention for all nexuses but one.</summary>
    internal void EstablishForOthers(UnitNexus? except, Sense sense)
    {
        foreach (var nexus in Nexuses)
            if (nexus != except) nexus.EstablishUnitAttention(sense);
    }

    /// <summary>A target is reached through these ports, and its units with it; none: the unit is no more one of the target's.</summary>
    /// <param name="device">SCSI name of the target device.</param>
    /// <param name="ports">All of its ports.</param>
    /// <param name="isExplicit">Whether initiators that come through them may set access states.</param>
    internal void SetPorts(string device, IReadOnlyList<TargetPort> ports, bool isExplicit)
    {
        if (Alua.SetPorts(device, ports, isExplicit)) EstablishForAllBut(null, Sense.AsymmetricAccessStateChanged);
    }

    /// <summary>Establishes a unit attention for every nexus but one.</summary>
    internal void EstablishForAllBut(Nexus? except, Sense sense)
    {
        foreach (var nexus in Nexuses)
            if (nexus.Nexus != except) nexus.EstablishUnitAttention(sense);
    }

    /// <summary>
    /// Ends what a reset ends besides commands (SAM-6 6.3.3): RESERVE and PREVENT, mode parameters return to the saved ones; persistent
    /// reservations and SANITIZE stay. True: what is acknowledged must be made durable before the reset is answered.
    /// </summary>
    internal virtual bool EndByReset(Sense attention)
    {
        lock (_gate) ReserveHolder = null;
        foreach (var nexus in Nexuses)
        {
            nexus.PreventsRemoval = false;
            nexus.EstablishUnitAttention(attention);
        }
        ModePages.Restore();
        _ = KeepModesAsync();
        return false;
    }

    /// <summary>The unit's closing waits for it: nothing is written into a state that another unit has then.</summary>
    private async Task KeepModesAsync()
    {
        using var place = TaskBarrier.Hold(Tasks);
        // A unit that is being closed has a successor that is told of the reset, or none.
        if (!IsClosing) await TryAsync(ModePages.KeepAsync, LogMessages.ModesNotKept).ConfigureAwait(false);
    }

    /// <summary>Makes all acknowledged writes durable.</summary>
    public virtual ValueTask FlushAsync() => ValueTask.CompletedTask;

    /// <summary>The same, for somebody who can only log that it failed; the next flush of an initiator fails, too.</summary>
    internal virtual async Task FlushUntoldAsync(string reason) => await TryAsync(FlushAsync, reason).ConfigureAwait(false);

    private protected ValueTask<Exception?> TryAsync(Func<ValueTask> step, string reason) => TryAsync(step, (log, name, why) => LogMessages.FlushFailed(log, name, reason, why));

    private async ValueTask<Exception?> TryAsync(Func<ValueTask> step, Action<ILogger, string, string> report)
    {
        try
        {
            await step().ConfigureAwait(false);
            return null;
        }
        catch (Exception e)
        {
            report(Log, Identity.Name, e.Message);
            return e;
        }
    }

    /// <summary>Whether the unit is being closed, or is closed.</summary>
    internal bool IsClosing => Volatile.Read(ref _closing) is not null;

    /// <summary>
    /// Takes the unit out of service: refuses what arrives (LOGICAL UNIT NOT SUPPORTED), aborts what runs, waits for its end, makes acknowledged
    /// writes durable, and releases what the unit holds. False when that took longer than <paramref name="limit"/>: the log then names what
    /// hangs, and the unit's storage stays open until it has ended, for a running command may still use it. Never throws; may be called again, with
    /// a time of its own.
    /// </summary>
    public async Task<bool> CloseAsync(TimeSpan limit)
    {
        var source = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var closing = Interlocked.CompareExchange(ref _closing, source.Task, null) ?? DrainAndReleaseAsync(source);
        using var late = new CancellationTokenSource();
        bool isClosed = await Task.WhenAny(closing, Task.Delay(limit, Runtime.Time, late.Token)).ConfigureAwait(false) == closing;
        late.Cancel();
        if (!isClosed)
        {
            string held = string.Join("; ", Tasks.Describe(8));
            LogMessages.UnitNotClosed(Log, Identity.Name, limit.TotalSeconds, held.Length > 0 ? held : "its storage does not answer");
        }
        return isClosed;
    }

    private async Task DrainAndReleaseAsync(TaskCompletionSource over)
    {
        await TaskManager.Close().ConfigureAwait(false);
        await TryAsync(StopAsync, "the unit is closed").ConfigureAwait(false);
        ClosingFailure = await TryAsync(FlushLastAsync, "the unit is closed").ConfigureAwait(false);
        await TryAsync(ReleaseAsync, "the unit is closed").ConfigureAwait(false);
        Memory.Dispose();
        Closed?.Invoke();
        over.SetResult();
    }

    /// <summary>Why the flush at the unit's closing failed, so that acknowledged writes may be lost; null when it did not.</summary>
    public Exception? ClosingFailure { get; private set; }

    /// <summary>Raised once, when the unit has released what it held.</summary>
    internal event Action? Closed;

    /// <summary>The flush of the closing: called once, when no command is in the task set.</summary>
    private protected virtual ValueTask FlushLastAsync() => FlushAsync();

    /// <summary>Ends what goes on without a command, before the last flush: nothing changes the medium behind that.</summary>
    private protected virtual ValueTask StopAsync() => ValueTask.CompletedTask;

    /// <summary>Releases what the unit holds. Called once, when no command is in the task set.</summary>
    private protected virtual ValueTask ReleaseAsync() => ValueTask.CompletedTask;

    /// <summary>Closes the unit, within half a minute.</summary>
    public async ValueTask DisposeAsync()
    {
        GC.SuppressFinalize(this);
        await CloseAsync(s_closing).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public override string ToString() => Identity.Name;
}
