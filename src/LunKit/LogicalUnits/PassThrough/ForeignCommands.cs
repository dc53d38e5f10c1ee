using System.Buffers.Binary;
using LunKit.Scsi;
using static LunKit.LogicalUnits.CommandTraits;
using static LunKit.LogicalUnits.DataTransfer;
using static LunKit.LogicalUnits.DeviceTypes;

namespace LunKit.LogicalUnits;

/// <summary>Sets of peripheral device types (SPC-5 table 148).</summary>
[Flags]
internal enum DeviceTypes
{
    /// <summary>Disks, and what has their commands: direct access, write once, optical memory, simplified, zoned.</summary>
    Disk = 1,
    Tape = 2,
    Processor = 4,
    /// <summary>CD, DVD and BD drives.</summary>
    Optical = 8,
    Scanner = 16,
    Changer = 32,
    Communication = 64,
    /// <summary>Printers, enclosures, and all that has nothing of its own here.</summary>
    Other = 128,
    Any = 255,
}

/// <summary>Which way the data of a command goes.</summary>
internal enum DataTransfer
{
    /// <summary>There is none.</summary>
    NoData,
    ToInitiator,
    FromInitiator,
    /// <summary>Both ways at once.</summary>
    Bidirectional,
    /// <summary>From the initiator when bit 1 of byte 1 (BYTCMP) asks for a comparison; else there is none.</summary>
    FromInitiatorToCompare,
    /// <summary>As T_DIR of an ATA PASS-THROUGH says (SAT-5 12.2.2).</summary>
    AsAta,
}

/// <summary>What is known of a command that LunKit hands on.</summary>
/// <param name="Name">The standard's name.</param>
/// <param name="Traits">Of the traits of rows: whether it writes, may be repeated, is dangerous, stays with the target.</param>
/// <param name="Transfer">Which way its data goes.</param>
internal readonly record struct CommandFacts(string Name, CommandTraits Traits, DataTransfer Transfer)
{
    public bool Has(CommandTraits trait) => (Traits & trait) != 0;

    /// <summary>Whether the command takes data from the initiator.</summary>
    public bool TakesData(ReadOnlySpan<byte> cdb) => Transfer switch
    {
        FromInitiator or Bidirectional => true,
        FromInitiatorToCompare => cdb.Length > 1 && (cdb[1] & 0x02) != 0,
        AsAta => cdb[0] == (byte)Opcode.VariableLength ? cdb.Length > 11 && (cdb[11] & 0x08) == 0 : cdb.Length > 2 && (cdb[2] & 0x08) == 0,
        _ => false,
    };
}

/// <summary>
/// Commands of the standards that LunKit does not execute but hands on, by device type: to a real device (<see cref="PassThroughUnit"/>)
/// or to a handler. What LunKit executes itself is in <see cref="PrimaryCommands"/> and <see cref="BlockCommands"/>; a row here comes
/// before theirs, for one operation code means different commands to different devices. <see cref="Find"/> is the one place that knows.
/// </summary>
internal static class ForeignCommands
{
    private const CommandTraits Repeats = Repeatable, Writes = WritesMedium, Endangers = Destructive;

    private readonly record struct Row(DeviceTypes Types, byte Opcode, int ServiceAction, CommandFacts Facts);

