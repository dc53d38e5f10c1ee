using System.Buffers.Binary;
using LunKit.Scsi;

namespace LunKit.LogicalUnits.Commands;

/// <summary>
/// POPULATE TOKEN (SBC-4 5.9), WRITE USING TOKEN (5.53) and RECEIVE ROD TOKEN INFORMATION (SPC-5 6.26): what Windows calls ODX.
/// A token names blocks of a unit; only a nexus that sees that unit can use it.
/// </summary>
internal static class OffloadedTransfer
{
    public const int MaxRanges = 64;

    /// <summary>Bytes of one operation; bounds its time.</summary>
    public const long MaxBytes = 1L << 30, OptimalBytes = 64 << 20;

    private const int TokenBytes = 512;
    private const uint PointInTimeChangeVulnerable = 0x0080_0000, BlockDeviceZero = 0xFFFF_0001;

    public static ValueTask<CommandResult> PopulateToken(BlockUnit unit, ScsiCommand command)
    {
        uint listId = BinaryPrimitives.ReadUInt32BigEndian(command.Cdb[6..]);
        var list = command.DataOut.ToArray();
        if (list.Length < 16) return list.Length == 0 ? new(CommandResult.Good) : DataIn.Check(Sense.ParameterListLengthError);
        if (TryReadRanges(unit, list, 14, out var ranges) is { } refusal) return new(refusal);
        uint timeout = BinaryPrimitives.ReadUInt32BigEndian(list.AsSpan(4));
        if (timeout > CopyTokens.MaxTimeoutSeconds) return new(CommandResult.InvalidParameterField(4));
        var token = unit.Tokens.Add(ranges, timeout == 0 ? CopyTokens.DefaultTimeoutSeconds : (int)timeout);
        unit.CopyResults.Add(command.UnitNexus!, listId, new CopyOutcome(0x10, CommandResult.Good, ranges.Count, ranges.Sum(r => (long)r.Count), token));
        return new(CommandResult.Good);
    }

    /// <summary>The blocks that a token is to represent: nothing writes them while it is made, for it would be void without anybody knowing.</summary>
    public static BlockRange[]? TokenRanges(ScsiCommand command) =>
        command.DataOut.Length >= 16 && command.UnitNexus?.Unit is BlockUnit unit && TryReadRanges(unit, command.DataOut.ToArray(), 14, out var ranges) is null
            ? [.. ranges.Where(r => r.Count > 0).Select(r => new BlockRange(r.Lba, r.Lba + r.Count))] : null;

    public static async ValueTask<CommandResult> WriteUsingToken(BlockUnit unit, ScsiCommand command)
    {
        uint listId = BinaryPrimitives.ReadUInt32BigEndian(command.Cdb[6..]);
        var list = command.DataOut.ToArray();
        if (list.Length < 536) return list.Length == 0 ? CommandResult.Good : CommandResult.CheckCondition(Sense.ParameterListLengthError);
        if (TryReadRanges(unit, list, 534, out var ranges) is { } refusal) return refusal;
        bool delete = (list[2] & 0x02) != 0;
        long skip = BinaryPrimitives.ReadInt64BigEndian(list.AsSpan(8));
        var rod = list.AsSpan(16, TokenBytes);
        CommandResult result;
        long blocks = ranges.Sum(r => (long)r.Count);
        if (BinaryPrimitives.ReadUInt32BigEndian(rod) == BlockDeviceZero)
        {
            result = await WriteZeroesAsync(unit, command, ranges).ConfigureAwait(false);
        }
        else
        {
            var (source, token) = Find(command.Nexus, rod);
            if (token is null) return CommandResult.CheckCondition(Sense.InvalidTokenUnknown);
            if (!TryLocate(unit, (BlockUnit)source!.Unit, token, skip, blocks, out long offset)) return CommandResult.InvalidParameterField(8);
            result = await CopyAsync(source, token, offset, command, ranges).ConfigureAwait(false);
            var tokens = ((BlockUnit)source.Unit).Tokens;
            // What was written to the token's blocks meanwhile may be in the copy: it is not what the token stood for.
            if (result.Status == ScsiStatus.Good && !tokens.Contains(token)) result = CommandResult.CheckCondition(Sense.InvalidTokenRevoked);
            if (delete) tokens.Remove(token);
        }
        unit.CopyResults.Add(command.UnitNexus!, listId,
            new CopyOutcome(0x11, result, ranges.Count, result.Status == ScsiStatus.Good ? blocks : 0));
        return result;
    }

