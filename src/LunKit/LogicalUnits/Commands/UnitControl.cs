using System.Buffers.Binary;
using LunKit.Scsi;

namespace LunKit.LogicalUnits.Commands;

/// <summary>TEST UNIT READY, REQUEST SENSE, START STOP UNIT, PREVENT ALLOW MEDIUM REMOVAL, diagnostics, RESERVE and RELEASE.</summary>
internal static class UnitControl
{
    public static ValueTask<CommandResult> TestUnitReady(LogicalUnit unit, ScsiCommand command) => new(CommandResult.Good);

    /// <summary>REQUEST SENSE (SPC-5 6.39): a pending unit attention, or the progress of a long operation, as data.</summary>
    public static ValueTask<CommandResult> RequestSense(LogicalUnit unit, ScsiCommand command)
    {
        bool descriptor = (command.Cdb[1] & 0x01) != 0;
        var detail = new SenseDetail(Sense.None);
        if (command.UnitNexus!.TryTakeUnitAttention(out var attention)) detail = new SenseDetail(attention);
        else if (unit is BlockUnit { Background: { IsActive: true } background }) detail = background.Sense;
        Span<byte> data = stackalloc byte[SenseData.MaxLength];
        int length = SenseData.Write(data, detail, descriptor);
        return new(DataIn.Send(command, data[..length], command.Cdb[4]));
    }

    /// <summary>START STOP UNIT (SBC-4 5.28): starts, stops, ejects and loads.</summary>
    public static ValueTask<CommandResult> StartStop(BlockUnit unit, ScsiCommand command)
    {
        var cdb = command.Cdb;
        bool load = (cdb[4] & 0x02) != 0, start = (cdb[4] & 0x01) != 0, noFlush = (cdb[4] & 0x04) != 0;
        // A power condition makes LOEJ and START void; a virtual disk is as ready in each of them (SBC-4 5.28).
        if (cdb[4] >> 4 != 0) return new(CommandResult.Good);
        if (load && !unit.IsRemovable) return DataIn.InvalidCdb(4, 1);
        if (load && IsRemovalPrevented(unit)) return DataIn.Check(Sense.MediumRemovalPrevented);
        return RunAsync(unit, command.UnitNexus!, load, start, noFlush);

        static async ValueTask<CommandResult> RunAsync(BlockUnit unit, UnitNexus by, bool load, bool start, bool noFlush)
        {
            if (!start && !noFlush) await unit.FlushAsync().ConfigureAwait(false);
            if (load && start && !unit.IsLoaded) unit.EstablishForOthers(by, Sense.MediumChanged);
            if (load) unit.IsLoaded = start;
            // Stopping a fixed disk for everybody because one initiator shuts down would be a fault of a shared virtual disk:
            // it stays ready, as other targets do; ejecting a removable medium is real.
            unit.IsStarted = true;
            return CommandResult.Good;
        }
    }

    private static bool IsRemovalPrevented(BlockUnit unit)
    {
        foreach (var nexus in unit.Nexuses)
            if (nexus.PreventsRemoval) return true;
        return false;
    }

    public static ValueTask<CommandResult> PreventAllow(LogicalUnit unit, ScsiCommand command)
    {
        int prevent = command.Cdb[4] & 0x03;
        if (prevent > 1) return DataIn.InvalidCdb(4, 1);
        command.UnitNexus!.PreventsRemoval = prevent == 1;
        return new(CommandResult.Good);
    }

    /// <summary>SEND DIAGNOSTIC (SPC-5 6.42): the default self-test; no pages.</summary>
    public static ValueTask<CommandResult> SendDiagnostic(LogicalUnit unit, ScsiCommand command)
    {
        var cdb = command.Cdb;
        bool selfTest = (cdb[1] & 0x04) != 0;
        int code = cdb[1] >> 5, length = BinaryPrimitives.ReadUInt16BigEndian(cdb[3..]);
        if (code is 3 or 7 || (selfTest && code != 0)) return DataIn.InvalidCdb(1, 7);
        if (length == 0) return new(CommandResult.Good);
        if (selfTest || code != 0) return DataIn.InvalidCdb(3);
        if (command.DataOut.Length < 4) return DataIn.Check(Sense.ParameterListLengthError);
        // Page 00h asks for the list of supported pages, which RECEIVE DIAGNOSTIC RESULTS returns anyway.
        return command.DataOut.ToArray()[0] == 0 ? new(CommandResult.Good) : new(CommandResult.InvalidParameterField(0));
    }

    public static ValueTask<CommandResult> ReceiveDiagnostic(LogicalUnit unit, ScsiCommand command)
    {
        var cdb = command.Cdb;
        if ((cdb[1] & 1) != 0 && cdb[2] != 0) return DataIn.InvalidCdb(2);
        return new(DataIn.Send(command, [0, 0, 0, 1, 0], BinaryPrimitives.ReadUInt16BigEndian(cdb[3..])));
    }

    /// <summary>RESERVE (SPC-2 7.21): the whole unit; extents and third parties are not offered.</summary>
    public static ValueTask<CommandResult> Reserve(LogicalUnit unit, ScsiCommand command)
    {
        if ((command.Cdb[1] & 0x01) != 0) return DataIn.InvalidCdb(1, 0);
        if ((command.Cdb[1] & 0x10) != 0) return DataIn.InvalidCdb(1, 4);
        if (unit.Reservations.AcceptsReserve(command.Nexus) is { } accepts)
            return new(accepts ? CommandResult.Good : CommandResult.ReservationConflict);
        return new(unit.TryReserve(command.UnitNexus!) ? CommandResult.Good : CommandResult.ReservationConflict);
    }

    public static ValueTask<CommandResult> Release(LogicalUnit unit, ScsiCommand command)
    {
        if ((command.Cdb[1] & 0x10) != 0) return DataIn.InvalidCdb(1, 4);
        if (unit.Reservations.AcceptsReserve(command.Nexus) is { } accepts)
            return new(accepts ? CommandResult.Good : CommandResult.ReservationConflict);
        unit.Release(command.UnitNexus!);
        return new(CommandResult.Good);
    }

    public static long Length16(int blockSize, ReadOnlySpan<byte> cdb) => BinaryPrimitives.ReadUInt16BigEndian(cdb[(cdb.Length == 6 ? 3 : 7)..]);
}
