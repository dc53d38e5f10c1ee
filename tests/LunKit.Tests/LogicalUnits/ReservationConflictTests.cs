using LunKit.LogicalUnits;
using LunKit.Scsi;

namespace LunKit.Tests.LogicalUnits;

/// <summary>Which command conflicts with which persistent reservation: SPC-4 table 65 and SBC-3 table 13, written down.</summary>
public class ReservationConflictTests
{
    // Write Exclusive, Exclusive Access, both of them for registrants only, both of them with all registrants as holders; in each of them
    // holder, other registrant, stranger: allowed or conflict.
    private const string
        Allowed = "AAA AAA AAA AAA AAA AAA",
        Reading = "AAA ACC AAA AAC AAA AAC",
        Writing = "ACC ACC AAC AAC AAC AAC";

    private static readonly int[] s_types = [1, 3, 5, 6, 7, 8];

    private static readonly Dictionary<string, string> s_expected = new()
    {
        ["TEST UNIT READY"] = Allowed,
        ["REQUEST SENSE"] = Allowed,
        ["FORMAT UNIT"] = Writing,
        ["READ(6)"] = Reading,
        ["WRITE(6)"] = Writing,
        ["INQUIRY"] = Allowed,
        ["MODE SELECT(6)"] = Writing,
        ["RESERVE(6)"] = Writing,
        ["RELEASE(6)"] = Writing,
        ["MODE SENSE(6)"] = Reading,
        ["START STOP UNIT"] = Writing,
        ["RECEIVE DIAGNOSTIC RESULTS"] = Reading,
        ["SEND DIAGNOSTIC"] = Writing,
        ["PREVENT ALLOW MEDIUM REMOVAL"] = Allowed,
        ["READ CAPACITY(10)"] = Allowed,
        ["READ(10)"] = Reading,
        ["WRITE(10)"] = Writing,
        ["WRITE AND VERIFY(10)"] = Writing,
        ["VERIFY(10)"] = Reading,
        ["PRE-FETCH(10)"] = Reading,
        ["SYNCHRONIZE CACHE(10)"] = Writing,
        ["READ DEFECT DATA(10)"] = Reading,
        ["WRITE BUFFER"] = Writing,
        ["READ BUFFER(10)"] = Reading,
        ["WRITE SAME(10)"] = Writing,
        ["UNMAP"] = Writing,
        ["SANITIZE, OVERWRITE"] = Writing,
        ["SANITIZE, BLOCK ERASE"] = Writing,
        ["SANITIZE, CRYPTOGRAPHIC ERASE"] = Writing,
        ["SANITIZE, EXIT FAILURE MODE"] = Writing,
        ["LOG SELECT"] = Writing,
        ["LOG SENSE"] = Allowed,
        ["MODE SELECT(10)"] = Writing,
        ["RESERVE(10)"] = Writing,
        ["RELEASE(10)"] = Writing,
        ["MODE SENSE(10)"] = Reading,
        ["PERSISTENT RESERVE IN, READ KEYS"] = Allowed,
        ["PERSISTENT RESERVE IN, READ RESERVATION"] = Allowed,
        ["PERSISTENT RESERVE IN, REPORT CAPABILITIES"] = Allowed,
        ["PERSISTENT RESERVE IN, READ FULL STATUS"] = Allowed,
        // Keys decide about these, not the reservation.
        ["PERSISTENT RESERVE OUT, REGISTER"] = Allowed,
        ["PERSISTENT RESERVE OUT, RESERVE"] = Allowed,
        ["PERSISTENT RESERVE OUT, RELEASE"] = Allowed,
        ["PERSISTENT RESERVE OUT, CLEAR"] = Allowed,
        ["PERSISTENT RESERVE OUT, PREEMPT"] = Allowed,
        ["PERSISTENT RESERVE OUT, PREEMPT AND ABORT"] = Allowed,
        ["PERSISTENT RESERVE OUT, REGISTER AND IGNORE EXISTING KEY"] = Allowed,
        ["PERSISTENT RESERVE OUT, REGISTER AND MOVE"] = Allowed,
        ["READ(32)"] = Reading,
        ["WRITE(32)"] = Writing,
        ["WRITE SAME(32)"] = Writing,
        ["EXTENDED COPY(LID1)"] = Writing,
        ["POPULATE TOKEN"] = Reading,
        ["WRITE USING TOKEN"] = Writing,
        // The table lets Exclusive Access stop these four and the two reports of what is supported; here nothing does (commands.md).
        ["RECEIVE COPY STATUS(LID1)"] = Allowed,
        ["RECEIVE COPY DATA(LID1)"] = Allowed,
        ["RECEIVE COPY OPERATING PARAMETERS"] = Allowed,
        ["RECEIVE COPY FAILURE DETAILS(LID1)"] = Allowed,
        ["RECEIVE ROD TOKEN INFORMATION"] = Allowed,
        ["READ(16)"] = Reading,
        ["COMPARE AND WRITE"] = Writing,
        ["WRITE(16)"] = Writing,
        ["ORWRITE(16)"] = Writing,
        ["WRITE AND VERIFY(16)"] = Writing,
        ["VERIFY(16)"] = Reading,
        ["PRE-FETCH(16)"] = Reading,
        ["SYNCHRONIZE CACHE(16)"] = Writing,
        ["WRITE SAME(16)"] = Writing,
        ["WRITE ATOMIC(16)"] = Writing,
        ["READ CAPACITY(16)"] = Allowed,
        ["GET LBA STATUS(16)"] = Reading,
        ["REPORT LUNS"] = Allowed,
        ["REPORT IDENTIFYING INFORMATION"] = Allowed,
        ["REPORT TARGET PORT GROUPS"] = Allowed,
        ["REPORT SUPPORTED OPERATION CODES"] = Allowed,
        ["REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS"] = Allowed,
        ["REPORT TIMESTAMP"] = Allowed,
        ["SET IDENTIFYING INFORMATION"] = Writing,
        ["SET TARGET PORT GROUPS"] = Writing,
        ["READ(12)"] = Reading,
        ["WRITE(12)"] = Writing,
        ["WRITE AND VERIFY(12)"] = Writing,
        ["VERIFY(12)"] = Reading,
        ["READ DEFECT DATA(12)"] = Reading,
    };

