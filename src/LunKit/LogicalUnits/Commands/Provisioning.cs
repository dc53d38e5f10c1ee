using System.Buffers.Binary;
using LunKit.Backstores;
using LunKit.Scsi;

namespace LunKit.LogicalUnits.Commands;

/// <summary>WRITE SAME (SBC-4 5.52), UNMAP (5.31), GET LBA STATUS (5.6), and SYNCHRONIZE CACHE (5.29).</summary>
internal static class Provisioning
{
    private const int Unmap = 0x08, Anchor = 0x10, NoDataOut = 0x01, LbData = 0x02, PbData = 0x04;
    private const int UnmapHeaderBytes = 8;

    public static ValueTask<CommandResult> WriteSame(BlockUnit unit, ScsiCommand command)
    {
        var cdb = new BlockCdb(command.Cdb);
        int flags = cdb.Flags;
        bool noData = (flags & NoDataOut) != 0 && command.Cdb.Length > 10, unmap = (flags & Unmap) != 0;
        // Anchored blocks are not offered (VPD B2h, ANC_SUP = 0).
        if ((flags & Anchor) != 0) return DataIn.InvalidCdb(cdb.FlagsIndex, 4);
        // Obsolete, but they used to ask for other data in each block than what came (SBC-2 5.39): GOOD would be a lie.
        if ((flags & LbData) != 0) return DataIn.InvalidCdb(cdb.FlagsIndex, 1);
        if ((flags & PbData) != 0) return DataIn.InvalidCdb(cdb.FlagsIndex, 2);
        if (unmap && !unit.IsThin) return DataIn.InvalidCdb(cdb.FlagsIndex, 3);
        // WSNZ = 1: a count of 0 does not mean the rest of the medium (VPD B0h).
        if (cdb.BlockCount == 0 || cdb.BlockCount > BlockLimits.MaxWriteSameBytes / unit.BlockSize) return ReadWrite.TooLong(command);
        // The Data-Out Buffer of the initiator is one block, no more and no less.
        if (!noData && command.DataOut.Length < unit.BlockSize) return ReadWrite.TooShort();
        if (!noData && command.DataOutBufferSize != unit.BlockSize) return ReadWrite.TooLong(command);
        unit.CountWrite();
        long lba = (long)cdb.Lba;
        bool zeroes = noData || IsZero(command.DataOut);
        // A discard knows no FUA: with the cache off it is settled by a flush.
        var options = zeroes && unmap ? WriteOptions.None : unit.OptionsOf(false);
        var running = WriteSameAsync(unit, command, lba * unit.BlockSize, (long)cdb.BlockCount * unit.BlockSize, zeroes, unmap, options);
        return ReadWrite.SettleAsync(unit, options, running);
    }

    private static async ValueTask<CommandResult> WriteSameAsync(
        BlockUnit unit, ScsiCommand command, long offset, long length, bool zeroes, bool unmap, WriteOptions options)
    {
        var cancelled = command.CancellationToken;
        // An unmapped block reads as zeroes (LBPRZ = 1), so a block of anything else must be written (SBC-4 4.7.3.4).
        if (zeroes && unmap)
        {
            await unit.Store.DiscardAsync(offset, length, cancelled).ConfigureAwait(false);
        }
        else if (zeroes)
        {
            await unit.Store.WriteZeroesAsync(offset, length, options, cancelled).ConfigureAwait(false);
        }
        else
        {
            using var scratch = command.RentScratch(unit.Store.ScratchOfWriteSame(unit.BlockSize, length));
            await unit.Store.WriteSameAsync(offset, length, command.DataOut, options, scratch.Memory, cancelled).ConfigureAwait(false);
        }
        return CommandResult.Good;
    }

    public static long WriteSameDataOut(int blockSize, ReadOnlySpan<byte> cdb)
    {
        var block = new BlockCdb(cdb);
        return (block.Flags & NoDataOut) != 0 && cdb.Length > 10 ? 0 : blockSize;
    }

    private static bool IsZero(DataBuffer data)
    {
        foreach (var segment in data)
            if (segment.Span.ContainsAnyExcept((byte)0)) return false;
        return true;
    }

    public static ValueTask<CommandResult> UnmapBlocks(BlockUnit unit, ScsiCommand command)
    {
        if ((command.Cdb[1] & 1) != 0) return DataIn.InvalidCdb(1, 0); // ANCHOR
        if (command.DataOut.IsEmpty) return new(CommandResult.Good);
        if (command.DataOut.Length < UnmapHeaderBytes) return DataIn.Check(Sense.ParameterListLengthError);
        var list = command.DataOut.ToArray();
        int descriptors = DescriptorCount(list);
        if (descriptors > BlockLimits.MaxUnmapDescriptors) return new(CommandResult.InvalidParameterField(2));
        long total = 0;
        for (int i = 0; i < descriptors; i++)
        {
            var (lba, count) = Descriptor(list, i);
            total += count;
            // A descriptor of no blocks names none, wherever it points (SBC-4 5.31.2).
            if (count > 0 && (lba >= (ulong)unit.BlockCount || count > (ulong)unit.BlockCount - lba))
                return new(CommandResult.CheckCondition(Sense.LbaOutOfRange, Math.Max(lba, (ulong)unit.BlockCount)));
        }
        if (total > BlockLimits.MaxUnmapBytes / unit.BlockSize) return new(CommandResult.InvalidParameterField(8));
        return DiscardAsync(unit, command, list, descriptors);
    }

