// A pass-through handler for the kernel's target in one file: sudo dotnet run --project samples/RawHandler
// It sees every CDB. Here: a read-only disk of counters, with a vendor command that says how often it was read. What it does not
// handle (INQUIRY, REQUEST SENSE, reservations, ...) the standard commands answer.
using System.Buffers.Binary;
using LunKit.LogicalUnits;
using LunKit.Scsi;
using LunKit.Tcmu;

[assembly: System.Runtime.Versioning.SupportedOSPlatform("linux")]

await TcmuHandler.RunAsync("raw", config => new RawDisk(config));

internal sealed class RawDisk(TcmuConfig config) : CustomUnit(deviceType: 0, config.Identity)
{
    private const byte ReadCapacity10 = 0x25, Read10 = 0x28, VendorCount = 0xC0;
    private readonly long _blocks = config.SizeBytes / config.BlockSize;
    private long _reads;

    protected override ValueTask<CommandResult>? Execute(ScsiCommand command) => command.Cdb[0] switch
    {
        ReadCapacity10 => new(Send(command, [(uint)(_blocks - 1), (uint)config.BlockSize])),
        Read10 => new(Read(command)),
        VendorCount => new(Send(command, [(uint)Volatile.Read(ref _reads)])),
        _ => null,
    };

    private CommandResult Read(ScsiCommand command)
    {
        uint lba = BinaryPrimitives.ReadUInt32BigEndian(command.Cdb[2..]), count = BinaryPrimitives.ReadUInt16BigEndian(command.Cdb[7..]);
        if (lba + count > _blocks) return CommandResult.CheckCondition(Sense.LbaOutOfRange, lba);
        Interlocked.Increment(ref _reads);
        var numbers = new uint[count * config.BlockSize / 4];
        for (int i = 0; i < numbers.Length; i++) numbers[i] = lba + (uint)(i * 4 / config.BlockSize);
        return Send(command, numbers);
    }

    private static CommandResult Send(ScsiCommand command, uint[] numbers)
    {
        var bytes = new byte[numbers.Length * 4];
        for (int i = 0; i < numbers.Length; i++) BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(i * 4), numbers[i]);
        command.RentDataIn(bytes.Length).CopyFrom(bytes);
        return CommandResult.Data(bytes.Length);
    }
}