    /// <summary>
    /// The byte of the represented data at which <paramref name="blocks"/> blocks of <paramref name="unit"/> begin; false when they are not all
    /// in it, or do not begin at a block of the source.
    /// </summary>
    private static bool TryLocate(BlockUnit unit, BlockUnit source, CopyTokens.Token token, long skip, long blocks, out long offset)
    {
        long held = token.Ranges.Sum(r => (long)r.Count) * source.BlockSize / unit.BlockSize;
        offset = 0;
        if (skip < 0 || skip > held || blocks > held - skip) return false;
        offset = skip * unit.BlockSize;
        return offset % source.BlockSize == 0;
    }

    private static async ValueTask<CommandResult> CopyAsync(
        UnitNexus source, CopyTokens.Token token, long offset, ScsiCommand command, List<(long Lba, uint Count)> ranges)
    {
        var target = command.UnitNexus!;
        int sourceSize = ((BlockUnit)source.Unit).BlockSize, targetSize = ((BlockUnit)target.Unit).BlockSize;
        foreach (var (lba, count) in ranges)
        {
            for (long done = 0, length = (long)count * targetSize; done < length;)
            {
                var (at, left) = Locate(token, offset, sourceSize);
                long chunk = Math.Min(left, length - done);
                var result = await ThirdPartyCopy.CopyAsync(command, source, at, target, lba + done / targetSize, chunk).ConfigureAwait(false);
                if (result.Status != ScsiStatus.Good) return result;
                offset += chunk;
                done += chunk;
            }
        }
        return CommandResult.Good;
    }

    /// <summary>Where byte <paramref name="offset"/> of the represented data lies: its LBA, and the bytes from there to the range's end.</summary>
    private static (long Lba, long Bytes) Locate(CopyTokens.Token token, long offset, int blockSize)
    {
        foreach (var (lba, count) in token.Ranges)
        {
            long bytes = (long)count * blockSize;
            if (offset < bytes) return (lba + offset / blockSize, bytes - offset);
            offset -= bytes;
        }
        throw new InvalidOperationException("the length was checked against the token");
    }

    private static async ValueTask<CommandResult> WriteZeroesAsync(BlockUnit unit, ScsiCommand command, List<(long Lba, uint Count)> ranges)
    {
        // The operation may be longer than what one WRITE SAME may write.
        uint step = (uint)(BlockLimits.MaxWriteSameBytes / unit.BlockSize);
        var worker = new InternalCommand(command);
        foreach (var (lba, count) in ranges)
        {
            for (uint done = 0; done < count;)
            {
                command.CancellationToken.ThrowIfCancellationRequested();
                uint chunk = Math.Min(step, count - done);
                var cdb = InternalCommand.Cdb16(Opcode.WriteSame16, lba + done, chunk);
                cdb[1] = 0x01; // NDOB
                var result = await worker.RunAsync(command.UnitNexus!, cdb, default, default).ConfigureAwait(false);
                if (result.Status != ScsiStatus.Good) return result;
                done += chunk;
            }
        }
        return CommandResult.Good;
    }

    private static (UnitNexus?, CopyTokens.Token?) Find(Nexus nexus, ReadOnlySpan<byte> rod)
    {
        var id = rod.Slice(TokenBytes - 64, 64);
        foreach (var entry in nexus.Luns.Entries.Values)
            if (entry.Unit is BlockUnit unit && unit.Tokens.Find(id) is { } token) return (entry, token);
        return (null, null);
    }

