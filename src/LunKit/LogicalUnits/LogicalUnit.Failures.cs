using LunKit.Backstores;
using LunKit.Diagnostics;
using LunKit.Linux;
using LunKit.Scsi;

namespace LunKit.LogicalUnits;

/// <summary>How commands end that fail, or are not begun.</summary>
public abstract partial class LogicalUnit
{
    // Not aborted: what it waited for has no end (TaskSet.GiveUp). It may be sent again.
    private static CommandResult NotBegun(ScsiCommand command) =>
        command.IsAborted ? CommandResult.TaskAborted : CommandResult.CheckCondition(Sense.LogicalUnitCommunicationFailure);

    /// <summary>The one place where what the world did wrong becomes sense, and where it is logged.</summary>
    private protected CommandResult Failed(ScsiCommand command, Exception e)
    {
        if (command.IsAborted && e is OperationCanceledException) return CommandResult.TaskAborted;
        // Threads, descriptors and memory may be there again in a moment; what was done of the command until then may be done again.
        bool passes = e is OutOfMemoryException or BackstoreException { Error: BackstoreError.Busy } or LinuxException { IsTransient: true };
        if (passes && !IsOnlyOnce(command)) return Busy(command, e);
        // Flushes fail as writes do: what they could not make durable was written.
        bool write = !(command.Row?.Has(CommandTraits.ReservationRead) ?? false);
        var sense = e switch
        {
            _ when passes => Sense.OutcomeUnknown,
            BackstoreException b => OfBackstore(b.Error, write),
            LinuxException { IsNoSpace: true } => Sense.SpaceAllocationFailed,
            LinuxException { IsReadOnly: true } => Sense.WriteProtected,
            // That says nothing of what is stored.
            LinuxException { IsGone: true } => Sense.LogicalUnitCommunicationFailure,
            IOException => write ? Sense.WriteError : Sense.UnrecoveredReadError,
            _ => Sense.InternalTargetFailure,
        };
        if (sense == Sense.InternalTargetFailure) LogMessages.CommandCrashed(Log, e, Identity.Name, Convert.ToHexString(command.Cdb), command.Tag);
        else LogMessages.CommandFailed(Log, Identity.Name, command.Cdb[0], command.Tag, sense.ToString(), e.Message);
        Statistics.CountFailure();
        return e is BackstoreException { Offset: { } offset } && sense.Key == SenseKey.MediumError
            ? CommandResult.CheckCondition(sense, InformationOf(offset))
            : CommandResult.CheckCondition(sense);
    }

    // COMPARE AND WRITE: it may have written before its flush failed, and would not find what it compares with.
    private static bool IsOnlyOnce(ScsiCommand command) => command.Row is { } row && row.Has(CommandTraits.WritesMedium) && !row.Has(CommandTraits.Repeatable);

    private CommandResult Busy(ScsiCommand command, Exception e)
    {
        LogMessages.CommandFailed(Log, Identity.Name, command.Cdb[0], command.Tag, "BUSY", e.Message);
        Statistics.CountFailure();
        return CommandResult.Busy;
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
}