    private static async ValueTask<CommandResult> DiscardAsync(BlockUnit unit, ScsiCommand command, byte[] list, int descriptors)
    {
        for (int i = 0; i < descriptors; i++)
        {
            command.CancellationToken.ThrowIfCancellationRequested();
            var (lba, count) = Descriptor(list, i);
            if (count == 0) continue;
            await unit.Store.DiscardAsync((long)lba * unit.BlockSize, (long)count * unit.BlockSize, command.CancellationToken).ConfigureAwait(false);
        }
        if (unit.OptionsOf(false) != WriteOptions.None) await unit.FlushAsync().ConfigureAwait(false);
        return CommandResult.Good;
    }

    /// <summary>The blocks of an UNMAP, as far as they are on the medium; what is wrong with the list, the command itself finds.</summary>
    public static BlockRange[]? UnmapRanges(ScsiCommand command)
    {
        if (command.DataOut.Length < UnmapHeaderBytes) return null;
        var list = command.DataOut.ToArray();
        int descriptors = DescriptorCount(list);
        if (descriptors > BlockLimits.MaxUnmapDescriptors) return null;
        var ranges = new List<BlockRange>();
        for (int i = 0; i < descriptors; i++)
        {
            var (lba, count) = Descriptor(list, i);
            if (count > 0 && lba <= (ulong)(long.MaxValue - count)) ranges.Add(new((long)lba, (long)lba + count));
        }
        return [.. ranges];
    }

    private static int DescriptorCount(byte[] list) =>
        Math.Min(BinaryPrimitives.ReadUInt16BigEndian(list.AsSpan(2)), list.Length - UnmapHeaderBytes) / 16;

    private static (ulong Lba, uint Count) Descriptor(byte[] list, int index) =>
        (BinaryPrimitives.ReadUInt64BigEndian(list.AsSpan(8 + 16 * index)), BinaryPrimitives.ReadUInt32BigEndian(list.AsSpan(16 + 16 * index)));

    public static async ValueTask<CommandResult> GetLbaStatus(BlockUnit unit, ScsiCommand command)
    {
        const int maxDescriptors = 4096;
        long lba = (long)BinaryPrimitives.ReadUInt64BigEndian(command.Cdb[2..]), end = unit.BlockCount;
        uint allocation = BinaryPrimitives.ReadUInt32BigEndian(command.Cdb[10..]);
        int reportType = command.Cdb[14];
        if (reportType != 0) return CommandResult.InvalidCdbField(14);
        if ((ulong)lba >= (ulong)end) return CommandResult.CheckCondition(Sense.LbaOutOfRange, (ulong)lba);
        int wanted = (int)Math.Clamp((allocation - 8L) / 16, 1, maxDescriptors);
        var runs = new List<(long Lba, long Count, bool Mapped)>();
        while (lba < end && runs.Count <= wanted)
        {
            command.CancellationToken.ThrowIfCancellationRequested();
            var extent = await unit.Store.ExtentAsync(lba * unit.BlockSize, (end - lba) * unit.BlockSize, command.CancellationToken)
                .ConfigureAwait(false);
            long count = Math.Max(1, extent.LengthBytes / unit.BlockSize);
            // A descriptor counts in 32 bits.
            count = Math.Min(count, uint.MaxValue);
            if (runs.Count > 0 && runs[^1].Mapped == extent.Allocated && runs[^1].Count + count <= uint.MaxValue)
                runs[^1] = runs[^1] with { Count = runs[^1].Count + count };
            else
                runs.Add((lba, count, extent.Allocated));
            lba += count;
        }
        if (runs.Count > wanted) runs.RemoveAt(runs.Count - 1);
        var data = new byte[8 + 16 * runs.Count];
        var w = new ParameterWriter(data);
        w.UInt32((uint)(data.Length - 4));
        w.Zeroes(4);
        foreach (var (start, count, mapped) in runs)
        {
            w.UInt64((ulong)start);
            w.UInt32((uint)count);
            w.Byte(mapped ? 0 : 1);
            w.Zeroes(3);
        }
        return DataIn.Send(command, w.Written, allocation);
    }

    public static ValueTask<CommandResult> SynchronizeCache(BlockUnit unit, ScsiCommand command)
    {
        if (!unit.HasVolatileCache) return new(CommandResult.Good);
        bool immediate = (command.Cdb[1] & 0x02) != 0;
        return immediate ? StartAsync(unit) : FlushAsync(unit, command);

        static async ValueTask<CommandResult> FlushAsync(BlockUnit unit, ScsiCommand command)
        {
            await unit.Store.FlushAsync(command.CancellationToken).ConfigureAwait(false);
            return unit.OwesFailure(command.Nexus) ? CommandResult.CheckCondition(OwedFailures.FlushFailed) : CommandResult.Good;
        }

        // IMMED: the status is sent when the CDB has been checked (SBC-4 5.29); a failed flush is told by the next one.
        static ValueTask<CommandResult> StartAsync(BlockUnit unit)
        {
            _ = unit.FlushUntoldAsync("SYNCHRONIZE CACHE with IMMED");
            return new(CommandResult.Good);
        }
    }
}
