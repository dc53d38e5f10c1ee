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
        : this(deviceType, identity, state, log, UnitRuntime.System)
    {
    }

    internal CustomUnit(byte deviceType, UnitIdentity identity, IUnitStateStore? state, ILogger? log, UnitRuntime runtime)
        : this(deviceType, identity, new UnitMemory(state ?? new VolatileUnitState(identity.Id)), log, runtime)
    {
    }

    private CustomUnit(byte deviceType, UnitIdentity identity, UnitMemory memory, ILogger? log, UnitRuntime runtime)
        : base(identity, memory, PrimaryCommands.Table, new ModePages(BlockModePages.OfAnyDevice, memory), log, runtime) => _deviceType = deviceType;

    internal sealed override byte DeviceType => _deviceType;

    /// <summary>
    /// Executes a command, or returns null to leave it to the standard commands. Data to the initiator goes into
    /// <see cref="ScsiCommand.RentDataIn"/> and is counted by <see cref="CommandResult.Data"/>; an exception becomes sense. May run on
    /// several threads at once, each with its own command.
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

    internal sealed override bool TakesUnknown => true;

    /// <summary>
    /// Blocks that a command may change: what nobody knows may change all. The device itself keeps commands apart that must not meet; here they
    /// count when an initiator dies with one of them under way.
    /// </summary>
    private protected override bool Prepare(ScsiCommand command, out BlockLease lease, out CommandResult refusal)
    {
        refusal = default;
        bool changes = command.Row?.MayChangeMedium ?? true;
        lease = Blocks(command, changes) ?? new(changes ? BlockLease.All : default, ChangesMedium: changes);
        return false;
    }

    /// <summary>The blocks that a command names in its CDB or in its data; null: it names none, or not in a way that is understood here.</summary>
    private static BlockLease? Blocks(ScsiCommand command, bool changes)
    {
        if (command.Row is not { } row || command.Cdb.Length != row.Usage.Length) return null;
        if (!row.Has(CommandTraits.Blocks)) return row.Ranges?.Invoke(command) is { } parts ? BlockLease.OfParts(parts, exclusive: false, changes) : null;
        var cdb = new BlockCdb(command.Cdb);
        long start = (long)Math.Min(cdb.Lba, long.MaxValue);
        // No blocks may be all that follow: to the device (WRITE SAME, SBC-4 5.52), which is not asked here.
        bool isOpen = changes && cdb.BlockCount == 0 || start > long.MaxValue - cdb.BlockCount;
        return new(new(start, isOpen ? long.MaxValue : start + cdb.BlockCount), ChangesMedium: changes);
    }

    private protected override ValueTask<CommandResult> Run(ScsiCommand command)
    {
        if (Execute(command) is { } running) return running;
        var standard = Table.Find(command.Cdb);
        command.Row = standard;
        return Admission.RefusesCdb(this, command, out var refusal) ? new(refusal) : standard!.Handler(this, command);
    }
}