    private static CommandResult? TryReadRanges(BlockUnit unit, byte[] list, int lengthAt, out List<(long Lba, uint Count)> ranges)
    {
        ranges = [];
        int bytes = BinaryPrimitives.ReadUInt16BigEndian(list.AsSpan(lengthAt)), start = lengthAt + 2;
        if (bytes % 16 != 0 || bytes == 0) return CommandResult.InvalidParameterField(lengthAt);
        if (start + bytes > list.Length) return CommandResult.CheckCondition(Sense.ParameterListLengthError);
        if (bytes / 16 > MaxRanges) return CommandResult.CheckCondition(Sense.TooManySegmentDescriptors);
        long total = 0;
        for (int at = start; at < start + bytes; at += 16)
        {
            ulong lba = BinaryPrimitives.ReadUInt64BigEndian(list.AsSpan(at));
            uint count = BinaryPrimitives.ReadUInt32BigEndian(list.AsSpan(at + 8));
            if (lba > (ulong)unit.BlockCount || count > (ulong)unit.BlockCount - lba)
                return CommandResult.CheckCondition(Sense.LbaOutOfRange, Math.Max(lba, (ulong)unit.BlockCount));
            foreach (var (other, otherCount) in ranges)
                if ((long)lba < other + otherCount && other < (long)lba + count) return CommandResult.InvalidParameterField(at);
            total += count;
            ranges.Add(((long)lba, count));
        }
        return total > MaxBytes / unit.BlockSize ? CommandResult.InvalidParameterField(start + 8) : null;
    }

    public static ValueTask<CommandResult> ReceiveTokenInformation(BlockUnit unit, ScsiCommand command)
    {
        uint listId = BinaryPrimitives.ReadUInt32BigEndian(command.Cdb[2..]);
        if (unit.CopyResults.Find(command.UnitNexus!, listId) is not { } outcome) return DataIn.InvalidCdb(2);
        var w = new ParameterWriter(stackalloc byte[640]);
        w.UInt32(0);
        w.Byte(outcome.ServiceAction);
        w.Byte(outcome.Result.Status == ScsiStatus.Good ? 0x01 : 0x02);
        w.UInt16(0);
        w.UInt32(0);
        w.Byte(0);
        Span<byte> sense = stackalloc byte[SenseData.MaxLength];
        int senseLength = outcome.Result.Status == ScsiStatus.Good ? 0 : SenseData.Write(sense, outcome.Result.Detail, descriptor: true);
        w.Byte(senseLength);
        w.Byte(senseLength);
        w.Byte(0xF1); // logical blocks
        w.UInt64((ulong)outcome.Blocks);
        w.UInt16(outcome.Segments);
        w.Zeroes(6);
        w.Bytes(sense[..senseLength]);
        if (outcome.Token is { } token)
        {
            w.UInt32(TokenBytes + 2);
            w.UInt16(0);
            WriteToken(ref w, unit, token);
        }
        else
        {
            w.UInt32(0);
        }
        w.PatchLength32(0);
        return new(DataIn.Send(command, w.Written, BinaryPrimitives.ReadUInt32BigEndian(command.Cdb[10..])));
    }

    /// <summary>ROD token (SPC-5 7.9.2): type, length, a copy manager identifier, the represented bytes, and 512 random bits.</summary>
    private static void WriteToken(ref ParameterWriter w, BlockUnit unit, CopyTokens.Token token)
    {
        int start = w.Length;
        w.UInt32(PointInTimeChangeVulnerable);
        w.UInt16(0);
        w.UInt16(TokenBytes - 8);
        w.Bytes(token.Id.AsSpan(0, 8));
        w.Byte(0xE4);
        w.Zeroes(3);
        w.Byte(1);
        w.Byte(3);
        w.Byte(0);
        w.Byte(unit.Identity.Naa.Length);
        w.Bytes(unit.Identity.Naa.Span);
        w.Zeroes(start + 48 - w.Length);
        w.UInt64(0);
        w.UInt64((ulong)(token.Ranges.Sum(r => (long)r.Count) * unit.BlockSize));
        w.Zeroes(start + TokenBytes - 64 - w.Length);
        w.Bytes(token.Id);
    }
}
