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

    public static ValueTask<CommandResult> Read(LogicalUnit unit, ScsiCommand command)
    {
        var cdb = command.Cdb;
        int mode = cdb[1] & 0x1F, offset = UInt24(cdb[3..]), allocation = UInt24(cdb[6..]);
        switch (mode)
        {
            case DataMode:
                if (cdb[2] != 0 || offset > NexusBuffers.DataCapacity) return DataIn.InvalidCdb(cdb[2] != 0 ? 2 : 3);
                int length = Math.Min(allocation, NexusBuffers.DataCapacity - offset);
                if (length == 0) return new(CommandResult.Good);
                command.Nexus.Buffers.ReadData(command.UnitNexus!, offset, command.RentDataIn(length));
                return new(CommandResult.Data(length));
            case DescriptorMode:
                // Offset boundary 0: any byte; another buffer id has no buffer.
                return new(DataIn.Send(command, cdb[2] == 0 ? [0, NexusBuffers.DataCapacity >> 16, 0, 0] : [0, 0, 0, 0], allocation));
            case EchoMode:
                // An echo buffer that this nexus has not written has nothing to give (SPC-5 6.18.9).
                return command.Nexus.Buffers.ReadEcho(command.UnitNexus!) is { } echo
                    ? new(DataIn.Send(command, echo, allocation))
                    : DataIn.Check(Sense.CommandSequenceError);
            case EchoDescriptorMode:
                return new(DataIn.Send(command, [0x00, 0, NexusBuffers.EchoCapacity >> 8, NexusBuffers.EchoCapacity & 0xFF], allocation));
            default:
                return DataIn.InvalidCdb(1, 4);
        }
    }

    public static ValueTask<CommandResult> Write(LogicalUnit unit, ScsiCommand command)
    {
        var cdb = command.Cdb;
        int mode = cdb[1] & 0x1F, offset = UInt24(cdb[3..]), length = UInt24(cdb[6..]);
        switch (mode)
        {
            case DataMode:
                if (cdb[2] != 0) return DataIn.InvalidCdb(2);
                if (offset > NexusBuffers.DataCapacity) return DataIn.InvalidCdb(3);
                if (length > NexusBuffers.DataCapacity - offset) return DataIn.InvalidCdb(6);
                if (length > 0) command.Nexus.Buffers.WriteData(command.UnitNexus!, offset, command.DataOut);
                return new(CommandResult.Good);
            case EchoMode:
                if (length > NexusBuffers.EchoCapacity) return DataIn.InvalidCdb(6);
                command.Nexus.Buffers.WriteEcho(command.UnitNexus!, command.DataOut.ToArray());
                return new(CommandResult.Good);
            default:
                return DataIn.InvalidCdb(1, 4);
        }
    }

    public static long WriteDataOut(int blockSize, ReadOnlySpan<byte> cdb)
    {
        int length = UInt24(cdb[6..]);
        return length > NexusBuffers.DataCapacity ? 0 : length;
    }

    private static int UInt24(ReadOnlySpan<byte> b) => b[0] << 16 | BinaryPrimitives.ReadUInt16BigEndian(b[1..]);
}
