using LunKit.Scsi;

namespace LunKit.LogicalUnits;

/// <summary>What a service action of PERSISTENT RESERVE OUT answered, and the registrations that it took from other nexuses.</summary>
internal readonly record struct ReservationOutcome(CommandResult Result, IReadOnlyList<Registration> Removed);

/// <summary>
/// Persistent reservations of one logical unit (SPC-5 5.14). Service actions are carried out one after the other: each makes a new table of
/// the one in force, saves it where APTPL asks for that, puts it in force, and then establishes unit attentions. What cannot be saved does
/// not happen. Commands look at the table in force and wait for nothing. Thread safe.
/// </summary>
internal sealed class PersistentReservations
{
    private readonly LogicalUnit _unit;
    private readonly UnitMemory _memory;
    private readonly SemaphoreSlim _turn = new(1, 1);
    private volatile ReservationTable _table;

    public PersistentReservations(LogicalUnit unit, UnitMemory memory)
    {
        _unit = unit;
        _memory = memory;
        _table = ReservationTable.Restore(memory.Read(s => s.Reservations));
    }

    /// <summary>The table in force: all that one answer tells comes from one of them.</summary>
    public ReservationTable Table => _table;

    public bool IsReserved => _table.IsReserved;

    /// <summary>Whether registrations can outlive a loss of power (PTPL_C).</summary>
    public bool CanPersist => _memory.IsDurable;

    /// <inheritdoc cref="ReservationTable.Conflicts"/>
    public bool Conflicts(Nexus nexus, bool isRead) => _table.Conflicts(nexus, isRead);

    /// <inheritdoc cref="ReservationTable.AcceptsReserve"/>
    public bool? AcceptsReserve(Nexus nexus) => _table.AcceptsReserve(nexus);

    /// <summary>
    /// Carries out a service action for a nexus. Cancellation ends the wait for earlier ones, not a change that has begun. An exception of the
    /// store leaves the old table in force.
    /// </summary>
    public async ValueTask<ReservationOutcome> ChangeAsync(
        UnitNexus by, Func<ReservationTable, ReservationStep> decide, CancellationToken cancellationToken)
    {
        await _turn.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            var old = _table;
            var step = decide(old);
            if (step.Next is not { } next) return new(step.Result, []);
            if (next.Aptpl || old.Aptpl)
                await _memory.UpdateAsync(s => s.Reservations = next.Aptpl ? next.Save() : null).ConfigureAwait(false);
            _table = next;
            foreach (var (registrations, sense) in step.Attentions) EstablishUnitAttention(registrations, by, sense);
            return new(CommandResult.Good, step.Removed);
        }
        finally
        {
            _turn.Release();
        }
    }

    private void EstablishUnitAttention(IReadOnlyList<Registration> registrations, UnitNexus except, Sense sense)
    {
        foreach (var nexus in _unit.Nexuses)
            if (nexus != except && registrations.Any(r => r.IsOf(nexus.Nexus))) nexus.EstablishUnitAttention(sense);
    }
}