    private static readonly Row[] s_rows =
    [
        // SPC-5: any device
        New(Any, "CHANGE ALIASES", 0xA4, 0x0B, FromInitiator, Repeats),
        New(Any, "CHANGE DEFINITION", 0x40, FromInitiator, Endangers),
        New(Any, "COMPARE", 0x39, FromInitiator, Endangers),
        New(Any, "COPY", 0x18, FromInitiator, Endangers),
        New(Any, "COPY AND VERIFY", 0x3A, FromInitiator, Endangers),
        New(Any, "LOG SELECT", 0x4C, FromInitiator, AnyAccessState),
        New(Any, "MANAGEMENT PROTOCOL IN", 0xA3, 0x10, ToInitiator, Endangers),
        New(Any, "MANAGEMENT PROTOCOL OUT", 0xA4, 0x10, FromInitiator, Endangers),
        New(Any, "READ ATTRIBUTE", 0x8C, ToInitiator, Repeats),
        New(Any, "READ BUFFER(16)", 0x9B, ToInitiator, Repeats),
        New(Any, "READ DYNAMIC RUNTIME ATTRIBUTE", 0xA3, 0x1E, ToInitiator, Repeats),
        New(Any, "READ MEDIA SERIAL NUMBER", 0xAB, 0x01, ToInitiator, Repeats),
        New(Any, "REPORT ALIASES", 0xA3, 0x0B, ToInitiator, Repeats),
        New(Any, "REPORT PRIORITY", 0xA3, 0x0E, ToInitiator, Repeats),
        New(Any, "SECURITY PROTOCOL IN", 0xA2, ToInitiator, Endangers),
        New(~Changer & Any, "SECURITY PROTOCOL OUT", 0xB5, FromInitiator, Endangers),
        New(Any, "SET PRIORITY", 0xA4, 0x0E, FromInitiator, Repeats),
        New(Any, "SET TIMESTAMP", 0xA4, 0x0F, FromInitiator, Repeats),
        New(~Disk & Any, "THIRD-PARTY COPY OUT", 0x83, FromInitiator, Endangers | Writes),
        New(~Disk & Any, "THIRD-PARTY COPY IN", 0x84, ToInitiator, Endangers),
        New(Any, "ACCESS CONTROL IN", 0x86, ToInitiator, Endangers),
        New(Any, "ACCESS CONTROL OUT", 0x87, FromInitiator, Endangers),
        New(Any, "WRITE ATTRIBUTE", 0x8D, FromInitiator, Writes | Repeats),
        New(Any, "WRITE DYNAMIC RUNTIME ATTRIBUTE", 0xA4, 0x1E, FromInitiator, Repeats),

        // SAT-5: ATA commands; on an optical drive A1h is another command
        New(~Optical & Any, "ATA PASS-THROUGH(12)", 0xA1, AsAta, Endangers | Writes),
        New(Any, "ATA PASS-THROUGH(16)", 0x85, AsAta, Endangers | Writes),
        New(Any, "ATA PASS-THROUGH(32)", 0x7F, 0x1FF0, AsAta, Endangers | Writes),

        // SBC-5, ZBC-3, and what older disks have
        New(Disk, "BACKGROUND CONTROL", 0x9E, 0x15, NoData, Repeats),
        New(Disk, "ERASE(10)", 0x2C, NoData, Writes | Endangers),
        New(Disk, "ERASE(12)", 0xAC, NoData, Writes | Endangers),
        New(Disk, "FORMAT WITH PRESET", 0x38, NoData, Writes | Endangers),
        New(Disk, "GET LBA STATUS(32)", 0x7F, 0x0012, ToInitiator, Repeats | ReservationRead),
        New(Disk, "GET PHYSICAL ELEMENT STATUS", 0x9E, 0x17, ToInitiator, Repeats),
        New(Disk, "GET STREAM STATUS", 0x9E, 0x16, ToInitiator, Repeats),
        New(Disk, "LOCK UNLOCK CACHE(10)", 0x36, NoData, Repeats),
        New(Disk, "LOCK UNLOCK CACHE(16)", 0x92, NoData, Repeats),
        New(Disk, "ORWRITE(32)", 0x7F, 0x000E, FromInitiator, Writes | Repeats),
        New(Disk, "READ LONG(10)", 0x3E, ToInitiator, Repeats),
        New(Disk, "READ LONG(16)", 0x9E, 0x11, ToInitiator, Repeats),
        New(Disk, "READ UPDATED BLOCK(10)", 0x2D, ToInitiator, Repeats),
        New(Disk, "REASSIGN BLOCKS", 0x07, FromInitiator, Writes),
        New(Disk, "REMOVE ELEMENT AND MODIFY ZONES", 0x9E, 0x1A, NoData, Writes | Endangers),
        New(Disk, "REMOVE ELEMENT AND TRUNCATE", 0x9E, 0x18, NoData, Writes | Endangers),
        New(Disk, "REPORT PROVISIONING INITIALIZATION PATTERN", 0xA3, 0x1D, ToInitiator, Repeats),
        New(Disk, "REPORT REFERRALS", 0x9E, 0x13, ToInitiator, Repeats),
        New(Disk, "RESTORE ELEMENTS AND REBUILD", 0x9E, 0x19, NoData, Writes | Endangers),
        New(Disk, "REZERO UNIT", 0x01, NoData, Repeats),
        New(Disk, "SEEK(6)", 0x0B, NoData, Repeats),
        New(Disk, "SEEK(10)", 0x2B, NoData, Repeats),
        New(Disk, "STREAM CONTROL", 0x9E, 0x14, ToInitiator, None),
        New(Disk, "UPDATE BLOCK", 0x3D, FromInitiator, Writes),
        New(Disk, "VERIFY(32)", 0x7F, 0x000A, FromInitiator, Repeats),
        New(Disk, "WRITE AND VERIFY(32)", 0x7F, 0x000C, FromInitiator, Writes | Repeats),
        New(Disk, "WRITE ATOMIC(32)", 0x7F, 0x000F, FromInitiator, Writes | Repeats),
        New(Disk, "WRITE LONG(10)", 0x3F, FromInitiator, Writes),
        New(Disk, "WRITE LONG(16)", 0x9F, 0x11, FromInitiator, Writes | Endangers),
        New(Disk, "WRITE SCATTERED(16)", 0x9F, 0x12, FromInitiator, Writes | Endangers),
        New(Disk, "WRITE STREAM(16)", 0x9A, FromInitiator, Writes | Repeats),
        New(Disk, "XDREAD(10)", 0x52, ToInitiator, None),
        New(Disk, "XDREAD(32)", 0x7F, 0x0003, ToInitiator, None),
        New(Disk, "XDWRITE(10)", 0x50, FromInitiator, Writes),
        New(Disk, "XDWRITE(32)", 0x7F, 0x0004, FromInitiator, Writes),
        New(Disk, "XDWRITEREAD(10)", 0x53, Bidirectional, Writes),
        New(Disk, "XDWRITEREAD(32)", 0x7F, 0x0007, Bidirectional, Writes),
        New(Disk, "XPWRITE(10)", 0x51, FromInitiator, Writes),
        New(Disk, "XPWRITE(32)", 0x7F, 0x0006, FromInitiator, Writes),
        New(Disk, "CLOSE ZONE", 0x94, 0x01, NoData, Writes | Repeats),
        New(Disk, "FINISH ZONE", 0x94, 0x02, NoData, Writes | Repeats),
        New(Disk, "OPEN ZONE", 0x94, 0x03, NoData, Writes | Repeats),
        New(Disk, "RESET WRITE POINTER", 0x94, 0x04, NoData, Writes | Repeats),
        New(Disk, "SEQUENTIALIZE ZONE", 0x94, 0x10, NoData, Writes),
        New(Disk, "REPORT ZONES", 0x95, 0x00, ToInitiator, Repeats | ReservationRead),
        New(Disk, "REPORT REALMS", 0x95, 0x06, ToInitiator, Repeats | ReservationRead),
        New(Disk, "REPORT ZONE DOMAINS", 0x95, 0x07, ToInitiator, Repeats | ReservationRead),
        New(Disk, "ZONE ACTIVATE", 0x95, 0x08, ToInitiator, Writes),
        New(Disk, "ZONE QUERY", 0x95, 0x09, ToInitiator, Repeats | ReservationRead),

        // SSC-5: what moves the tape does something else the second time
        New(Tape, "ALLOW OVERWRITE", 0x82, NoData, Repeats),
        New(Tape, "ERASE(6)", 0x19, NoData, Writes),
        New(Tape, "ERASE(16)", 0x93, NoData, Writes),
        New(Tape, "FORMAT MEDIUM", 0x04, FromInitiator, Writes | Endangers),
        New(Tape, "GENERATE RECOMMENDED ACCESS ORDER", 0xA4, 0x1D, FromInitiator, Repeats),
        New(Tape, "LOAD UNLOAD", 0x1B, NoData, Repeats),
        New(Tape, "LOCATE(10)", 0x2B, NoData, Repeats),
        New(Tape, "LOCATE(16)", 0x92, NoData, Repeats),
        New(Tape, "READ(6)", 0x08, ToInitiator, None),
        New(Tape, "READ(16)", 0x88, ToInitiator, None),
        New(Tape, "READ BLOCK LIMITS", 0x05, ToInitiator, Repeats),
        New(Tape, "READ POSITION", 0x34, ToInitiator, Repeats),
        New(Tape, "READ REVERSE(6)", 0x0F, ToInitiator, None),
        New(Tape, "READ REVERSE(16)", 0x81, ToInitiator, None),
        New(Tape, "RECEIVE RECOMMENDED ACCESS ORDER", 0xA3, 0x1D, ToInitiator, Repeats),
        New(Tape, "RECOVER BUFFERED DATA", 0x14, ToInitiator, None),
        New(Tape, "REPORT DENSITY SUPPORT", 0x44, ToInitiator, Repeats),
        New(Tape, "REWIND", 0x01, NoData, Repeats),
        New(Tape, "SET CAPACITY", 0x0B, NoData, Writes | Endangers),
        New(Tape, "SPACE(6)", 0x11, NoData, None),
        New(Tape, "SPACE(16)", 0x91, NoData, None),
        New(Tape, "VERIFY(6)", 0x13, FromInitiatorToCompare, None),
        New(Tape, "VERIFY(16)", 0x8F, FromInitiatorToCompare, None),
        New(Tape, "WRITE(6)", 0x0A, FromInitiator, Writes),
        New(Tape, "WRITE(16)", 0x8A, FromInitiator, Writes),
        New(Tape, "WRITE FILEMARKS(6)", 0x10, NoData, Writes),
        New(Tape, "WRITE FILEMARKS(16)", 0x80, NoData, Writes),

        // SMC-3
        New(Changer, "EXCHANGE MEDIUM", 0xA6, NoData, None),
        New(Changer, "INITIALIZE ELEMENT STATUS", 0x07, NoData, Repeats),
        New(Changer, "INITIALIZE ELEMENT STATUS WITH RANGE", 0x37, NoData, Repeats),
        New(Changer, "MOVE MEDIUM", 0xA5, NoData, None),
        New(Changer, "OPEN/CLOSE IMPORT/EXPORT ELEMENT", 0x1B, NoData, Repeats),
        New(Changer, "POSITION TO ELEMENT", 0x2B, NoData, Repeats),
        New(Changer, "READ ELEMENT STATUS", 0xB8, ToInitiator, Repeats),
        New(Changer, "READ ELEMENT STATUS ATTACHED", 0xB4, ToInitiator, Repeats),
        New(Changer, "REPORT ELEMENT INFORMATION", 0x9E, 0x10, ToInitiator, Repeats),
        New(Changer, "REPORT VOLUME TYPES SUPPORTED", 0x44, ToInitiator, Repeats),
        // SECURITY PROTOCOL OUT has the same operation code
        New(Changer, "REQUEST VOLUME ELEMENT ADDRESS", 0xB5, ToInitiator, Endangers),
        New(Changer, "SEND VOLUME TAG", 0xB6, FromInitiator, None),

        // MMC-6
        New(Optical, "BLANK", 0xA1, NoData, Writes | Endangers),
        New(Optical, "CLOSE TRACK/SESSION", 0x5B, NoData, Writes),
        New(Optical, "ERASE(10)", 0x2C, NoData, Writes | Endangers),
        New(Optical, "FORMAT UNIT", 0x04, FromInitiator, Writes | Endangers),
        New(Optical, "GET CONFIGURATION", 0x46, ToInitiator, Repeats),
        New(Optical, "GET EVENT STATUS NOTIFICATION", 0x4A, ToInitiator, None),
        New(Optical, "GET PERFORMANCE", 0xAC, ToInitiator, Repeats),
        New(Optical, "LOAD/UNLOAD MEDIUM", 0xA6, NoData, Repeats),
        New(Optical, "MECHANISM STATUS", 0xBD, ToInitiator, Repeats),
        New(Optical, "PAUSE/RESUME", 0x4B, NoData, Repeats),
        New(Optical, "PLAY AUDIO(10)", 0x45, NoData, Repeats),
        New(Optical, "PLAY AUDIO(12)", 0xA5, NoData, Repeats),
        New(Optical, "PLAY AUDIO MSF", 0x47, NoData, Repeats),
        New(Optical, "READ(10)", 0x28, ToInitiator, Repeats),
        New(Optical, "READ(12)", 0xA8, ToInitiator, Repeats),
        New(Optical, "READ BUFFER CAPACITY", 0x5C, ToInitiator, Repeats),
        New(Optical, "READ CAPACITY", 0x25, ToInitiator, Repeats),
        New(Optical, "READ CD", 0xBE, ToInitiator, Repeats),
        New(Optical, "READ CD MSF", 0xB9, ToInitiator, Repeats),
        New(Optical, "READ DISC INFORMATION", 0x51, ToInitiator, Repeats),
        New(Optical, "READ DISC STRUCTURE", 0xAD, ToInitiator, Repeats),
        New(Optical, "READ FORMAT CAPACITIES", 0x23, ToInitiator, Repeats),
        New(Optical, "READ SUB-CHANNEL", 0x42, ToInitiator, Repeats),
        New(Optical, "READ TOC/PMA/ATIP", 0x43, ToInitiator, Repeats),
        New(Optical, "READ TRACK INFORMATION", 0x52, ToInitiator, Repeats),
        New(Optical, "REPAIR TRACK", 0x58, NoData, Writes),
        // Their byte 1 is reserved: with a service action A3h and A4h are the maintenance commands that every device has
        New(Optical, "REPORT KEY", 0xA4, 0x00, ToInitiator, None),
        New(Optical, "SEND KEY", 0xA3, 0x00, FromInitiator, None),
        New(Optical, "RESERVE TRACK", 0x53, NoData, Writes),
        New(Optical, "SCAN", 0xBA, NoData, Repeats),
        New(Optical, "SEEK(10)", 0x2B, NoData, Repeats),
        New(Optical, "SEND CUE SHEET", 0x5D, FromInitiator, Writes),
        New(Optical, "SEND DISC STRUCTURE", 0xBF, FromInitiator, Writes),
        New(Optical, "SEND OPC INFORMATION", 0x54, FromInitiator, Writes),
        New(Optical, "SET CD SPEED", 0xBB, NoData, Repeats),
        New(Optical, "SET READ AHEAD", 0xA7, NoData, Repeats),
        New(Optical, "SET STREAMING", 0xB6, FromInitiator, Repeats),
        New(Optical, "START STOP UNIT", 0x1B, NoData, Repeats),
        New(Optical, "STOP PLAY/SCAN", 0x4E, NoData, Repeats),
        New(Optical, "SYNCHRONIZE CACHE", 0x35, NoData, Repeats),
        New(Optical, "VERIFY(10)", 0x2F, NoData, Repeats),
        New(Optical, "WRITE(10)", 0x2A, FromInitiator, Writes),
        New(Optical, "WRITE(12)", 0xAA, FromInitiator, Writes),
        New(Optical, "WRITE AND VERIFY(10)", 0x2E, FromInitiator, Writes),

        // SPC-2, SCSI-2: processors, scanners, communication devices
        New(Processor, "RECEIVE", 0x08, ToInitiator, None),
        New(Processor, "SEND", 0x0A, FromInitiator, Writes),
        New(Scanner, "SCAN", 0x1B, FromInitiator, None),
        New(Scanner, "SET WINDOW", 0x24, FromInitiator, Repeats),
        New(Scanner, "GET WINDOW", 0x25, ToInitiator, Repeats),
        New(Scanner, "READ(10)", 0x28, ToInitiator, None),
        New(Scanner, "SEND(10)", 0x2A, FromInitiator, Repeats),
        New(Scanner, "OBJECT POSITION", 0x31, NoData, None),
        New(Scanner, "GET DATA BUFFER STATUS", 0x34, ToInitiator, Repeats),
        New(Communication, "GET MESSAGE(6)", 0x08, ToInitiator, None),
        New(Communication, "GET MESSAGE(10)", 0x28, ToInitiator, None),
        New(Communication, "SEND MESSAGE(6)", 0x0A, FromInitiator, Writes),
        New(Communication, "SEND MESSAGE(10)", 0x2A, FromInitiator, Writes),
    ];

