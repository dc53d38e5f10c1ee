using LunKit.Backstores;
using LunKit.Scsi;

namespace LunKit.LogicalUnits.Commands;

/// <summary>Commands that read, decide and write as one: COMPARE AND WRITE (SBC-4 5.3) and ORWRITE (5.8). Their rows are exclusive.</summary>
internal static class Atomics
{
    // Nobody else touches the blocks meanwhile, so they can be gone through in steps.
    private const int CompareStepBytes = 256 * 1024, OrStepBytes = 1 << 20;

    public static ValueTask<CommandResult> CompareAndWrite(BlockUnit unit, ScsiCommand command)
    {
        var cdb = new BlockCdb(command.Cdb);
        uint count = cdb.BlockCount;
        if (command.DataOutBufferSize > 2L * count * unit.BlockSize) return DataIn.InvalidCdb(13);
        if (count == 0) return new(CommandResult.Good);
        if (count > unit.MaxCompareBlocks) return DataIn.InvalidCdb(13);
        int half = (int)count * unit.BlockSize;
        if (command.DataOut.Length != 2 * half) return ReadWrite.TooShort();
        unit.CountWrite();
        long lba = (long)cdb.Lba;
        var options = unit.OptionsOf(cdb.ForceUnitAccess);
        return ReadWrite.SettleAsync(unit, options, RunAsync(unit, command, lba * unit.BlockSize, half, options));

        static async ValueTask<CommandResult> RunAsync(BlockUnit unit, ScsiCommand command, long offset, int half, WriteOptions options)
        {
            using var scratch = command.RentScratch(Math.Min(half, CompareStepBytes));
            long at = await unit.Store.CompareAndWriteAsync(offset, command.DataOut.Slice(0, half), command.DataOut.Slice(half, half),
                options, scratch.Memory, command.CancellationToken).ConfigureAwait(false);
            return at < 0 ? CommandResult.Good : CommandResult.CheckCondition(Sense.MiscompareDuringVerify, (ulong)at);
        }
    }

    public static ValueTask<CommandResult> OrWrite(BlockUnit unit, ScsiCommand command)
    {
        var cdb = new BlockCdb(command.Cdb);
        uint count = cdb.BlockCount;
        if (count > unit.MaxTransferBlocks) return DataIn.InvalidCdb(10);
        if (count == 0) return new(CommandResult.Good);
        long lba = (long)cdb.Lba, length = (long)count * unit.BlockSize;
        if (command.DataOut.Length < length) return ReadWrite.TooShort();
        unit.CountWrite();
        var options = unit.OptionsOf(cdb.ForceUnitAccess);
        return ReadWrite.SettleAsync(unit, options, OrAsync(unit, command, lba * unit.BlockSize, (int)length, options));
    }

    private static async ValueTask<CommandResult> OrAsync(BlockUnit unit, ScsiCommand command, long offset, int length, WriteOptions options)
    {
        using var scratch = command.RentScratch(Math.Min(length, OrStepBytes));
        for (int done = 0; done < length;)
        {
            command.CancellationToken.ThrowIfCancellationRequested();
            int step = Math.Min(OrStepBytes, length - done);
            var memory = scratch.Memory[..step];
            await unit.Store.ReadAsync(offset + done, new DataBuffer(memory), command.CancellationToken).ConfigureAwait(false);
            Or(memory.Span, command.DataOut.Slice(done, step));
            await unit.Store.WriteAsync(offset + done, new DataBuffer(memory), options, CancellationToken.None).ConfigureAwait(false);
            done += step;
        }
        return CommandResult.Good;
    }

    private static void Or(Span<byte> medium, DataBuffer data)
    {
        foreach (var segment in data)
        {
            var bits = segment.Span;
            for (int i = 0; i < bits.Length; i++) medium[i] |= bits[i];
            medium = medium[bits.Length..];
        }
    }

    public static long CompareAndWriteDataOut(int blockSize, ReadOnlySpan<byte> cdb) =>
        cdb[13] > BlockLimits.MaxCompareBlocks(blockSize) ? 0 : 2L * cdb[13] * blockSize;
}
