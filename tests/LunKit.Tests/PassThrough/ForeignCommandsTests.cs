using LunKit.LogicalUnits;
using LunKit.Tests.LogicalUnits;

namespace LunKit.Tests.PassThrough;

/// <summary>What is known of commands that are handed on, literally: by type of device, which way the data goes and what they may do.</summary>
public sealed class ForeignCommandsTests
{
    private const byte Disk = 0, Tape = 1, Processor = 3, Optical = 5, Scanner = 6, Changer = 8, Enclosure = 0x0D, Zoned = 0x14;

    [Theory]
    // Tapes: SSC-5 table 16
    [InlineData(Tape, "0A 00 000200 00", true)]                          // WRITE(6)
    [InlineData(Tape, "8A 00 00 00 0000000000000000 000200 00 00", true)] // WRITE(16)
    [InlineData(Tape, "08 00 000200 00", false)]                         // READ(6)
    [InlineData(Tape, "88 00 00 00 0000000000000000 000200 00 00", false)] // READ(16)
    [InlineData(Tape, "0F 00 000200 00", false)]                         // READ REVERSE(6)
    [InlineData(Tape, "81 00 00 00 0000000000000000 000200 00 00", false)] // READ REVERSE(16)
    [InlineData(Tape, "10 00 000001 00", false)]                         // WRITE FILEMARKS(6): none
    [InlineData(Tape, "80 00 00 00 0000000000000000 000001 00 00", false)] // WRITE FILEMARKS(16): none
    [InlineData(Tape, "13 00 000200 00", false)]                         // VERIFY(6)
    [InlineData(Tape, "13 02 000200 00", true)]                          // ... BYTCMP
    [InlineData(Tape, "8F 00 00 00 0000000000000000 000200 00 00", false)] // VERIFY(16)
    [InlineData(Tape, "8F 02 00 00 0000000000000000 000200 00 00", true)]
    [InlineData(Tape, "14 00 000200 00", false)]                         // RECOVER BUFFERED DATA
    [InlineData(Tape, "34 00 00000000 0000 00 00", false)]               // READ POSITION
    [InlineData(Tape, "44 00 00000000 00 0100 00", false)]               // REPORT DENSITY SUPPORT
    [InlineData(Tape, "05 00 000000 00", false)]                         // READ BLOCK LIMITS
    [InlineData(Tape, "04 00 00 0100 00", true)]                         // FORMAT MEDIUM
    [InlineData(Tape, "93 00 00000000000000000000000000 00", false)]     // ERASE(16): none, where disks have WRITE SAME(16)
    [InlineData(Tape, "91 00 00000000000000000000000000 00", false)]     // SPACE(16)
    [InlineData(Tape, "8D 00 00000000000000000000000100 00", true)]      // WRITE ATTRIBUTE
    [InlineData(Tape, "8C 00 00000000000000000000000100 00", false)]     // READ ATTRIBUTE
    [InlineData(Tape, "15 10 00 00 0C 00", true)]                        // MODE SELECT(6)
    [InlineData(Tape, "1A 00 3F 00 FF 00", false)]                       // MODE SENSE(6)
    [InlineData(Tape, "4C 00 00 000000 0010 00", true)]                  // LOG SELECT
    [InlineData(Tape, "4D 00 40 000000 0100 00", false)]                 // LOG SENSE
    [InlineData(Tape, "A4 0F 00000000 0000000C 00 00", true)]            // SET TIMESTAMP
    [InlineData(Tape, "A3 0C 00000000 00000100 00 00", false)]           // REPORT SUPPORTED OPERATION CODES
    [InlineData(Tape, "A2 20 0000 0000 00000200 00 00", false)]          // SECURITY PROTOCOL IN
    [InlineData(Tape, "B5 20 0010 0000 00000200 00 00", true)]           // SECURITY PROTOCOL OUT
    // Changers: SMC-3 table 6
    [InlineData(Changer, "A5 00 0000 0001 0002 0000 00 00", false)]      // MOVE MEDIUM: none
    [InlineData(Changer, "B8 00 0000 00FF 00 000400 00 00", false)]      // READ ELEMENT STATUS
    [InlineData(Changer, "B5 00 0000 00FF 00 000400 00 00", false)]      // REQUEST VOLUME ELEMENT ADDRESS, not SECURITY PROTOCOL OUT
    [InlineData(Changer, "B6 00 0000 00 0000 0028 00 00", true)]         // SEND VOLUME TAG
    [InlineData(Changer, "07 00 00000000", false)]                       // INITIALIZE ELEMENT STATUS, not REASSIGN BLOCKS
    // Optical drives: MMC-6 table 228
    [InlineData(Optical, "2A 00 00000000 00 0001 00", true)]             // WRITE(10)
    [InlineData(Optical, "AA 00 00000000 00000001 00 00", true)]         // WRITE(12)
    [InlineData(Optical, "28 00 00000000 00 0001 00", false)]            // READ(10)
    [InlineData(Optical, "A8 00 00000000 00000001 00 00", false)]        // READ(12)
    [InlineData(Optical, "BE 00 00000000 000001 F8 00 00", false)]       // READ CD
    [InlineData(Optical, "51 00 00000000 00 0022 00", false)]            // READ DISC INFORMATION, where disks have XPWRITE(10)
    [InlineData(Optical, "42 02 40 01 000000 0018 00", false)]           // READ SUB-CHANNEL, where disks have UNMAP
    [InlineData(Optical, "43 02 00000000 00 0010 00", false)]            // READ TOC/PMA/ATIP
    [InlineData(Optical, "46 00 0000 000000 0100 00", false)]            // GET CONFIGURATION
    [InlineData(Optical, "A4 00 000000000000 0008 00 00", false)]        // REPORT KEY
    [InlineData(Optical, "A3 00 000000000000 0010 00 00", true)]         // SEND KEY
    [InlineData(Optical, "A3 0C 00000000 00000100 00 00", false)]        // ... REPORT SUPPORTED OPERATION CODES
    [InlineData(Optical, "A1 00 00000000 000000000000", false)]          // BLANK, not ATA PASS-THROUGH(12)
    [InlineData(Optical, "5D 00 00 00 00 00 000018 00", true)]           // SEND CUE SHEET
    [InlineData(Optical, "BF 00 000000000000 0010 00 00", true)]         // SEND DISC STRUCTURE
    [InlineData(Optical, "B6 00 000000000000 001C 00 00", true)]         // SET STREAMING
    [InlineData(Optical, "AD 00 000000000000 0010 00 00", false)]        // READ DISC STRUCTURE
    [InlineData(Optical, "04 11 00 0000 00", true)]                      // FORMAT UNIT
    [InlineData(Optical, "54 01 00 00 00 00 00 0000 00", true)]          // SEND OPC INFORMATION
    // Disks: SBC-5 table 34, SAT-5
    [InlineData(Disk, "2A 00 00000000 00 0001 00", true)]                // WRITE(10)
    [InlineData(Disk, "28 00 00000000 00 0001 00", false)]               // READ(10)
    [InlineData(Disk, "2F 02 00000000 00 0001 00", true)]                // VERIFY(10), BYTCHK
    [InlineData(Disk, "2F 00 00000000 00 0001 00", false)]
    [InlineData(Disk, "07 00 00 00 00 00", true)]                        // REASSIGN BLOCKS
    [InlineData(Disk, "3F 00 00000000 00 0200 00", true)]                // WRITE LONG(10)
    [InlineData(Disk, "3E 00 00000000 00 0200 00", false)]               // READ LONG(10)
    [InlineData(Disk, "9F 11 0000000000000000 0000 0200 00 00", true)]   // WRITE LONG(16)
    [InlineData(Disk, "9E 13 0000000000000000 00000200 00 00", false)]   // REPORT REFERRALS
    [InlineData(Disk, "7F 000000000000 18 000F 0000 0000000000000000 0000000000000000 00000001", true)] // WRITE ATOMIC(32)
    [InlineData(Disk, "7F 000000000000 18 0012 0000 0000000000000000 0000000000000000 00000100", false)] // GET LBA STATUS(32)
    [InlineData(Disk, "85 08 0E 0000 0000 0000 0000 0000 00 EC 00", false)] // ATA PASS-THROUGH(16), T_DIR from the device
    [InlineData(Disk, "85 0A 06 0000 0001 0000 0000 0000 40 30 00", true)]  // ... to the device
    [InlineData(Disk, "A1 08 0E 00 01 00 00 00 00 EC 00 00", false)]     // ATA PASS-THROUGH(12)
    [InlineData(Zoned, "95 00 0000000000000000 00001000 00 00", false)]  // REPORT ZONES
    [InlineData(Zoned, "94 04 0000000000000000 00000000 00 00", false)]  // RESET WRITE POINTER: none
    // Others
    [InlineData(Processor, "0A 00 000020 00", true)]                     // SEND
    [InlineData(Processor, "08 00 000020 00", false)]                    // RECEIVE
    [InlineData(Scanner, "24 00 00000000 00 0010 00", true)]             // SET WINDOW
    [InlineData(Enclosure, "1D 10 00 0010 00", true)]                    // SEND DIAGNOSTIC
    [InlineData(Enclosure, "1C 01 02 0100 00", false)]                   // RECEIVE DIAGNOSTIC RESULTS
    public void TheDirectionIsTheCommands(byte deviceType, string cdb, bool takesData)
    {
        var bytes = TestUnit.Bytes(cdb);
        var facts = ForeignCommands.Find(deviceType, bytes);
        Assert.NotNull(facts);
        Assert.True(takesData == facts.Value.TakesData(bytes), facts.Value.Name);
    }

