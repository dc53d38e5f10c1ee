using LunKit.Backstores;
using LunKit.Scsi;

namespace LunKit.LogicalUnits.Commands;

/// <summary>READ, WRITE, WRITE AND VERIFY and WRITE ATOMIC (SBC-4 5.13 to 5.19, 5.39 to 5.51).</summary>
internal static class ReadWrite
{
    public static ValueTask<CommandResult> Read(BlockUnit unit, ScsiCommand command)
    {
        var cdb = new BlockCdb(command.Cdb);
        uint count = cdb.BlockCount;
        if (count == 0) return new(CommandResult.Good);
        if (count > unit.MaxTransferBlocks) return TooLong(command);
        int length = (int)count * unit.BlockSize;
        long offset = (long)cdb.Lba * unit.BlockSize;
        // FUA reads from the medium, so what a cache holds goes there first (SBC-4 4.15).
        if (cdb.ForceUnitAccess && unit.HasVolatileCache) return FlushAndReadAsync(unit, command, offset, length);
        var reading = unit.Store.ReadAsync(offset, command.RentDataIn(length), command.CancellationToken);
        return reading.IsCompletedSuccessfully ? new(CommandResult.Data(length)) : Await(reading, length);

        static async ValueTask<CommandResult> Await(ValueTask reading, int length)
        {
            await reading.ConfigureAwait(false);
            return CommandResult.Data(length);
        }
    }

    private static async ValueTask<CommandResult> FlushAndReadAsync(BlockUnit unit, ScsiCommand command, long offset, int length)
    {
        await unit.Store.FlushAsync(command.CancellationToken).ConfigureAwait(false);
        await unit.Store.ReadAsync(offset, command.RentDataIn(length), command.CancellationToken).ConfigureAwait(false);
        return CommandResult.Data(length);
    }

    public static ValueTask<CommandResult> Write(BlockUnit unit, ScsiCommand command)
    {
        var cdb = new BlockCdb(command.Cdb);
        if (cdb.BlockCount > unit.MaxTransferBlocks) return TooLong(command);
        var data = WholeBlocks(unit, command, cdb.BlockCount);
        if (data.IsEmpty) return new(CommandResult.Good);
        unit.CountWrite();
        var writing = unit.Store.WriteAsync(
            (long)cdb.Lba * unit.BlockSize, data, unit.OptionsOf(cdb.ForceUnitAccess), command.CancellationToken);
        return writing.IsCompletedSuccessfully ? new(CommandResult.Good) : Await(unit, writing);

        static async ValueTask<CommandResult> Await(BlockUnit unit, ValueTask writing)
        {
            try
            {
                await writing.ConfigureAwait(false);
            }
            catch (IOException)
            {
                unit.CheckSoftThreshold();
                throw;
            }
            return CommandResult.Good;
        }
    }

    /// <summary>WRITE AND VERIFY: the data is on the medium, and with BYTCHK = 01 it is compared with what was sent.</summary>
    public static ValueTask<CommandResult> WriteAndVerify(BlockUnit unit, ScsiCommand command)
    {
        var cdb = new BlockCdb(command.Cdb);
        int byteCheck = cdb.Flags >> 1 & 3;
        if (byteCheck > 1) return DataIn.InvalidCdb(cdb.FlagsIndex, 2);
        if (cdb.BlockCount > unit.MaxTransferBlocks) return TooLong(command);
        return RunAsync(unit, command, (long)cdb.Lba * unit.BlockSize, WholeBlocks(unit, command, cdb.BlockCount), byteCheck == 1);

        static async ValueTask<CommandResult> RunAsync(BlockUnit unit, ScsiCommand command, long offset, DataBuffer data, bool compare)
        {
            if (data.IsEmpty) return CommandResult.Good;
            await unit.Store.WriteAsync(offset, data, unit.OptionsOf(true), command.CancellationToken).ConfigureAwait(false);
            return await Verification.CompareAsync(unit, command, offset, data.Length, compare ? data : default).ConfigureAwait(false);
        }
    }

    /// <summary>WRITE ATOMIC (16): all of it or nothing, toward every other command; the lease is exclusive (SBC-4 4.29).</summary>
    public static ValueTask<CommandResult> WriteAtomic(BlockUnit unit, ScsiCommand command)
    {
        var cdb = new BlockCdb(command.Cdb);
        // ATOMIC BOUNDARY: only whole commands are atomic here (VPD B0h, maximum atomic boundary 0).
        if ((command.Cdb[10] | command.Cdb[11]) != 0) return DataIn.InvalidCdb(10);
        if (cdb.BlockCount > BlockLimits.MaxAtomicBytes / unit.BlockSize) return DataIn.InvalidCdb(12);
        if (command.DataOut.Length < cdb.BlockCount * unit.BlockSize) return DataIn.InvalidCdb(12);
        return Write(unit, command);
    }

    public static long DataOutLength(int blockSize, ReadOnlySpan<byte> cdb)
    {
        uint count = new BlockCdb(cdb).BlockCount;
        return count > BlockLimits.MaxTransferBytes / blockSize ? 0 : (long)count * blockSize;
    }

    /// <summary>
    /// The blocks that came whole: with a shorter expected data transfer length only so many are written (RFC 7143 11.4.5.2).
    /// </summary>
    public static DataBuffer WholeBlocks(BlockUnit unit, ScsiCommand command, uint count)
    {
        long wanted = (long)count * unit.BlockSize;
        int have = command.DataOut.Length;
        return have == wanted ? command.DataOut : command.DataOut.Slice(0, (int)(Math.Min(wanted, have) / unit.BlockSize * unit.BlockSize));
    }

    /// <summary>The transfer length exceeds VPD page B0h's maximum (SBC-4 5.13).</summary>
    public static ValueTask<CommandResult> TooLong(ScsiCommand command) =>
        DataIn.InvalidCdb(command.Cdb.Length switch { 10 => 7, 12 => 6, 16 => 10, 32 => 28, _ => 4 });
}
