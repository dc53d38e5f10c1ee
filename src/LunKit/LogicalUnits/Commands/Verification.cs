using System.Buffers;
using LunKit.Backstores;
using LunKit.Scsi;

namespace LunKit.LogicalUnits.Commands;

/// <summary>VERIFY in its BYTCHK forms (SBC-4 5.33) and PRE-FETCH (5.10).</summary>
internal static class Verification
{
    private const int ChunkBytes = 256 * 1024;

    public static ValueTask<CommandResult> Verify(BlockUnit unit, ScsiCommand command)
    {
        var cdb = new BlockCdb(command.Cdb);
        int byteCheck = cdb.Flags >> 1 & 3;
        if (byteCheck == 2) return DataIn.InvalidCdb(cdb.FlagsIndex, 2);
        if (cdb.BlockCount > unit.MaxTransferBlocks) return ReadWrite.TooLong(command);
        long offset = (long)cdb.Lba * unit.BlockSize, length = (long)cdb.BlockCount * unit.BlockSize;
        if (length == 0) return new(CommandResult.Good);
        return byteCheck switch
        {
            0 => CompareAsync(unit, command, offset, length, default),
            1 => CompareAsync(unit, command, offset, Math.Min(length, command.DataOut.Length / unit.BlockSize * unit.BlockSize), command.DataOut),
            _ => command.DataOut.Length < unit.BlockSize
                ? DataIn.InvalidCdb(cdb.FlagsIndex, 2)
                : CompareRepeatedAsync(unit, command, offset, length),
        };
    }

    public static long DataOutLength(int blockSize, ReadOnlySpan<byte> cdb) => (new BlockCdb(cdb).Flags >> 1 & 3) switch
    {
        1 => ReadWrite.DataOutLength(blockSize, cdb),
        3 => new BlockCdb(cdb).BlockCount == 0 ? 0 : blockSize,
        _ => 0,
    };

    /// <summary>Reads the range and compares it with <paramref name="expected"/>, if that is not empty.</summary>
    public static async ValueTask<CommandResult> CompareAsync(
        BlockUnit unit, ScsiCommand command, long offset, long length, DataBuffer expected)
    {
        var scratch = ArrayPool<byte>.Shared.Rent((int)Math.Min(ChunkBytes, length));
        try
        {
            for (long done = 0; done < length;)
            {
                int chunk = (int)Math.Min(ChunkBytes, length - done);
                var memory = scratch.AsMemory(0, chunk);
                await unit.Store.ReadAsync(offset + done, new DataBuffer(memory), command.CancellationToken).ConfigureAwait(false);
                int at = expected.IsEmpty ? -1 : expected.Slice((int)done, chunk).FirstDifference(memory.Span);
                if (at >= 0) return CommandResult.CheckCondition(Sense.MiscompareDuringVerify, (ulong)(done + at));
                done += chunk;
            }
            return CommandResult.Good;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(scratch);
        }
    }

    /// <summary>BYTCHK = 11: every block equals the one that was sent.</summary>
    private static async ValueTask<CommandResult> CompareRepeatedAsync(BlockUnit unit, ScsiCommand command, long offset, long length)
    {
        var block = command.DataOut.Slice(0, unit.BlockSize);
        for (long done = 0; done < length; done += unit.BlockSize)
        {
            var result = await CompareAsync(unit, command, offset + done, unit.BlockSize, block).ConfigureAwait(false);
            if (result.Status != ScsiStatus.Good) return CommandResult.CheckCondition(Sense.MiscompareDuringVerify, (ulong)done + result.Detail.Information);
        }
        return CommandResult.Good;
    }

    /// <summary>Index of the first byte in which they differ, or -1.</summary>
    /// <summary>PRE-FETCH: whatever is asked fits, for no cache is reserved; CONDITION MET (SBC-4 5.10).</summary>
    public static ValueTask<CommandResult> PreFetch(BlockUnit unit, ScsiCommand command) => new(CommandResult.ConditionMet);
}