    private static readonly Dictionary<int, CommandFacts>[] s_byType = ByType();

    private static Row New(DeviceTypes types, string name, byte opcode, DataTransfer transfer, CommandTraits traits) =>
        New(types, name, opcode, -1, transfer, traits);

    private static Row New(DeviceTypes types, string name, byte opcode, int serviceAction, DataTransfer transfer, CommandTraits traits) =>
        new(types, opcode, serviceAction, new CommandFacts(name, traits, transfer));

    private static int Key(byte opcode, int serviceAction) => opcode | (serviceAction + 1) << 8;

    /// <summary>The rows of each single type, by their operation codes and service actions.</summary>
    private static Dictionary<int, CommandFacts>[] ByType() =>
        [.. Enumerable.Range(0, 8).Select(bit => s_rows.Where(r => ((int)r.Types & 1 << bit) != 0)
            .ToDictionary(r => Key(r.Opcode, r.ServiceAction), r => r.Facts))];

    /// <summary>The set of one peripheral device type.</summary>
    public static DeviceTypes Of(byte deviceType) => deviceType switch
    {
        0x00 or 0x04 or 0x07 or 0x0E or 0x14 => Disk,
        0x01 => Tape,
        0x03 => Processor,
        0x05 => Optical,
        0x06 => Scanner,
        0x08 => Changer,
        0x09 => Communication,
        _ => Other,
    };

