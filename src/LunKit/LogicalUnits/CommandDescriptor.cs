using LunKit.Scsi;

namespace LunKit.LogicalUnits;

/// <summary>Executes one command of a unit. Runs on the caller's thread until it has to wait.</summary>
internal delegate ValueTask<CommandResult> CommandHandler(LogicalUnit unit, ScsiCommand command);

/// <summary>The policy of a command: how it stands to media, reservations, unit attentions and other commands.</summary>
[Flags]
internal enum CommandTraits
{
    None = 0,
    /// <summary>Transfers or names blocks by LBA and count: range, protection bits and exclusivity are checked before the handler.</summary>
    Blocks = 1,
    /// <summary>Changes the medium: refused when write protected.</summary>
    WritesMedium = 2,
    /// <summary>Needs a medium that is ready (not ejected, not being formatted or sanitized).</summary>
    NeedsMedium = 4,
    /// <summary>Nothing else touches its blocks while it runs.</summary>
    Exclusive = 8,
    /// <summary>Executed even while a unit attention is pending (SPC-5 5.15 and SAM-6 5.14).</summary>
    IgnoresUnitAttention = 16,
    /// <summary>Executed in every asymmetric access state but offline (SPC-5 5.18.2.5).</summary>
    AnyAccessState = 32,
    /// <summary>A persistent reservation does not stop it (SPC-5 table 69, SBC-4 table 14).</summary>
    IgnoresReservation = 64,
    /// <summary>Only exclusive-access reservations stop it.</summary>
    ReservationRead = 128,
    /// <summary>RESERVE(6) and RESERVE(10) of another nexus do not stop it (SPC-2 5.5.1).</summary>
    IgnoresReserve = 256,
    /// <summary>DPO and FUA are in the byte of flags and are accepted.</summary>
    CacheControl = 512,
    /// <summary>A transfer length of 0 beyond the last block is still out of range.</summary>
    CheckEmptyRange = 1024,
    /// <summary>Allowed while SANITIZE runs (SBC-4 4.11.2).</summary>
    DuringSanitize = 2048,
    /// <summary>Destroys data: a reserved bit that is set refuses it, for the initiator may mean something else.</summary>
    Strict = 4096,
    /// <summary>
    /// May be carried out twice: done twice it ends as done once, as long as nothing else was acknowledged in between. A handler's successor gets it
    /// again when its predecessor may have begun it.
    /// </summary>
    Repeatable = 8192,
    /// <summary>Changes a device for good, or reaches past it: a pass-through lets it through only when that is asked for.</summary>
    Destructive = 16384,
    /// <summary>Answered by the target even where the device itself is elsewhere: to that, all initiators are one.</summary>
    StaysWithTarget = 32768,
    /// <summary>Nothing else touches any block while it begins: it waits for all that runs.</summary>
    ExclusiveAll = 65536,
}

/// <summary>How many bytes a command wants from the initiator of a unit whose blocks have <paramref name="blockSize"/> bytes.</summary>
internal delegate long DataOutRule(int blockSize, ReadOnlySpan<byte> cdb);

/// <summary>Whether a CDB is one of the forms of its command that conflict with no reservation.</summary>
internal delegate bool RemovalRule(ReadOnlySpan<byte> cdb);

/// <summary>The exact runs of blocks that the command names in its parameter data; null when the data is not as it must be.</summary>
internal delegate BlockRange[]? RangesRule(ScsiCommand command);

/// <summary>
/// One row of a <see cref="CommandTable"/>: dispatch, CDB length, REPORT SUPPORTED OPERATION CODES, reservation conflicts and
/// tests all read it.
/// </summary>
/// <param name="Name">The standard's name.</param>
/// <param name="ServiceAction">Where the opcode has service actions, which; else -1.</param>
/// <param name="Usage">CDB usage data (SPC-5 6.34.3): the first byte is the opcode, its length the CDB's.</param>
/// <param name="Traits">Policy.</param>
/// <param name="Handler">What executes it.</param>
/// <param name="DataOut">Bytes wanted from the initiator; null for none.</param>
internal sealed record CommandDescriptor(
    string Name, int ServiceAction, byte[] Usage, CommandTraits Traits, CommandHandler Handler, DataOutRule? DataOut = null)
{
    public Opcode Opcode => (Opcode)Usage[0];

    /// <summary>PREVENT ALLOW MEDIUM REMOVAL that allows, and START STOP UNIT that starts, conflict with nothing (SPC-5 table 69).</summary>
    public RemovalRule? AllowsRemoval { get; init; }

    /// <summary>For commands that name their blocks in parameter data.</summary>
    public RangesRule? Ranges { get; init; }

    /// <summary>
    /// Whether it may write, also where its row does not say so: EXTENDED COPY changes the unit that its list names, which may be this one. It is the
    /// one that takes data, needs the medium, and is more than a read to reservations.
    /// </summary>
    public bool MayChangeMedium => Has(CommandTraits.WritesMedium) || DataOut is not null && Has(CommandTraits.NeedsMedium) && !Has(CommandTraits.ReservationRead);

    /// <summary>Whether a unit has the command; null: every unit of the table has.</summary>
    public Func<LogicalUnit, bool>? OfferedBy { get; init; }

    public bool IsOfferedBy(LogicalUnit unit) => OfferedBy is null || OfferedBy(unit);

    public bool Has(CommandTraits trait) => (Traits & trait) != 0;
}
