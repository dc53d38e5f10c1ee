using System.Buffers.Binary;
using LunKit.LogicalUnits;
using LunKit.Scsi;
using LunKit.Tcmu;
using LunKit.Tcmu.Devices;

// A pass-through handler for the kernel's target in one file: sudo dotnet run --project samples/RawHandler
// It sees every CDB. Here: a read-only disk of counters, with a vendor command that says how often it was read, and one that answers with
// sense data of its own. What it does not handle (INQUIRY, REQUEST SENSE, reservations, ...) the standard commands answer.

[assembly: System.Runtime.Versioning.SupportedOSPlatform("linux")]

await TcmuHandler.RunAsync("raw", config => new RawDisk(config));

internal sealed class RawDisk(TcmuConfig config) : CustomUnit(deviceType: 0, config.Identity)
{
    private const byte ReadCapacity10 = 0x25, Read10 = 0x28, VendorCount = 0xC0, VendorSense = 0xC1;

    // Fixed format (SPC-5 4.5.3): RECOVERED ERROR, with a code that only this vendor knows and four bytes of its own.
    private static readonly byte[] s_sense = [0x70, 0, 0x01, 0, 0, 0, 0, 10, 0xCA, 0xFE, 0xF0, 0x0D, 0x80, 0x01, 0, 0, 0, 0];

    private readonly long _blocks = config.SizeBytes / config.BlockSize;
    private long _reads;

    protected override ValueTask<CommandResult>? Execute(ScsiCommand command) => command.Cdb[0] switch
    {
        ReadCapacity10 => new(Send(command, [(uint)Math.Min(_blocks - 1, uint.MaxValue), (uint)config.BlockSize])),
        Read10 => new(Read(command)),
        VendorCount => new(Send(command, [(uint)Volatile.Read(ref _reads)])),
        VendorSense => new(CommandResult.Relayed(ScsiStatus.CheckCondition, 0, s_sense)),
        _ => null,
    };

    private CommandResult Read(ScsiCommand command)
    {
        uint lba = BinaryPrimitives.ReadUInt32BigEndian(command.Cdb[2..]), count = BinaryPrimitives.ReadUInt16BigEndian(command.Cdb[7..]);
        // Not as lba + count: 32 bits do not hold the sum.
        if (lba > _blocks || count > _blocks - lba) return CommandResult.CheckCondition(Sense.LbaOutOfRange, lba);
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