    [Theory]
    [InlineData(Tape, "80", "WRITE FILEMARKS(16)", true, false)]
    [InlineData(Tape, "88", "READ(16)", false, false)]                   // a second time it reads the next block
    [InlineData(Tape, "01", "REWIND", false, true)]
    [InlineData(Tape, "11", "SPACE(6)", false, false)]
    [InlineData(Optical, "28", "READ(10)", false, true)]
    [InlineData(Optical, "5B", "CLOSE TRACK/SESSION", true, false)]
    [InlineData(Changer, "A5", "MOVE MEDIUM", false, false)]
    [InlineData(Disk, "28", "READ(10)", false, true)]
    [InlineData(Disk, "2A", "WRITE(10)", true, true)]
    [InlineData(Disk, "89", "COMPARE AND WRITE", true, false)]
    [InlineData(Disk, "95 00", "REPORT ZONES", false, true)]
    [InlineData(Disk, "94 04", "RESET WRITE POINTER", true, true)]
    [InlineData(Disk, "48 02", "SANITIZE, BLOCK ERASE", true, false)]
    public void WhatACommandDoesIsKnown(byte deviceType, string cdb, string name, bool writes, bool repeats)
    {
        var facts = ForeignCommands.Find(deviceType, TestUnit.Bytes(cdb)) ?? throw new InvalidOperationException("unknown");
        Assert.Equal((name, writes, repeats), (facts.Name, facts.Has(CommandTraits.WritesMedium), facts.Has(CommandTraits.Repeatable)));
    }

