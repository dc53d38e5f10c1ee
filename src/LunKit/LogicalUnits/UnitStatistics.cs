using LunKit.Scsi;

namespace LunKit.LogicalUnits;

/// <summary>What a unit did since it started. Thread safe; each counter is exact, together they are not a snapshot.</summary>
public sealed class UnitStatistics
{
    private long _commands, _readBytes, _writtenBytes, _checkConditions, _conflicts, _failures;

    /// <summary>Commands completed.</summary>
    public long Commands => Volatile.Read(ref _commands);

    /// <summary>Bytes sent to initiators.</summary>
    public long BytesRead => Volatile.Read(ref _readBytes);

    /// <summary>Bytes taken from initiators.</summary>
    public long BytesWritten => Volatile.Read(ref _writtenBytes);

    /// <summary>Commands that ended with CHECK CONDITION.</summary>
    public long CheckConditions => Volatile.Read(ref _checkConditions);

    /// <summary>Commands that ended with RESERVATION CONFLICT.</summary>
    public long ReservationConflicts => Volatile.Read(ref _conflicts);

    /// <summary>Commands that failed for a reason outside the initiator.</summary>
    public long Failures => Volatile.Read(ref _failures);

    internal void CountCommand(ScsiStatus status, int dataOut, int dataIn)
    {
        Interlocked.Increment(ref _commands);
        if (dataIn > 0) Interlocked.Add(ref _readBytes, dataIn);
        if (dataOut > 0) Interlocked.Add(ref _writtenBytes, dataOut);
        if (status == ScsiStatus.Good) return;
        if (status == ScsiStatus.CheckCondition) Interlocked.Increment(ref _checkConditions);
        else if (status == ScsiStatus.ReservationConflict) Interlocked.Increment(ref _conflicts);
    }

    internal void CountFailure() => Interlocked.Increment(ref _failures);
}
