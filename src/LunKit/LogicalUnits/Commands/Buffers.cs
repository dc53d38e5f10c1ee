using System.Buffers.Binary;
using LunKit.Scsi;

namespace LunKit.LogicalUnits.Commands;

/// <summary>
/// READ BUFFER and WRITE BUFFER (SPC-5 6.18, 6.49): data, descriptor and echo modes. A nexus has buffers of its own, so that no
/// initiator reads another's bytes.
/// </summary>
internal static class Buffers
{
    private const int DataMode = 0x02, DescriptorMode = 0x03, EchoMode = 0x0A, EchoDescriptorMode = 0x0B;
    private const int DataCapacity = 64 * 1024, EchoCapacity = 4096;

    public static ValueTask<CommandResult> Read(LogicalUnit unit, ScsiCommand command)
    {
        var cdb = command.Cdb;
        int mode = cdb[1] & 0x1F, offset = UInt24(cdb[3..]), allocation = UInt24(cdb[6..]);
        var nexus = command.UnitNexus!;
        if (mode == DataMode && (cdb[2] != 0 || offset > DataCapacity)) return DataIn.InvalidCdb(cdb[2] != 0 ? 2 : 3);
        return mode switch
        {
            DataMode => new(DataIn.Send(command, (nexus.DataBuffer ??= new byte[DataCapacity]).AsSpan(offset), allocation)),
            // Offset boundary 0: any byte; another buffer id has no buffer.
            DescriptorMode => new(DataIn.Send(command, cdb[2] == 0 ? [0, 1, 0, 0] : [0, 0, 0, 0], allocation)),
            // An echo buffer that nobody wrote in this nexus has nothing to say (SPC-5 6.18.9).
            EchoMode => nexus.EchoBuffer is { } echo ? new(DataIn.Send(command, echo, allocation)) : DataIn.Check(new Sense(SenseKey.IllegalRequest, 0x2C, 0x00)),
            EchoDescriptorMode => new(DataIn.Send(command, [0x00, 0, EchoCapacity >> 8, EchoCapacity & 0xFF], allocation)),
            _ => DataIn.InvalidCdb(1, 4),
        };
    }

    public static ValueTask<CommandResult> Write(LogicalUnit unit, ScsiCommand command)
    {
        var cdb = command.Cdb;
        int mode = cdb[1] & 0x1F, offset = UInt24(cdb[3..]), length = UInt24(cdb[6..]);
        var nexus = command.UnitNexus!;
        switch (mode)
        {
            case DataMode:
                if (cdb[2] != 0) return DataIn.InvalidCdb(2);
                if (offset > DataCapacity) return DataIn.InvalidCdb(3);
                if (length > DataCapacity - offset) return DataIn.InvalidCdb(6);
                command.DataOut.CopyTo((nexus.DataBuffer ??= new byte[DataCapacity]).AsSpan(offset));
                return new(CommandResult.Good);
            case EchoMode:
                if (length > EchoCapacity) return DataIn.InvalidCdb(6);
                nexus.EchoBuffer = command.DataOut.ToArray();
                return new(CommandResult.Good);
            default:
                return DataIn.InvalidCdb(1, 4);
        }
    }

    public static long WriteDataOut(int blockSize, ReadOnlySpan<byte> cdb)
    {
        int length = UInt24(cdb[6..]);
        return length > DataCapacity ? 0 : length;
    }

    private static int UInt24(ReadOnlySpan<byte> b) => b[0] << 16 | BinaryPrimitives.ReadUInt16BigEndian(b[1..]);
}
