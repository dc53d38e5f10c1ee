using System.Buffers.Binary;
using LunKit.Scsi;

namespace LunKit.LogicalUnits.Commands;

/// <summary>MODE SENSE and MODE SELECT, 6 and 10 (SPC-5 6.13 to 6.16), over the unit's table of pages.</summary>
internal static class Mode
{
    public static ValueTask<CommandResult> Sense(LogicalUnit unit, ScsiCommand command)
    {
        var cdb = command.Cdb;
        bool ten = cdb.Length == 10;
        int control = cdb[2] >> 6, allocation = ten ? BinaryPrimitives.ReadUInt16BigEndian(cdb[7..]) : cdb[4];
        byte code = (byte)(cdb[2] & 0x3F), subpage = cdb[3];
        bool noDescriptor = (cdb[1] & 0x08) != 0, longLba = ten && (cdb[1] & 0x10) != 0;
        var pages = unit.ModePages.All.Where(p =>
            (code == 0x3F || p.Code == code) && (subpage == 0xFF || p.Subpage == subpage)).ToList();
        if (control == 3 && !unit.ModePages.CanSave) return DataIn.Check(Scsi.Sense.SavingParametersNotSupported);
        // Of all pages there are those without subpages, or all; the subpages between are reserved (SPC-5 6.15).
        if (code == 0x3F && subpage is not (0 or 0xFF)) return DataIn.InvalidCdb(3);
        if (pages.Count == 0 && code != 0x3F) return DataIn.InvalidCdb(unit.ModePages.All.Any(p => p.Code == code) ? 3 : 2);
        var w = new ParameterWriter(stackalloc byte[1024]);
        w.Zeroes(ten ? 8 : 4);
        int header = w.Length;
        if (!noDescriptor) BlockDescriptor(unit, longLba, ref w);
        int descriptor = w.Length - header;
        foreach (var page in pages) WritePage(ref w, page, control, unit.ModePages.CanSave);
        var data = w.Written;
        byte deviceSpecific = (byte)(unit is BlockUnit b ? (b.IsWriteProtected ? 0x80 : 0) | 0x10 : 0); // WP, DPOFUA
        if (ten)
        {
            BinaryPrimitives.WriteUInt16BigEndian(data, (ushort)(data.Length - 2));
            data[3] = deviceSpecific;
            data[4] = (byte)(longLba && descriptor > 0 ? 1 : 0);
            BinaryPrimitives.WriteUInt16BigEndian(data[6..], (ushort)descriptor);
        }
        else
        {
            data[0] = (byte)Math.Min(255, data.Length - 1);
            data[2] = deviceSpecific;
            data[3] = (byte)descriptor;
        }
        return new(DataIn.Send(command, data, allocation));
    }

    private static void WritePage(ref ParameterWriter w, ModePage page, int control, bool canSave)
    {
        int start = w.Length;
        WriteValues(ref w, page, control);
        // PS: the page can be saved.
        if (!canSave) w.Written[start] &= 0x7F;
    }

    private static void WriteValues(ref ParameterWriter w, ModePage page, int control)
    {
        if (control != 1)
        {
            w.Bytes(control switch { 0 => page.Current, 2 => page.Default, _ => page.Saved });
            return;
        }
        // Changeable values: the page's header as always, then the mask.
        int header = page.Subpage == 0 ? 2 : 4;
        w.Bytes(page.Default.AsSpan(0, header));
        w.Bytes(page.Changeable.AsSpan(header));
    }

    private static void BlockDescriptor(LogicalUnit unit, bool longLba, ref ParameterWriter w)
    {
        if (unit is not BlockUnit block) return;
        if (longLba)
        {
            w.UInt64((ulong)block.BlockCount);
            w.UInt32(0);
            w.UInt32((uint)block.BlockSize);
            return;
        }
        w.UInt32((uint)Math.Min(uint.MaxValue, block.BlockCount));
        w.UInt32((uint)block.BlockSize);
    }

    public static long SelectDataOut(int blockSize, ReadOnlySpan<byte> cdb) =>
        cdb.Length == 10 ? BinaryPrimitives.ReadUInt16BigEndian(cdb[7..]) : cdb[4];

