using System.Buffers.Binary;
using LunKit.Scsi;

namespace LunKit.LogicalUnits.Commands;

/// <summary>LOG SENSE and LOG SELECT (SPC-5 6.8, 6.7): error counters, provisioning, temperature, statistics.</summary>
internal static class LogPages
{
    private delegate void PageWriter(LogicalUnit unit, ref ParameterWriter w);

    private static readonly SortedDictionary<(byte Page, byte Subpage), PageWriter> s_pages = new()
    {
        [(0x00, 0x00)] = SupportedPages,
        [(0x00, 0xFF)] = SupportedSubpages,
        [(0x02, 0x00)] = (LogicalUnit u, ref ParameterWriter w) => ErrorCounters(u, ref w, u.Statistics.BytesWritten),
        [(0x03, 0x00)] = (LogicalUnit u, ref ParameterWriter w) => ErrorCounters(u, ref w, u.Statistics.BytesRead),
        [(0x05, 0x00)] = (LogicalUnit u, ref ParameterWriter w) => ErrorCounters(u, ref w, 0),
        [(0x06, 0x00)] = NonMediumErrors,
        [(0x0C, 0x00)] = LogicalBlockProvisioning,
        [(0x0D, 0x00)] = Temperature,
        [(0x19, 0x00)] = GeneralStatistics,
        [(0x2F, 0x00)] = InformationalExceptions,
    };

    public static ValueTask<CommandResult> Sense(LogicalUnit unit, ScsiCommand command)
    {
        var cdb = command.Cdb;
        byte page = (byte)(cdb[2] & 0x3F), subpage = cdb[3];
        int pointer = BinaryPrimitives.ReadUInt16BigEndian(cdb[5..]), allocation = BinaryPrimitives.ReadUInt16BigEndian(cdb[7..]);
        if ((cdb[1] & 0x01) != 0) return DataIn.InvalidCdb(1, 0); // SP: nothing is saved
        if (!s_pages.TryGetValue((page, subpage), out var writer)) return DataIn.InvalidCdb(s_pages.ContainsKey((page, 0)) ? 3 : 2);
        var w = new ParameterWriter(stackalloc byte[1024]);
        w.Byte(0x80 | (subpage != 0 ? 0x40 : 0) | page); // DS: not saved
        w.Byte(subpage);
        w.UInt16(0);
        writer(unit, ref w);
        w.PatchLength16(2);
        if (pointer != 0 && !SkipTo(ref w, page, pointer)) return DataIn.InvalidCdb(5);
        return new(DataIn.Send(command, w.Written, allocation));
    }

    /// <summary>Drops the parameters before the one that the parameter pointer names; false when none is left.</summary>
    private static bool SkipTo(ref ParameterWriter w, byte page, int pointer)
    {
        if (page == 0) return false;
        var data = w.Written;
        int at = 4;
        while (at + 4 <= data.Length && BinaryPrimitives.ReadUInt16BigEndian(data[at..]) < pointer) at += 4 + data[at + 3];
        if (at >= data.Length) return false;
        var rest = data[at..].ToArray();
        var shorter = new ParameterWriter(data);
        shorter.Bytes(data[..4].ToArray());
        shorter.Bytes(rest);
        shorter.PatchLength16(2);
        w = shorter;
        return true;
    }

    /// <summary>LOG SELECT: the counters are what happened, so they cannot be set; an empty list changes nothing.</summary>
    public static ValueTask<CommandResult> Select(LogicalUnit unit, ScsiCommand command)
    {
        var cdb = command.Cdb;
        if ((cdb[1] & 0x02) != 0) return DataIn.InvalidCdb(1, 1); // PCR
        if ((cdb[1] & 0x01) != 0) return DataIn.InvalidCdb(1, 0); // SP
        return BinaryPrimitives.ReadUInt16BigEndian(cdb[7..]) == 0 ? new(CommandResult.Good) : DataIn.InvalidCdb(7);
    }

    private static void Parameter(ref ParameterWriter w, int code, int format, int length)
    {
        w.UInt16(code);
        w.Byte(format);
        w.Byte(length);
    }

    private static void SupportedPages(LogicalUnit unit, ref ParameterWriter w)
    {
        foreach (var (page, subpage) in s_pages.Keys)
            if (subpage == 0) w.Byte(page);
    }

    private static void SupportedSubpages(LogicalUnit unit, ref ParameterWriter w)
    {
        foreach (var (page, subpage) in s_pages.Keys)
        {
            w.Byte(page);
            w.Byte(subpage);
        }
    }

    private static void ErrorCounters(LogicalUnit unit, ref ParameterWriter w, long bytes)
    {
        for (int code = 0; code <= 6; code++)
        {
            Parameter(ref w, code, 0x02, 8); // bounded data counter
            w.UInt64(code switch { 5 => (ulong)bytes, 6 => (ulong)unit.Statistics.Failures, _ => 0 });
        }
    }

    private static void NonMediumErrors(LogicalUnit unit, ref ParameterWriter w)
    {
        Parameter(ref w, 0, 0x02, 8);
        w.UInt64((ulong)unit.Statistics.Failures);
    }

    private static void LogicalBlockProvisioning(LogicalUnit unit, ref ParameterWriter w)
    {
        if (unit is not BlockUnit { IsThin: true } block || block.Store.AvailableBytes is not { } available) return;
        // Available LBA mapping resource count, in threshold sets of 2^11 blocks (SBC-4 6.4.5.2).
        Parameter(ref w, 0x0001, 0x03, 8);
        w.UInt32((uint)Math.Min(uint.MaxValue, available / block.BlockSize >> 11));
        w.Byte(0);
        w.Zeroes(3);
    }

    private static void Temperature(LogicalUnit unit, ref ParameterWriter w)
    {
        Parameter(ref w, 0x0000, 0x03, 2);
        w.UInt16(0x00FF); // not able to return a temperature
        Parameter(ref w, 0x0001, 0x03, 2);
        w.UInt16(0x00FF);
    }

    private static void GeneralStatistics(LogicalUnit unit, ref ParameterWriter w)
    {
        var block = unit as BlockUnit;
        int size = block?.BlockSize ?? 512;
        // Of other devices it is not known which commands read and which write.
        var (reads, writes) = block?.CommandCounts ?? default;
        Parameter(ref w, 0x0001, 0x03, 0x40);
        w.UInt64((ulong)reads);
        w.UInt64((ulong)writes);
        w.UInt64((ulong)(unit.Statistics.BytesWritten / size));
        w.UInt64((ulong)(unit.Statistics.BytesRead / size));
        w.Zeroes(32);
        // The unit of time intervals: 1 times 10 to the power of -3 seconds.
        Parameter(ref w, 0x0003, 0x03, 8);
        w.UInt32(unchecked((uint)-3));
        w.UInt32(1);
    }

    private static void InformationalExceptions(LogicalUnit unit, ref ParameterWriter w)
    {
        Parameter(ref w, 0x0000, 0x03, 4);
        w.Zeroes(2);
        w.Byte(0xFF); // no temperature
        w.Byte(0);
    }
}