    [Theory]
    [InlineData(Disk, 0x1F)]
    [InlineData(Disk, 0xC0)]
    [InlineData(Tape, 0x2A)]
    [InlineData(Optical, 0x89)]
    [InlineData(Changer, 0x08)]
    public void NothingIsMadeUp(byte deviceType, byte opcode)
    {
        Assert.Null(ForeignCommands.Find(deviceType, [opcode, 0, 0, 0, 0, 0]));
        Assert.False(PassThroughPolicy.Safe.Admits(deviceType, [opcode, 0, 0, 0, 0, 0]));
        Assert.True(PassThroughPolicy.Safe.Allow([opcode]).Admits(deviceType, [opcode, 0, 0, 0, 0, 0]));
    }

    /// <summary>Every type of device: what is dangerous is kept out whatever else has the operation code.</summary>
    [Fact]
    public void DangerousCommandsAreRefusedForEveryType()
    {
        for (byte type = 0; type < 32; type++)
        {
            foreach (string cdb in (string[])["3B 05", "40", "83 00", "83 10", "84 00", "85 08 0E", "A2 00", "B5 00", "A4 10", "86 00", "87 00", "FF"])
                Assert.False(PassThroughPolicy.Safe.Admits(type, TestUnit.Bytes(cdb)), $"type {type}: {cdb}");
            foreach (string cdb in (string[])["00", "03", "12", "1A", "5A", "A0", "3C", "4D"])
                Assert.True(PassThroughPolicy.Safe.Admits(type, TestUnit.Bytes(cdb)), $"type {type}: {cdb}");
        }
        foreach (byte disk in (byte[])[Disk, Zoned])
            foreach (string cdb in (string[])["04", "38", "48 01", "48 02", "48 03", "48 1F", "9E 18", "9F 11", "A1 08 0E"])
                Assert.False(PassThroughPolicy.Safe.Admits(disk, TestUnit.Bytes(cdb)), cdb);
        Assert.False(PassThroughPolicy.Safe.Admits(Tape, [0x04]));
        Assert.False(PassThroughPolicy.Safe.Admits(Optical, [0xA1]));
        // What stays with the target never gets there.
        foreach (string cdb in (string[])["A0", "5E 00", "5F 03", "16", "17", "56", "57", "A3 0A", "A4 0A"])
            Assert.True(ForeignCommands.Find(Tape, TestUnit.Bytes(cdb))!.Value.Has(CommandTraits.StaysWithTarget), cdb);
    }

    /// <summary>LunKit's own rows: the same facts, without a second list.</summary>
    [Fact]
    public void OwnRowsSayWhetherTheyMayBeRepeated()
    {
        string[] once =
        [
            "SEND DIAGNOSTIC", "WRITE BUFFER", "LOG SELECT", "SET IDENTIFYING INFORMATION", "COMPARE AND WRITE", "FORMAT UNIT", "RESERVE(6)", "RELEASE(6)", "RESERVE(10)",
            "RELEASE(10)", "REPORT LUNS", "SET TARGET PORT GROUPS",
        ];
        foreach (var row in BlockCommands.Table.Rows)
        {
            bool repeats = !once.Contains(row.Name) && row.Usage[0] is not (0x5E or 0x5F or 0x48 or 0x83 or 0x84);
            Assert.True(repeats == row.Has(CommandTraits.Repeatable), row.Name);
        }
    }
}
