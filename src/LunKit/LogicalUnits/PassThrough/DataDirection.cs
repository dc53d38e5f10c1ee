namespace LunKit.LogicalUnits;

/// <summary>
/// Which commands take data from the initiator, for devices of any type: a fabric that only shows a buffer (TCMU) does not say which way the data
/// goes. All others give data, or have none.
/// </summary>
internal static class DataDirection
{
    private static readonly HashSet<byte> s_out =
    [
        0x04, 0x07, 0x0A, 0x15, 0x1D,                         // FORMAT UNIT, REASSIGN BLOCKS, WRITE(6), MODE SELECT(6), SEND DIAGNOSTIC
        0x2A, 0x2E, 0x2F, 0x39, 0x3A, 0x3B, 0x3D, 0x3F,       // WRITE(10), with VERIFY, VERIFY(10), COMPARE, COPY AND VERIFY, WRITE BUFFER, UPDATE BLOCK, WRITE LONG(10)
        0x41, 0x42, 0x48, 0x4C, 0x51, 0x54, 0x55, 0x5D, 0x5F, // WRITE SAME(10), UNMAP, SANITIZE, LOG SELECT, XPWRITE, SEND OPC, MODE SELECT(10), SEND CUE SHEET, PERSISTENT RESERVE OUT
        0x80, 0x81, 0x83, 0x89, 0x8A, 0x8B, 0x8D, 0x8E, 0x8F, // of tapes and 16-byte commands: WRITE FILEMARKS has none, EXTENDED COPY, COMPARE AND WRITE, WRITE(16), ORWRITE, WRITE ATTRIBUTE, VERIFY(16)
        0x93, 0x9A, 0x9C, 0x9F,                               // WRITE SAME(16), WRITE STREAM, WRITE ATOMIC, SERVICE ACTION OUT
        0xA4, 0xA9, 0xAA, 0xAE, 0xAF, 0xB5, 0xB6, 0xBF,       // MAINTENANCE OUT, SERVICE ACTION OUT(12), WRITE(12), with VERIFY, VERIFY(12), SECURITY PROTOCOL OUT, SET STREAMING, SEND DISC STRUCTURE
    ];

    /// <summary>Whether a command takes data; what only the vendor knows is taken to do so where the initiator offers any.</summary>
    public static bool IsOut(ReadOnlySpan<byte> cdb) => cdb[0] >= 0xC0 || s_out.Contains(cdb[0]) || cdb[0] is 0x85 or 0xA1 && (cdb[2] & 0x08) == 0; // T_DIR of ATA PASS-THROUGH
}