    public static TheoryData<string> Rows => [.. BlockCommands.Table.Rows.Select(r => r.Name)];

    private static string Out(int action, int type = 0) => $"5F {action:X2} {type:X2} 0000 00000018 00";

    private static byte[] List(byte key, byte actionKey) => [0, 0, 0, 0, 0, 0, 0, key, 0, 0, 0, 0, 0, 0, 0, actionKey, .. new byte[8]];

    private static TestUnit Reserved(int type)
    {
        var unit = new TestUnit(nexuses: 3);
        unit.Good(Out(0), List(0, 1), nexus: 0);
        unit.Good(Out(0), List(0, 2), nexus: 1);
        unit.Good(Out(1, type), List(1, 0), nexus: 0);
        return unit;
    }

    private static async Task<string> Outcome(string cdb)
    {
        var outcomes = new List<string>();
        foreach (int type in s_types)
        {
            // The stranger first: what the holder may do changes the unit.
            var letters = new char[3];
            for (int nexus = 2; nexus >= 0; nexus--)
            {
                await using var unit = Reserved(type);
                letters[nexus] = unit.Run(cdb, new byte[4096], nexus).Result.Status == ScsiStatus.ReservationConflict ? 'C' : 'A';
            }
            outcomes.Add(new string(letters));
        }
        return string.Join(' ', outcomes);
    }

    [Fact]
    public void EveryRowIsWrittenDown() => Assert.Equal(BlockCommands.Table.Rows.Select(r => r.Name).Order(), s_expected.Keys.Order());

    [Theory, MemberData(nameof(Rows))]
    public async Task ConflictsAreThoseOfTheTable(string name)
    {
        var row = BlockCommands.Table.Rows.Single(r => r.Name == name);
        Assert.Equal(s_expected[name], await Outcome(Convert.ToHexString(CommandTableTests.Minimal(row))));
    }

    [Theory]
    [InlineData("1E 00 00 00 01 00", Writing)] // PREVENT = 1
    [InlineData("1B 00 00 00 01 00", Allowed)] // START = 1
    [InlineData("1B 00 00 00 03 00", Writing)] // START = 1, LOEJ = 1
    public async Task WhatAllowsAndStartsConflictsWithNothing(string cdb, string expected) => Assert.Equal(expected, await Outcome(cdb));
}
