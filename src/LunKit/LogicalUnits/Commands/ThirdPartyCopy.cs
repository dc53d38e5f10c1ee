using System.Buffers.Binary;
using LunKit.Backstores;
using LunKit.Scsi;

namespace LunKit.LogicalUnits.Commands;

/// <summary>
/// EXTENDED COPY (LID1) (SPC-5 6.5), RECEIVE COPY RESULTS, and the third-party copy VPD page. Sources and destinations are found
/// only among the LUNs of the asking nexus (the lesson of CVE-2020-28374), and every block passes the units' own checks.
/// </summary>
internal static class ThirdPartyCopy
{
    private const int MaxDescriptors = 64, MaxSegments = 256, MaxListBytes = 16 * 1024;
    private const int CopyChunkBytes = 1 << 20;

    // Segment descriptors: blocks to blocks, and the same with byte offsets.
    private const byte BlockToBlock = 0x02, BlockToBlockWithOffset = 0x0A;

    public static long ListLength(int blockSize, ReadOnlySpan<byte> cdb) =>
        Math.Min(BinaryPrimitives.ReadUInt32BigEndian(cdb[10..]), MaxListBytes);

    public static async ValueTask<CommandResult> ExtendedCopy(BlockUnit unit, ScsiCommand command)
    {
        uint declared = BinaryPrimitives.ReadUInt32BigEndian(command.Cdb[10..]);
        if (declared == 0) return CommandResult.Good;
        var list = command.DataOut.ToArray();
        if (list.Length < 16 || declared > list.Length) return CommandResult.CheckCondition(Sense.ParameterListLengthError);
        int descriptorBytes = BinaryPrimitives.ReadUInt16BigEndian(list.AsSpan(2));
        uint segmentBytes = BinaryPrimitives.ReadUInt32BigEndian(list.AsSpan(8)), inline = BinaryPrimitives.ReadUInt32BigEndian(list.AsSpan(12));
        if (inline != 0) return CommandResult.InvalidParameterField(12);
        if (descriptorBytes % 32 != 0) return CommandResult.CheckCondition(Sense.ParameterListLengthError);
        if (descriptorBytes / 32 > MaxDescriptors) return CommandResult.CheckCondition(Sense.TooManyTargetDescriptors);
        if (16L + descriptorBytes + segmentBytes > list.Length) return CommandResult.CheckCondition(Sense.ParameterListLengthError);
        var units = new List<UnitNexus>();
        for (int at = 16; at < 16 + descriptorBytes; at += 32)
        {
            if (list[at] != 0xE4) return CommandResult.CheckCondition(Sense.UnsupportedTargetDescriptorType);
            if (Find(command.Nexus, list.AsSpan(at, 32)) is not { } found) return CommandResult.CheckCondition(Sense.CopyTargetUnreachable);
            units.Add(found);
        }
        if (ReadSegments(unit, units, list, 16 + descriptorBytes, (int)segmentBytes, out var segments) is { } refusal) return refusal;
        var (result, done, blocks) = await CopySegmentsAsync(segments, command).ConfigureAwait(false);
        // LIST ID USAGE 11b: the list identifier means nothing and no result is held.
        if ((list[1] & 0x18) != 0x18) unit.CopyResults.Add(command.UnitNexus!, list[0], new CopyOutcome(0, result, done, blocks));
        return result;
    }

    /// <param name="From">Where its data lies.</param>
    /// <param name="To">Where it goes.</param>
    /// <param name="Count">Blocks, as RECEIVE COPY STATUS counts them.</param>
    /// <param name="Bytes">Bytes to copy.</param>
    private readonly record struct Segment(OffsetCopy.Place From, OffsetCopy.Place To, long Count, long Bytes);

