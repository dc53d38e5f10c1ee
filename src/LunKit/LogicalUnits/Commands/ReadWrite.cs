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
        unit.CountRead();
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
        if (!TryTakeBlocks(unit, command, cdb.BlockCount, out var data)) return TooShort();
        if (data.IsEmpty) return new(CommandResult.Good);
        unit.CountWrite();
        var options = unit.OptionsOf(cdb.ForceUnitAccess);
        var writing = unit.Store.WriteAsync((long)cdb.Lba * unit.BlockSize, data, options, command.CancellationToken);
        return writing.IsCompletedSuccessfully && !IsUnsettled(unit, options) ? new(CommandResult.Good) : EndAsync(unit, options, writing);

        static async ValueTask<CommandResult> EndAsync(BlockUnit unit, WriteOptions options, ValueTask writing)
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
            if (IsUnsettled(unit, options)) await unit.FlushAsync().ConfigureAwait(false);
            return CommandResult.Good;
        }
    }

    /// <summary>Ends a write that began with <paramref name="options"/>: flushes it where it has to be.</summary>
    public static async ValueTask<CommandResult> SettleAsync(BlockUnit unit, WriteOptions options, ValueTask<CommandResult> running)
    {
        var result = await running.ConfigureAwait(false);
        if (result.Status == ScsiStatus.Good && IsUnsettled(unit, options)) await unit.FlushAsync().ConfigureAwait(false);
        return result;
    }

    /// <summary>
    /// Whether a write that began with these options has to be flushed before it is acknowledged: the write cache was switched off while it
    /// ran, and the flush of the one who did that may have come before it.
    /// </summary>
    private static bool IsUnsettled(BlockUnit unit, WriteOptions options) => options == WriteOptions.None && unit.OptionsOf(false) != WriteOptions.None;

    /// <summary>WRITE AND VERIFY: the data is on the medium, and with BYTCHK = 01 it is compared with what was sent.</summary>
    public static ValueTask<CommandResult> WriteAndVerify(BlockUnit unit, ScsiCommand command)
    {
        var cdb = new BlockCdb(command.Cdb);
        int byteCheck = cdb.Flags >> 1 & 3;
        if (byteCheck > 1) return DataIn.InvalidCdb(cdb.FlagsIndex, 2);
        if (cdb.BlockCount > unit.MaxTransferBlocks) return TooLong(command);
        if (!TryTakeBlocks(unit, command, cdb.BlockCount, out var data)) return TooShort();
        if (data.IsEmpty) return new(CommandResult.Good);
        unit.CountWrite();
        return RunAsync(unit, command, (long)cdb.Lba * unit.BlockSize, data, byteCheck == 1);

        static async ValueTask<CommandResult> RunAsync(BlockUnit unit, ScsiCommand command, long offset, DataBuffer data, bool compare)
        {
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
        if (command.DataOut.Length < (long)cdb.BlockCount * unit.BlockSize) return TooShort();
        return Write(unit, command);
    }

    public static long DataOutLength(int blockSize, ReadOnlySpan<byte> cdb)
    {
        uint count = new BlockCdb(cdb).BlockCount;
        return count > BlockLimits.MaxTransferBytes / blockSize ? 0 : (long)count * blockSize;
    }

    /// <summary>
    /// The blocks to write. With a shorter expected data transfer length only so many as came whole are (RFC 7143 11.4.5.2); false when the data
    /// ends inside a block.
    /// </summary>
    private static bool TryTakeBlocks(BlockUnit unit, ScsiCommand command, uint count, out DataBuffer data)
    {
        data = command.DataOut;
        long wanted = (long)count * unit.BlockSize;
        if (data.Length == wanted) return true;
        if (data.Length > wanted) data = data.Slice(0, (int)wanted);
        return data.Length % unit.BlockSize == 0;
    }

    /// <summary>The transfer length exceeds VPD page B0h's maximum (SBC-4 5.13).</summary>
    public static ValueTask<CommandResult> TooLong(ScsiCommand command) =>
        DataIn.InvalidCdb(command.Cdb.Length switch { 10 => 7, 12 => 6, 16 => 10, 32 => 28, _ => 4 });

    /// <summary>The initiator sends less data than the CDB needs, or none but a part of a block.</summary>
    public static ValueTask<CommandResult> TooShort() => DataIn.Check(Sense.InvalidFieldInCommandInformationUnit);
}
