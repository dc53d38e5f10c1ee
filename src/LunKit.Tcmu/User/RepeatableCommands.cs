using LunKit.Scsi;

namespace LunKit.Tcmu.User;

/// <summary>
/// Which commands may be carried out twice: when a handler dies, its successor gets those that it may have begun. Done twice they end as done
/// once, as long as nothing else was acknowledged in between, and nothing is: the device is blocked meanwhile. All others, and those
/// that no standard names, end in a status that makes the initiator look again.
/// </summary>
internal static class RepeatableCommands
{
    private static readonly bool[] s_repeatable = Make();

    /// <summary>
    /// How the others end: ABORTED COMMAND, LOGICAL UNIT COMMUNICATION FAILURE. The command may have been carried out, or not: the initiator looks.
    /// </summary>
    public static Sense OutcomeUnknown { get; } = new(SenseKey.AbortedCommand, 0x08, 0x00);

    public static bool Contains(ReadOnlySpan<byte> cdb)
    {
        if (cdb.IsEmpty) return false;
        // READ, WRITE and the like of 32 bytes are the same commands as their shorter forms.
        if (cdb[0] == (byte)Opcode.VariableLength) return cdb.Length >= 10 && cdb[8] == 0 && cdb[9] is 0x09 or 0x0A or 0x0B or 0x0C or 0x0D;
        return s_repeatable[cdb[0]];
    }

    private static bool[] Make()
    {
        var table = new bool[256];
        ReadOnlySpan<byte> opcodes =
        [
            0x00, 0x03, 0x12, 0x1A, 0x5A, 0x4D, 0x15, 0x55,         // TEST UNIT READY, REQUEST SENSE, INQUIRY, MODE SENSE/SELECT, LOG SENSE
            0x08, 0x28, 0xA8, 0x88, 0x25, 0x9E, 0x37, 0xB7,         // READ, READ CAPACITY, SERVICE ACTION IN(16), READ DEFECT DATA
            0x0A, 0x2A, 0xAA, 0x8A, 0x2E, 0xAE, 0x8E, 0x9C, 0x8B,   // WRITE, WRITE AND VERIFY, WRITE ATOMIC, ORWRITE
            0x2F, 0xAF, 0x8F, 0x34, 0x90, 0x35, 0x91,               // VERIFY, PRE-FETCH, SYNCHRONIZE CACHE
            0x41, 0x93, 0x42, 0x1B, 0x1E, 0xA3, 0x3C, 0x1C,         // WRITE SAME, UNMAP, START STOP UNIT, PREVENT ALLOW, MAINTENANCE IN, READ BUFFER
        ];
        foreach (byte opcode in opcodes) table[opcode] = true;
        return table;
    }
}