    /// <summary>Reads all segment descriptors: an error in the list is found before anything is copied (SPC-5 5.18.7.3).</summary>
    private static CommandResult? ReadSegments(
        BlockUnit manager, List<UnitNexus> units, byte[] list, int start, int length, out List<Segment> segments)
    {
        segments = [];
        for (int at = start, size; at < start + length; at += size)
        {
            if (segments.Count >= MaxSegments) return CommandResult.CheckCondition(Sense.TooManySegmentDescriptors);
            var s = list.AsSpan(at, start + length - at);
            if (s[0] is not (BlockToBlock or BlockToBlockWithOffset)) return CommandResult.CheckCondition(Sense.UnsupportedSegmentDescriptorType);
            size = s[0] == BlockToBlock ? 28 : 32;
            if (s.Length < size || BinaryPrimitives.ReadUInt16BigEndian(s[2..]) != size - 4) return CommandResult.InvalidParameterField(at + 2);
            int sourceId = BinaryPrimitives.ReadUInt16BigEndian(s[4..]), targetId = BinaryPrimitives.ReadUInt16BigEndian(s[6..]);
            if (sourceId >= units.Count || targetId >= units.Count) return CommandResult.CheckCondition(Sense.CopyTargetUnreachable);
            var source = new OffsetCopy.Place(units[sourceId], BinaryPrimitives.ReadInt64BigEndian(s[12..]), 0);
            var target = new OffsetCopy.Place(units[targetId], BinaryPrimitives.ReadInt64BigEndian(s[20..]), 0);
            long bytes, count;
            if (s[0] == BlockToBlock)
            {
                count = BinaryPrimitives.ReadUInt16BigEndian(s[10..]);
                bytes = count * ((s[1] & 0x02) != 0 ? target : source).BlockSize; // DC: blocks of the destination
                if (bytes % source.BlockSize != 0 || bytes % target.BlockSize != 0)
                    return CommandResult.CheckCondition(Sense.UnexpectedInexactSegment);
            }
            else
            {
                bytes = BinaryPrimitives.ReadUInt32BigEndian(s[8..]);
                if (bytes > MaxSegmentBytes(manager)) return CommandResult.InvalidParameterField(at + 8);
                source = source with { Skip = BinaryPrimitives.ReadUInt16BigEndian(s[28..]) };
                target = target with { Skip = BinaryPrimitives.ReadUInt16BigEndian(s[30..]) };
                // An offset is one into its first block.
                if (source.Skip >= source.BlockSize) return CommandResult.InvalidParameterField(at + 28);
                if (target.Skip >= target.BlockSize) return CommandResult.InvalidParameterField(at + 30);
                count = bytes == 0 ? 0 : (target.Skip + bytes + target.BlockSize - 1) / target.BlockSize;
            }
            segments.Add(new(source, target, count, bytes));
        }
        return null;
    }

    private static uint MaxSegmentBytes(BlockUnit unit) => 65535u * (uint)unit.BlockSize;

    private static int BlockSize(UnitNexus nexus) => ((BlockUnit)nexus.Unit).BlockSize;

    private static async ValueTask<(CommandResult Result, int Segments, long Blocks)> CopySegmentsAsync(List<Segment> segments, ScsiCommand command)
    {
        long blocks = 0;
        for (int i = 0; i < segments.Count; i++)
        {
            var s = segments[i];
            bool inBlocks = s.From.Skip == 0 && s.To.Skip == 0 && s.Bytes % s.From.BlockSize == 0 && s.Bytes % s.To.BlockSize == 0;
            var result = inBlocks
                ? await CopyAsync(command, s.From.On, s.From.Lba, s.To.On, s.To.Lba, s.Bytes).ConfigureAwait(false)
                : await OffsetCopy.RunAsync(command, s.From, s.To, s.Bytes).ConfigureAwait(false);
            // What a unit answered ends the copy; the initiator learns that, and at which segment (SPC-5 5.18.7.4).
            if (result.Status != ScsiStatus.Good)
                return (CommandResult.CheckCondition(new SenseDetail(Sense.CopySegmentFailed) { CommandSpecific = (uint)i }), i, blocks);
            blocks += s.Count;
        }
        return (CommandResult.Good, segments.Count, blocks);
    }

    /// <summary>Copies bytes from one unit to another, both as the command's nexus sees them.</summary>
    public static async ValueTask<CommandResult> CopyAsync(
        ScsiCommand command, UnitNexus from, long sourceLba, UnitNexus to, long targetLba, long length)
    {
        int sourceSize = BlockSize(from), targetSize = BlockSize(to);
        if (length % sourceSize != 0 || length % targetSize != 0) return CommandResult.CheckCondition(Sense.UnexpectedInexactSegment);
        using var scratch = command.RentScratch((int)Math.Max(1, Math.Min(CopyChunkBytes, length)));
        var worker = new InternalCommand(command);
        for (long done = 0; done < length;)
        {
            command.CancellationToken.ThrowIfCancellationRequested();
            int chunk = (int)Math.Min(CopyChunkBytes, length - done);
            var data = new DataBuffer(scratch.Memory[..chunk]);
            var read = InternalCommand.Cdb16(Opcode.Read16, sourceLba + done / sourceSize, (uint)(chunk / sourceSize));
            var result = await worker.RunAsync(from, read, data, default).ConfigureAwait(false);
            if (result.Status != ScsiStatus.Good) return result;
            command.CancellationToken.ThrowIfCancellationRequested();
            var write = InternalCommand.Cdb16(Opcode.Write16, targetLba + done / targetSize, (uint)(chunk / targetSize));
            result = await worker.RunAsync(to, write, default, data).ConfigureAwait(false);
            if (result.Status != ScsiStatus.Good) return result;
            done += chunk;
        }
        return CommandResult.Good;
    }

