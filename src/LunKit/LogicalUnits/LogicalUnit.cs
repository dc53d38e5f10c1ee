using System.Buffers;
using System.Runtime.CompilerServices;
using System.Diagnostics;
using LunKit.Backstores;
using LunKit.Diagnostics;
using LunKit.Linux;
using LunKit.Scsi;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace LunKit.LogicalUnits;

/// <summary>
/// A SCSI device server: turns a <see cref="ScsiCommand"/> into a <see cref="CommandResult"/> through one command table, and never
/// throws for what an initiator did. Shared by all nexuses; thread safe.
/// </summary>
public abstract class LogicalUnit : IAsyncDisposable
{
    private readonly Lock _gate = new();
    private UnitNexus[] _nexuses = [];

    private protected LogicalUnit(UnitIdentity identity, UnitMemory memory, CommandTable table, ModePages modePages, ILogger? log)
    {
        Identity = identity;
        Memory = memory;
        Table = table;
        ModePages = modePages;
        Log = log ?? NullLogger.Instance;
        Reservations = new PersistentReservations(this, memory);
    }

    /// <summary>Serial number and names.</summary>
    public UnitIdentity Identity { get; }

    /// <summary>Counters of what the unit did.</summary>
    public UnitStatistics Statistics { get; } = new();

    internal UnitMemory Memory { get; }
    internal CommandTable Table { get; }
    internal ModePages ModePages { get; }
    internal PersistentReservations Reservations { get; }
    internal TaskSet Tasks { get; } = new();
    internal Alua Alua { get; set; } = Alua.AllActive;
    internal ILogger Log { get; }

    /// <summary>Peripheral device type (SPC-5 6.6.2), e.g. 0 for direct access.</summary>
    internal abstract byte DeviceType { get; }

    internal virtual bool IsRemovable => false;

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

    /// <summary>Enters a command whose data is still to come from the initiator: keeps its place in the order of arrival.</summary>
    public void Arrive(ScsiCommand command) => Tasks.Arrive(command);

    /// <summary>Gives up a command that arrived and will not be executed.</summary>
    public void Withdraw(ScsiCommand command) => Tasks.End(command);

    /// <summary>
    /// Executes one command, on the caller's thread as far as that needs no waiting. The command is completed, and may be used
    /// again, when the task is. Never throws.
    /// </summary>
    public virtual ValueTask<CommandResult> ExecuteAsync(ScsiCommand command)
    {
        var row = Table.Find(command.Cdb);
        // A fabric may bring more bytes than the command has; its shape follows from the table alone.
        if (row is not null) command.CutCdb(row.Usage.Length);
        if (TryRefuse(command, row, out var refusal))
        {
            Tasks.End(command);
            return new(Count(command, refusal));
        }
        return Start(command, row!);
    }

    private ValueTask<CommandResult> Start(ScsiCommand command, CommandDescriptor row)
    {
        try
        {
            if (!Enter(command, row, out var refusal))
            {
                Tasks.End(command);
                return new(Count(command, refusal));
            }
            if (command.TaskState == TaskState.Blocked) return RunWhenGrantedAsync(command, row);
            var running = row.Handler(this, command);
            if (!running.IsCompletedSuccessfully) return FinishAsync(command, running);
            Tasks.End(command);
            return new(Count(command, running.Result));
        }
        catch (Exception e)
        {
            Tasks.End(command);
            return new(Count(command, Failed(command, e)));
        }
    }

    private async ValueTask<CommandResult> RunWhenGrantedAsync(ScsiCommand command, CommandDescriptor row)
    {
        bool granted = await command.WaitGrantAsync().ConfigureAwait(false);
        if (!granted)
        {
            Tasks.End(command);
            return Count(command, CommandResult.TaskAborted);
        }
        // What the command waited for may have changed the world: a reset, a reservation, a smaller capacity.
        if (TryRefuse(command, row, out var refusal))
        {
            Tasks.End(command);
            return Count(command, refusal);
        }
        ValueTask<CommandResult> running;
        try
        {
            running = row.Handler(this, command);
        }
        catch (Exception e)
        {
            running = ValueTask.FromException<CommandResult>(e);
        }
        return await FinishAsync(command, running).ConfigureAwait(false);
    }

