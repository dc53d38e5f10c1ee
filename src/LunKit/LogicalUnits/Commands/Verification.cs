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
        // BYTCHK = 01: all blocks come; 11: one, with which all are compared.
        long wanted = byteCheck switch { 0 => 0, 1 => length, _ => unit.BlockSize };
        if (command.DataOut.Length < wanted) return ReadWrite.TooShort();
        return CompareAsync(unit, command, offset, length, command.DataOut.Slice(0, (int)wanted));
    }

    public static long DataOutLength(int blockSize, ReadOnlySpan<byte> cdb) => (new BlockCdb(cdb).Flags >> 1 & 3) switch
    {
        1 => ReadWrite.DataOutLength(blockSize, cdb),
        3 => new BlockCdb(cdb).BlockCount == 0 ? 0 : blockSize,
        _ => 0,
    };

    /// <summary>
    /// Reads the range and compares it with <paramref name="expected"/>: as long as the range, or one block for all of its blocks, or nothing
    /// to compare with.
    /// </summary>
    public static async ValueTask<CommandResult> CompareAsync(
        BlockUnit unit, ScsiCommand command, long offset, long length, DataBuffer expected)
    {
        using var scratch = command.RentScratch((int)Math.Min(ChunkBytes, length));
        for (long done = 0; done < length;)
        {
            command.CancellationToken.ThrowIfCancellationRequested();
            int chunk = (int)Math.Min(ChunkBytes, length - done);
            var memory = scratch.Memory[..chunk];
            await unit.Store.ReadAsync(offset + done, new DataBuffer(memory), command.CancellationToken).ConfigureAwait(false);
            int at = expected.IsEmpty ? -1
                : expected.Length == length ? expected.Slice((int)done, chunk).FirstDifference(memory.Span)
                : FirstDifferentBlock(memory.Span, expected);
            if (at >= 0) return CommandResult.CheckCondition(Sense.MiscompareDuringVerify, (ulong)(done + at));
            done += chunk;
        }
        return CommandResult.Good;
    }

    /// <summary>Index of the first byte in which a block differs from the one that all of them should be, or -1.</summary>
    private static int FirstDifferentBlock(ReadOnlySpan<byte> blocks, DataBuffer block)
    {
        for (int start = 0; start < blocks.Length; start += block.Length)
        {
            int at = block.FirstDifference(blocks.Slice(start, block.Length));
            if (at >= 0) return start + at;
        }
        return -1;
    }

    /// <summary>PRE-FETCH: whatever is asked fits, for no cache is reserved; CONDITION MET (SBC-4 5.10).</summary>
    public static ValueTask<CommandResult> PreFetch(BlockUnit unit, ScsiCommand command) => new(CommandResult.ConditionMet);
}
