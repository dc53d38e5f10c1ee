using LunKit.Backstores;
using LunKit.Scsi;

namespace LunKit.LogicalUnits.Commands;

/// <summary>
/// Copies of bytes that begin and end anywhere in their blocks (segment descriptor 0Ah, SPC-5 6.5). What of a destination block is not
/// copied to keeps its content, also against others who write it meanwhile: such a block is put in place by COMPARE AND WRITE, again
/// when it has changed since it was read.
/// </summary>
internal static class OffsetCopy
{
    private const int ChunkBytes = 512 * 1024, MaxTries = 100;

    /// <summary>A byte of a unit, as one nexus sees it.</summary>
    public readonly record struct Place(UnitNexus On, long Lba, int Skip)
    {
        public int BlockSize => ((BlockUnit)On.Unit).BlockSize;

        /// <summary>Where the byte lies that is <paramref name="bytes"/> further.</summary>
        public Place Advance(long bytes) => new(On, Lba + (Skip + bytes) / BlockSize, (int)((Skip + bytes) % BlockSize));
    }

    public static async ValueTask<CommandResult> RunAsync(ScsiCommand command, Place source, Place target, long length)
    {
        int sourceSize = source.BlockSize, targetSize = target.BlockSize;
        int room = (int)Math.Min(ChunkBytes, length) + 2 * sourceSize;
        using var scratch = command.RentScratch(room + 2 * targetSize);
        var worker = new InternalCommand();
        for (long done = 0; done < length;)
        {
            command.CancellationToken.ThrowIfCancellationRequested();
            Place from = source.Advance(done), to = target.Advance(done);
            long left = length - done;
            bool partial = to.Skip > 0 || left < targetSize;
            int step = (int)(partial ? Math.Min(targetSize - to.Skip, left) : Math.Min(ChunkBytes, left) / targetSize * targetSize);
            int blocks = (from.Skip + step + sourceSize - 1) / sourceSize;
            var whole = scratch.Memory[..(blocks * sourceSize)];
            var read = InternalCommand.Cdb16(Opcode.Read16, from.Lba, (uint)blocks);
            var result = await worker.RunAsync(from.On, read, new DataBuffer(whole), default).ConfigureAwait(false);
            if (result.Status != ScsiStatus.Good) return result;
            command.CancellationToken.ThrowIfCancellationRequested();
            var data = whole.Slice(from.Skip, step);
            if (partial)
            {
                result = await MergeAsync(command, worker, to, data, scratch.Memory.Slice(room, 2 * targetSize)).ConfigureAwait(false);
            }
            else
            {
                var write = InternalCommand.Cdb16(Opcode.Write16, to.Lba, (uint)(step / targetSize));
                result = await worker.RunAsync(to.On, write, default, new DataBuffer(data)).ConfigureAwait(false);
            }
            if (result.Status != ScsiStatus.Good) return result;
            done += step;
        }
        return CommandResult.Good;
    }

    /// <summary>Puts bytes into one block and leaves the others as they are.</summary>
    private static async ValueTask<CommandResult> MergeAsync(
        ScsiCommand command, InternalCommand worker, Place to, ReadOnlyMemory<byte> data, Memory<byte> pair)
    {
        var (old, merged) = (pair[..(pair.Length / 2)], pair[(pair.Length / 2)..]);
        for (int i = 1; ; i++)
        {
            command.CancellationToken.ThrowIfCancellationRequested();
            var read = InternalCommand.Cdb16(Opcode.Read16, to.Lba, 1);
            var result = await worker.RunAsync(to.On, read, new DataBuffer(old), default).ConfigureAwait(false);
            if (result.Status != ScsiStatus.Good) return result;
            old.CopyTo(merged);
            data.CopyTo(merged[to.Skip..]);
            var replace = InternalCommand.Cdb16(Opcode.CompareAndWrite, to.Lba, 1);
            result = await worker.RunAsync(to.On, replace, default, new DataBuffer(pair)).ConfigureAwait(false);
            bool changed = result.Status == ScsiStatus.CheckCondition && result.Sense.Key == SenseKey.Miscompare;
            if (!changed || i == MaxTries) return result;
        }
    }
}