    public static ValueTask<CommandResult> Select(LogicalUnit unit, ScsiCommand command)
    {
        var cdb = command.Cdb;
        bool ten = cdb.Length == 10, pageFormat = (cdb[1] & 0x10) != 0, save = (cdb[1] & 0x01) != 0;
        if (save && !unit.ModePages.CanSave) return DataIn.InvalidCdb(1, 0);
        if ((cdb[1] & 0x02) != 0) return DataIn.InvalidCdb(1, 1); // RTD: revert to defaults is not offered
        long declared = SelectDataOut(0, cdb);
        if (declared == 0) return new(CommandResult.Good);
        if (!pageFormat) return DataIn.InvalidCdb(1, 4);
        var list = command.DataOut.ToArray();
        int header = ten ? 8 : 4;
        if (list.Length < header || list.Length < declared) return DataIn.Check(Scsi.Sense.ParameterListLengthError);
        int descriptor = ten ? BinaryPrimitives.ReadUInt16BigEndian(list.AsSpan(6)) : list[3];
        bool longLba = ten && (list[4] & 1) != 0;
        if (descriptor != 0 && descriptor != (longLba ? 16 : 8)) return new(CommandResult.InvalidParameterField(ten ? 6 : 3));
        if (list.Length < header + descriptor) return DataIn.Check(Scsi.Sense.ParameterListLengthError);
        if (descriptor != 0 && !IsOwnGeometry(unit, list.AsSpan(header, descriptor), longLba))
            return new(CommandResult.InvalidParameterField(header));
        var changes = new List<(ModePage Page, byte[] Wanted)>();
        for (int at = header + descriptor; at < list.Length;)
        {
            if (ReadPage(unit, list, ref at, changes) is { } refusal) return new(refusal);
        }
        return ApplyAsync(unit, command, changes, save);
    }

    private static async ValueTask<CommandResult> ApplyAsync(
        LogicalUnit unit, ScsiCommand command, List<(ModePage Page, byte[] Wanted)> changes, bool save)
    {
        bool changed = await unit.ModePages.ApplyAsync(changes, save, command).ConfigureAwait(false);
        if (changed) unit.EstablishForOthers(command.UnitNexus, Scsi.Sense.ModeParametersChanged);
        // Who turns the write cache off (SBC-4 4.15) sends no SYNCHRONIZE CACHE any more: what was acknowledged goes to the medium before the
        // answer. Also when the cache is off already, for the flush of an earlier attempt may have failed.
        if (unit is BlockUnit { HasVolatileCache: true } && changes.Exists(c => TurnsCacheOff(c.Page, c.Wanted)))
            await unit.FlushAsync().ConfigureAwait(false);
        return CommandResult.Good;
    }

    private static bool TurnsCacheOff(ModePage page, byte[] wanted) => page is { Code: 0x08, Subpage: 0 } && (wanted[2] & 0x04) == 0;

    private static CommandResult? ReadPage(LogicalUnit unit, byte[] list, ref int at, List<(ModePage Page, byte[] Wanted)> changes)
    {
        var rest = list.AsSpan(at);
        bool sub = (rest[0] & 0x40) != 0;
        int header = sub ? 4 : 2;
        if (rest.Length < header) return CommandResult.CheckCondition(Scsi.Sense.ParameterListLengthError);
        byte code = (byte)(rest[0] & 0x3F), subpage = sub ? rest[1] : (byte)0;
        int length = header + (sub ? BinaryPrimitives.ReadUInt16BigEndian(rest[2..]) : rest[1]);
        if (unit.ModePages.Find(code, subpage) is not { } page) return CommandResult.InvalidParameterField(at);
        if (length != page.Default.Length) return CommandResult.InvalidParameterField(at + (sub ? 2 : 1));
        if (rest.Length < length) return CommandResult.CheckCondition(Scsi.Sense.ParameterListLengthError);
        var wanted = rest[..length].ToArray();
        page.Default.AsSpan(0, header).CopyTo(wanted);
        int wrong = ModePages.FirstUnchangeable(page, wanted);
        if (wrong >= 0) return CommandResult.InvalidParameterField(at + wrong);
        changes.Add((page, wanted));
        at += length;
        return null;
    }

    /// <summary>The block length cannot be changed, nor the capacity; the current values (or "as it is") are accepted.</summary>
    private static bool IsOwnGeometry(LogicalUnit unit, ReadOnlySpan<byte> d, bool longLba)
    {
        if (unit is not BlockUnit block) return false;
        ulong count = longLba ? BinaryPrimitives.ReadUInt64BigEndian(d) : BinaryPrimitives.ReadUInt32BigEndian(d);
        uint size = longLba ? BinaryPrimitives.ReadUInt32BigEndian(d[12..]) : BinaryPrimitives.ReadUInt32BigEndian(d[4..]) & 0xFFFFFF;
        bool sameCount = count == 0 || count == (ulong)block.BlockCount || count == (longLba ? ulong.MaxValue : uint.MaxValue);
        return sameCount && (size == 0 || size == (uint)block.BlockSize);
    }
}
