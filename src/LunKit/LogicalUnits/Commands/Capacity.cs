using System.Buffers.Binary;
using System.Numerics;
using LunKit.Scsi;

namespace LunKit.LogicalUnits.Commands;

/// <summary>READ CAPACITY (SBC-4 5.20, 5.21) and READ DEFECT DATA (5.22, 5.23).</summary>
internal static class Capacity
{
    public static ValueTask<CommandResult> Read10(BlockUnit unit, ScsiCommand command)
    {
        Span<byte> data = stackalloc byte[8];
        BinaryPrimitives.WriteUInt32BigEndian(data, (uint)Math.Min(uint.MaxValue, unit.BlockCount - 1));
        BinaryPrimitives.WriteUInt32BigEndian(data[4..], (uint)unit.BlockSize);
        return new(DataIn.Send(command, data, 8));
    }

    public static ValueTask<CommandResult> Read16(BlockUnit unit, ScsiCommand command)
    {
        Span<byte> data = stackalloc byte[32];
        data.Clear();
        BinaryPrimitives.WriteUInt64BigEndian(data, (ulong)unit.BlockCount - 1);
        BinaryPrimitives.WriteUInt32BigEndian(data[8..], (uint)unit.BlockSize);
        data[13] = (byte)BitOperations.Log2((uint)(unit.Store.Geometry.PhysicalBlockSize / unit.BlockSize));
        if (unit.IsThin) data[14] = 0xC0; // LBPME, LBPRZ; lowest aligned LBA 0
        return new(DataIn.Send(command, data, BinaryPrimitives.ReadUInt32BigEndian(command.Cdb[10..])));
    }

    /// <summary>No defects, in the format that was asked for (a virtual medium keeps no list).</summary>
    public static ValueTask<CommandResult> ReadDefectData(LogicalUnit unit, ScsiCommand command)
    {
        var cdb = command.Cdb;
        bool ten = cdb.Length == 10;
        byte requested = (byte)((ten ? cdb[2] : cdb[1]) & 0x1F);
        Span<byte> data = stackalloc byte[ten ? 4 : 8];
        data.Clear();
        data[1] = requested;
        return new(DataIn.Send(command, data,
            ten ? BinaryPrimitives.ReadUInt16BigEndian(cdb[7..]) : BinaryPrimitives.ReadUInt32BigEndian(cdb[6..])));
    }
}
