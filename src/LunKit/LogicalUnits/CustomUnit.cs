using LunKit.Scsi;
using Microsoft.Extensions.Logging;

namespace LunKit.LogicalUnits;

/// <summary>
/// A device server of one's own: any device type, any command (what TCMU calls a pass-through handler). <see cref="Execute"/> sees
/// every command first; those that it leaves alone are answered by the standard ones of SPC (INQUIRY, REPORT LUNS, reservations and so
/// on) or refused as unknown. Unit attentions, reservations and task management are taken care of.
/// </summary>
public abstract class CustomUnit : LogicalUnit
{
    private readonly byte _deviceType;

    /// <summary>Makes the unit.</summary>
    /// <param name="deviceType">Peripheral device type (SPC-5 6.6.2): 0 disk, 1 tape, 3 processor, 5 optical, ...</param>
    /// <param name="identity">Its names.</param>
    /// <param name="state">Keeps what outlives the process; null to forget it.</param>
    /// <param name="log">Where to log.</param>
    protected CustomUnit(byte deviceType, UnitIdentity identity, IUnitStateStore? state = null, ILogger? log = null)
        : this(deviceType, identity, new UnitMemory(state ?? new VolatileUnitState(identity.Id)), log)
    {
    }

    private CustomUnit(byte deviceType, UnitIdentity identity, UnitMemory memory, ILogger? log)
        : base(identity, memory, PrimaryCommands.Table, new ModePages(BlockModePages.OfAnyDevice, memory), log) => _deviceType = deviceType;

    internal sealed override byte DeviceType => _deviceType;

    /// <summary>
    /// Executes a command, or returns null to leave it to the standard commands. Data to the initiator goes into
    /// <see cref="ScsiCommand.RentDataIn"/> and is counted by <see cref="CommandResult.Data"/>; an exception becomes sense. May run on
    /// several threads at once, each with its own command. Task attributes order the standard commands only.
    /// </summary>
    protected abstract ValueTask<CommandResult>? Execute(ScsiCommand command);

    /// <summary>
    /// Bytes that a command wants from the initiator; 0 for none. Whoever handles commands with data from the initiator says so here.
    /// </summary>
    /// <param name="cdb">The CDB.</param>
    /// <param name="offered">Bytes that the initiator has for the command.</param>
    public override long DataOutLength(ReadOnlySpan<byte> cdb, long offered) => base.DataOutLength(cdb, offered);

    /// <summary>
    /// Whether a write that this unit has acknowledged outlives the process, however that ends: for units of handlers. True where it is with the system,
    /// another process or a device by then; false where this process's memory is the only place until a flush. False is always safe.
    /// </summary>
    public virtual bool SurvivesProcess => false;

    /// <inheritdoc/>
    public sealed override ValueTask<CommandResult> ExecuteAsync(ScsiCommand command)
    {
        if (TryRefuse(command, out var refusal))
        {
            Tasks.End(command);
            return new(Count(command, refusal));
        }
        if (command.TaskState != TaskState.Collecting) Tasks.Arrive(command);
        try
        {
            if (Execute(command) is not { } running) return base.ExecuteAsync(command);
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

    /// <summary>What is known of a command: how it stands to unit attentions, reservations and access states. Null: nothing is.</summary>
    private protected virtual CommandDescriptor? PolicyOf(ReadOnlySpan<byte> cdb) => Table.Find(cdb);

    /// <summary>What comes before any command: a unit attention, an access state, a reservation of another nexus.</summary>
    private bool TryRefuse(ScsiCommand command, out CommandResult refusal)
    {
        var nexus = command.UnitNexus!;
        var row = PolicyOf(command.Cdb);
        refusal = default;
        if (nexus.HasUnitAttention && !(row?.Has(CommandTraits.IgnoresUnitAttention) ?? false) && nexus.TryTakeUnitAttention(out var attention))
            refusal = CommandResult.CheckCondition(attention);
        else if (row is not null && !Alua.IsAllActive && Alua.Refuses(nexus, row) is { } access)
            refusal = CommandResult.CheckCondition(access);
        // A command that no standard names may change the medium.
        else if (row is not null ? ConflictsWithReservation(nexus, row, command.Cdb)
            : ReserveHolder is { } holder && holder != nexus || Reservations.IsReserved && Reservations.Conflicts(nexus.Nexus, isRead: false))
            refusal = CommandResult.ReservationConflict;
        else return false;
        return true;
    }
}