    /// <summary>The unit that an identification descriptor names (SPC-5 6.5.5.3), if this nexus sees it.</summary>
    private static UnitNexus? Find(Nexus nexus, ReadOnlySpan<byte> descriptor)
    {
        int type = descriptor[5] & 0x0F, length = Math.Min((int)descriptor[7], 20);
        var designator = descriptor.Slice(8, length);
        Span<byte> own = stackalloc byte[48];
        foreach (var entry in nexus.Luns.Entries.Values)
        {
            if (entry.Unit is not BlockUnit unit) continue;
            var w = new ParameterWriter(own);
            switch (type)
            {
                case 3:
                    w.Bytes(unit.Identity.Naa.Span);
                    break;
                case 1:
                    w.Ascii(unit.Identity.Vendor, 8);
                    w.Ascii(unit.Identity.Serial, unit.Identity.Serial.Length);
                    break;
                case 0x0A:
                    w.UInt16(0x1000);
                    w.Bytes(unit.Identity.Id.ToByteArray(bigEndian: true));
                    break;
                default:
                    return null;
            }
            // The descriptor has room for 20 bytes: a longer designator is compared as far as it goes.
            if (designator.SequenceEqual(w.Written[..Math.Min(w.Length, 20)])) return entry;
        }
        return null;
    }

    public static ValueTask<CommandResult> ReceiveStatus(BlockUnit unit, ScsiCommand command)
    {
        if (unit.CopyResults.Find(command.UnitNexus!, command.Cdb[2]) is not { ServiceAction: 0 } outcome) return DataIn.InvalidCdb(2);
        var w = new ParameterWriter(stackalloc byte[12]);
        w.UInt32(8);
        w.Byte(outcome.Result.Status == ScsiStatus.Good ? 0x01 : 0x02);
        w.UInt16(outcome.Segments);
        w.Byte(0xF1); // transfer count in logical blocks
        w.UInt32((uint)outcome.Blocks);
        return new(DataIn.Send(command, w.Written, BinaryPrimitives.ReadUInt32BigEndian(command.Cdb[10..])));
    }

    /// <summary>RECEIVE DATA and FAILED SEGMENT DETAILS: no segment type that is supported holds data (SPC-5 6.24, 6.27).</summary>
    public static ValueTask<CommandResult> ReceiveHeldData(BlockUnit unit, ScsiCommand command) => DataIn.InvalidCdb(2);

    public static ValueTask<CommandResult> OperatingParameters(BlockUnit unit, ScsiCommand command)
    {
        var w = new ParameterWriter(stackalloc byte[64]);
        w.UInt32(0);
        w.Byte(0x01);                       // SNLID: LIST ID USAGE 11b is supported
        w.Zeroes(3);
        w.UInt16(MaxDescriptors);
        w.UInt16(MaxSegments);
        w.UInt32(MaxListBytes - 16);
        w.UInt32(MaxSegmentBytes(unit));
        w.UInt32(0);                        // inline data
        w.UInt32(0);                        // held data
        w.UInt32(0);                        // stream devices
        w.UInt16(0);
        w.UInt16(256);                      // total concurrent copies
        w.Byte(64);                         // maximum concurrent copies
        w.Byte(int.Log2(unit.BlockSize));   // data segment granularity
        w.Byte(0);
        w.Byte(0);
        w.Zeroes(3);
        w.Byte(3);
        w.Bytes([BlockToBlock, BlockToBlockWithOffset, 0xE4]);
        w.PatchLength32(0);
        return new(DataIn.Send(command, w.Written, BinaryPrimitives.ReadUInt32BigEndian(command.Cdb[10..])));
    }

    /// <summary>Third-party copy VPD page (SPC-5 7.7.20): ROD token limits, supported commands, descriptors, operations.</summary>
    public static void WriteVpdPage(LogicalUnit unit, Nexus nexus, ref ParameterWriter w)
    {
        if (unit is not BlockUnit block) return;
        w.UInt16(0x0000);                   // block device ROD token limits
        w.UInt16(0x20);
        w.Zeroes(6);
        w.UInt16(OffloadedTransfer.MaxRanges);
        w.UInt32(CopyTokens.MaxTimeoutSeconds);
        w.UInt32(CopyTokens.DefaultTimeoutSeconds);
        w.UInt64((ulong)(OffloadedTransfer.MaxBytes / block.BlockSize));
        w.UInt64((ulong)(OffloadedTransfer.OptimalBytes / block.BlockSize));
        w.UInt16(0x0001);                   // supported commands: opcode, count, service actions
        w.UInt16(12);
        w.Byte(11);
        w.Byte(0x83);
        w.Byte(3);
        w.Bytes([0x00, 0x10, 0x11]);
        w.Byte(0x84);
        w.Byte(4);
        w.Bytes([0x00, 0x03, 0x04, 0x07]);
        w.UInt16(0x0004);                   // parameter data
        w.UInt16(0x1C);
        w.UInt16(0);
        w.UInt16(0);
        w.UInt16(MaxDescriptors);
        w.UInt16(MaxSegments);
        w.UInt32(MaxListBytes - 16);
        w.UInt32(0);
        w.Zeroes(12);
        w.UInt16(0x0008);                   // supported descriptors
        w.UInt16(4);
        w.Byte(3);
        w.Bytes([BlockToBlock, BlockToBlockWithOffset, 0xE4]);
        w.UInt16(0x8001);                   // general copy operations
        w.UInt16(0x20);
        w.UInt32(256);
        w.UInt32(64);
        w.UInt32(MaxSegmentBytes(block));
        w.Byte(int.Log2(block.BlockSize));
        w.Zeroes(19);
    }
}