    // Pooled: a unit whose commands end in another process comes here with every one.
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    private protected async ValueTask<CommandResult> FinishAsync(ScsiCommand command, ValueTask<CommandResult> running)
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
        Tasks.End(command);
        return Count(command, result);
    }

    /// <summary>Checks the blocks that a command names, and enters the task set (perhaps to wait there).</summary>
    private protected virtual bool Enter(ScsiCommand command, CommandDescriptor row, out CommandResult refusal)
    {
        refusal = default;
        Tasks.Begin(command, 0, 0, exclusive: false);
        return true;
    }

    private bool TryRefuse(ScsiCommand command, CommandDescriptor? row, out CommandResult refusal)
    {
        var nexus = command.UnitNexus!;
        var cdb = command.Cdb;
        if (nexus.HasUnitAttention && !(row?.Has(CommandTraits.IgnoresUnitAttention) ?? false) && nexus.TryTakeUnitAttention(out var attention))
            refusal = CommandResult.CheckCondition(attention);
        else if (row is null)
            refusal = Table.IsKnown(cdb.IsEmpty ? (byte)0 : cdb[0]) ? CommandResult.InvalidCdbField(1, 4) : CommandResult.CheckCondition(Sense.InvalidOpcode);
        else if (cdb.Length < row.Usage.Length)
            refusal = CommandResult.InvalidCdbField(0);
        else if (row.Opcode == Opcode.VariableLength && cdb[7] != row.Usage[7])
            refusal = CommandResult.InvalidCdbField(7);
        else if (!Alua.IsAllActive && Alua.Refuses(nexus, row) is { } access)
            refusal = CommandResult.CheckCondition(access);
        else if (ConflictsWithReservation(nexus, row, cdb))
            refusal = CommandResult.ReservationConflict;
        // NACA asks for ACA, which is not supported (SAM-6 5.2, NORMACA = 0).
        else if ((cdb[0] == (byte)Opcode.VariableLength ? cdb[1] : cdb[^1]) is var control && (control & 0x04) != 0)
            refusal = CommandResult.InvalidCdbField(cdb[0] == (byte)Opcode.VariableLength ? 1 : cdb.Length - 1, 2);
        else if (row.Has(CommandTraits.Strict) && FirstReserved(row, cdb) is var reserved and >= 0)
            refusal = CommandResult.InvalidCdbField(reserved);
        else if (command.Attribute == TaskAttribute.Aca)
            refusal = CommandResult.CheckCondition(new Sense(SenseKey.IllegalRequest, 0x49, 0x00));
        else
            return IsRefused(command, row, out refusal);
        return true;
    }

    private static int FirstReserved(CommandDescriptor row, ReadOnlySpan<byte> cdb)
    {
        for (int i = 1; i < row.Usage.Length; i++)
            if ((cdb[i] & ~row.Usage[i]) != 0) return i;
        return -1;
    }

    /// <summary>Refusals of the device type: medium, write protection.</summary>
    private protected virtual bool IsRefused(ScsiCommand command, CommandDescriptor row, out CommandResult refusal)
    {
        refusal = default;
        return false;
    }

    private protected bool ConflictsWithReservation(UnitNexus nexus, CommandDescriptor row, ReadOnlySpan<byte> cdb)
    {
        if (ReserveHolder is { } holder && holder != nexus && !row.Has(CommandTraits.IgnoresReserve) && !AllowsRemoval(row, cdb)) return true;
        return Reservations.IsReserved && !row.Has(CommandTraits.IgnoresReservation) && !AllowsRemoval(row, cdb) &&
            Reservations.Conflicts(nexus.Nexus, row.Has(CommandTraits.ReservationRead));
    }

    /// <summary>PREVENT ALLOW MEDIUM REMOVAL that allows, and START STOP UNIT that starts, conflict with nothing (SPC-5 table 69).</summary>
    private static bool AllowsRemoval(CommandDescriptor row, ReadOnlySpan<byte> cdb) => row.Opcode switch
    {
        Opcode.PreventAllowMediumRemoval => (cdb[4] & 0x03) == 0,
        Opcode.StartStopUnit => (cdb[4] & 0xF3) == 1,
        _ => false,
    };

    /// <summary>The one place where what the world did wrong becomes sense, and where it is logged.</summary>
    private protected CommandResult Failed(ScsiCommand command, Exception e)
    {
        if (command.IsAborted && e is OperationCanceledException) return CommandResult.TaskAborted;
        bool write = Table.Find(command.Cdb)?.Has(CommandTraits.WritesMedium) ?? false;
        var sense = e switch
        {
            BackstoreException b => OfBackstore(b.Error, write),
            LinuxException { IsNoSpace: true } => Sense.SpaceAllocationFailed,
            LinuxException { IsReadOnly: true } => Sense.WriteProtected,
            IOException => write ? Sense.WriteError : Sense.UnrecoveredReadError,
            OutOfMemoryException => Sense.InsufficientResources,
            _ => Sense.InternalTargetFailure,
        };
        if (sense == Sense.InternalTargetFailure) LogMessages.CommandCrashed(Log, e, Identity.Name, Convert.ToHexString(command.Cdb), command.Tag);
        else LogMessages.CommandFailed(Log, Identity.Name, command.Cdb[0], command.Tag, sense.ToString(), e.Message);
        Statistics.CountFailure();
        return e is BackstoreException { Offset: { } offset } && sense.Key == SenseKey.MediumError
            ? CommandResult.CheckCondition(sense, InformationOf(offset))
            : CommandResult.CheckCondition(sense);
    }

    private protected virtual ulong InformationOf(long byteOffset) => (ulong)byteOffset;

    private static Sense OfBackstore(BackstoreError error, bool write) => error switch
    {
        BackstoreError.MediumRead => Sense.UnrecoveredReadError,
        BackstoreError.MediumWrite => Sense.WriteError,
        BackstoreError.NoSpace => Sense.SpaceAllocationFailed,
        BackstoreError.ReadOnly => Sense.WriteProtected,
        BackstoreError.Connecting => Sense.BecomingReady,
        BackstoreError.Unreachable => Sense.LogicalUnitCommunicationFailure,
        _ => write ? Sense.WriteError : Sense.UnrecoveredReadError,
    };

    private protected CommandResult Count(ScsiCommand command, CommandResult result)
    {
        Statistics.CountCommand(result.Status, command.DataOut.Length, result.DataInLength);
        return result;
    }

    internal void Join(UnitNexus nexus)
    {
        lock (_gate) Volatile.Write(ref _nexuses, [.. _nexuses, nexus]);
        nexus.Attend(Sense.PowerOnOrReset);
    }

    internal virtual void Leave(UnitNexus nexus)
    {
        Tasks.Abort(c => c.UnitNexus == nexus, _ => false);
        lock (_gate)
        {
            Volatile.Write(ref _nexuses, [.. _nexuses.Where(n => n != nexus)]);
            if (ReserveHolder == nexus) ReserveHolder = null;
        }
        nexus.PreventsRemoval = false;
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
        lock (_gate)
        {
            if (ReserveHolder == nexus) ReserveHolder = null;
        }
    }

    /// <summary>Establishes a unit attention for all nexuses but one.</summary>
    internal void AttendOthers(UnitNexus? except, Sense sense)
    {
        foreach (var nexus in Nexuses)
            if (nexus != except) nexus.Attend(sense);
    }

    /// <summary>
    /// LOGICAL UNIT RESET and everything that includes it (SAM-6 6.3.3): commands are aborted, RESERVE and PREVENT end, mode
    /// parameters return to the saved ones; persistent reservations and SANITIZE stay.
    /// </summary>
    internal virtual void Reset(UnitNexus? by, Sense attention)
    {
        Tasks.Abort(_ => true, _ => false);
        lock (_gate) ReserveHolder = null;
        foreach (var nexus in Nexuses)
        {
            nexus.PreventsRemoval = false;
            nexus.Attend(attention);
        }
        ModePages.Restore();
    }

    /// <summary>Makes all acknowledged writes durable.</summary>
    public virtual ValueTask FlushAsync() => ValueTask.CompletedTask;

    /// <inheritdoc/>
    public virtual ValueTask DisposeAsync()
    {
        GC.SuppressFinalize(this);
        Memory.Dispose();
        return ValueTask.CompletedTask;
    }

    /// <inheritdoc/>
    public override string ToString() => Identity.Name;
}
