using System.Buffers;
using LunKit.Backstores;
using LunKit.Scsi;

namespace LunKit.LogicalUnits.Commands;

/// <summary>Commands that read, decide and write as one: COMPARE AND WRITE (SBC-4 5.3) and ORWRITE (5.8). Their rows are exclusive.</summary>
internal static class Atomics
{
    public static async ValueTask<CommandResult> CompareAndWrite(BlockUnit unit, ScsiCommand command)
    {
        var (offset, count, fua) = Parse(command);
        if (command.DataOutBufferSize != 2L * count * unit.BlockSize) return CommandResult.InvalidCdbField(13);
        if (count == 0) return CommandResult.Good;
        if (count > unit.MaxCompareBlocks) return CommandResult.InvalidCdbField(13);
        int half = count * unit.BlockSize;
        if (command.DataOut.Length != 2 * half) return CommandResult.InvalidCdbField(13);
        long at = await unit.Store.CompareAndWriteAsync(offset * unit.BlockSize, command.DataOut.Slice(0, half), command.DataOut.Slice(half, half),
            unit.OptionsOf(fua), command.CancellationToken).ConfigureAwait(false);
        return at < 0 ? CommandResult.Good : CommandResult.CheckCondition(Sense.MiscompareDuringVerify, (ulong)at);
    }

    public static async ValueTask<CommandResult> OrWrite(BlockUnit unit, ScsiCommand command)
    {
        var (offset, count, fua) = Parse(command);
        if (count > unit.MaxTransferBlocks) return CommandResult.InvalidCdbField(10);
        var data = ReadWrite.WholeBlocks(unit, command, (uint)count);
        if (data.IsEmpty) return CommandResult.Good;
        var scratch = ArrayPool<byte>.Shared.Rent(data.Length);
        try
        {
            var memory = scratch.AsMemory(0, data.Length);
            await unit.Store.ReadAsync(offset * unit.BlockSize, new DataBuffer(memory), command.CancellationToken).ConfigureAwait(false);
            Or(memory.Span, data);
            await unit.Store.WriteAsync(offset * unit.BlockSize, new DataBuffer(memory), unit.OptionsOf(fua), CancellationToken.None)
                .ConfigureAwait(false);
            return CommandResult.Good;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(scratch);
        }
    }

    private static (long Lba, int Count, bool ForceUnitAccess) Parse(ScsiCommand command)
    {
        var cdb = new BlockCdb(command.Cdb);
        return ((long)cdb.Lba, (int)cdb.BlockCount, cdb.ForceUnitAccess);
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