    /// <summary>What is known of a command to a device of a type; null when no standard that LunKit knows has it, and it may do anything.</summary>
    public static CommandFacts? Find(byte deviceType, ReadOnlySpan<byte> cdb)
    {
        if (cdb.IsEmpty) return null;
        var type = Of(deviceType);
        var rows = s_byType[int.Log2((int)type)];
        if (rows.TryGetValue(Key(cdb[0], -1), out var facts) || rows.TryGetValue(Key(cdb[0], ServiceActionOf(cdb)), out facts)) return facts;
        return (type == Disk ? BlockCommands.Table : PrimaryCommands.Table).Find(cdb) is { } row ? Of(row, cdb) : null;
    }

    /// <summary>The same for a row of LunKit's own tables.</summary>
    public static CommandFacts Of(CommandDescriptor row, ReadOnlySpan<byte> cdb)
    {
        bool takes = row.DataOut is not null && cdb.Length >= row.Usage.Length && row.DataOut(512, cdb[..row.Usage.Length]) > 0;
        return new CommandFacts(row.Name, row.Traits, takes ? FromInitiator : ToInitiator);
    }

    private static int ServiceActionOf(ReadOnlySpan<byte> cdb) => cdb[0] == (byte)Opcode.VariableLength
        ? cdb.Length >= 10 ? BinaryPrimitives.ReadUInt16BigEndian(cdb[8..]) : -1
        : cdb.Length > 1 ? cdb[1] & 0x1F : -1;
}
