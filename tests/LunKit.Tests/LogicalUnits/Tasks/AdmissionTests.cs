using LunKit.LogicalUnits;
using LunKit.Scsi;

namespace LunKit.Tests.LogicalUnits.Tasks;

/// <summary>What comes before any command: which refusal wins, and who loses a unit attention by it.</summary>
public class AdmissionTests
{
    private const string TestUnitReady = "00 00 00 00 00 00", Inquiry = "12 00 00 00 24 00", Read = "28 00 00000005 00 0001 00";

    private static readonly Sense s_reset = Sense.PowerOnOrReset, s_mode = Sense.ModeParametersChanged;

    /// <summary>SAM-6 5.3.3: a reset first, then the conflict, then the other unit attentions; then the access state, the CDB, the medium.</summary>
    [Fact]
    public async Task OneOrderOfRefusals()
    {
        await using var bench = new UnitBench();
        bench.Unit.Alua = new Alua([(0, [1])]);
        bench.Unit.Alua.Set(0, AccessState.Standby, explicitly: false);
        bench.Unit.IsLoaded = false;
        Assert.True(bench.Unit.TryReserve(bench.UnitNexus(1)));
        var nexus = bench.UnitNexus(0);
        nexus.EstablishUnitAttention(s_mode);
        nexus.EstablishUnitAttention(Sense.CapacityChanged);
        nexus.EstablishUnitAttention(s_reset);
        // A reset says all the rest of its kind.
        Assert.Equal("06/29/00", bench.Answer(0, Read));
        nexus.EstablishUnitAttention(Sense.ReportedLunsChanged);
        Assert.Equal("ReservationConflict", bench.Answer(0, Read));
        bench.Unit.Release(bench.UnitNexus(1));
        Assert.Equal("06/3F/0E", bench.Answer(0, Read));
        Assert.Equal("02/04/0B", bench.Answer(0, Read));
        bench.Unit.Alua.Set(0, AccessState.ActiveOptimized, explicitly: false);
        Assert.Equal("05/24/00", bench.Answer(0, "28 00 00000005 00 0001 04"));
        Assert.Equal("02/3A/00", bench.Answer(0, Read));
        bench.Unit.IsLoaded = true;
        bench.Unit.IsStarted = false;
        Assert.Equal("02/04/02", bench.Answer(0, Read));
        bench.Unit.IsStarted = true;
        Assert.Equal("05/21/00", bench.Answer(0, "28 00 00000800 00 0001 00"));
        Assert.Equal("Good", bench.Answer(0, Read));
        _ = bench.Unit.CloseAsync(TimeSpan.FromSeconds(30));
        nexus.EstablishUnitAttention(s_reset);
        Assert.Equal("05/25/00", bench.Answer(0, Read));
        Assert.True(nexus.HasUnitAttention);
    }

    [Theory]
    [InlineData(Inquiry)]
    [InlineData("A0 00 00 00 00 00 00 00 00 FF 00 00")]
    [InlineData("03 00 00 00 FC 00")]
    public async Task SomeCommandsLeaveTheUnitAttention(string cdb)
    {
        await using var bench = new UnitBench();
        bench.UnitNexus(0).EstablishUnitAttention(s_mode);
        Assert.Equal("Good", bench.Answer(0, cdb));
        // REQUEST SENSE takes it as data.
        Assert.Equal(cdb.StartsWith("03", StringComparison.Ordinal) ? "Good" : "06/2A/01", bench.Answer(0, TestUnitReady));
        Assert.Equal("Good", bench.Answer(0, TestUnitReady));
    }

    [Theory]
    [InlineData("28 00 00000005 00 0001", "05/24/00")] // short
    [InlineData("FF 00 00 00 00 00", "05/20/00")] // unknown
    [InlineData("9E 1F 0000000000000000 00000000 00 00", "05/24/00")] // an unknown service action
    [InlineData("00 00 00 00 00 04", "05/24/00")] // NACA
    [InlineData("7F 04 0000000000 18 0009 00 00 0000000000000005 00000000 0000 0000 00000001", "05/24/00")] // NACA of a long CDB
    [InlineData("7F 00 0000000000 17 0009 00 00 0000000000000005 00000000 0000 0000 00000001", "05/24/00")] // another additional length
    [InlineData("7F 00 0000000000 18 0009 00 00 0000000000000005 00000000 0000 0000 00000001", "Good")]
    [InlineData("48 02 0000000001 0000 00", "05/24/00")] // a reserved bit of a command that destroys
    [InlineData("48 42 0000000000 0000 00", "05/24/00")]
    [InlineData("00 01 00 00 00 00", "Good")] // and of one that does not
    public async Task TheCdbAlone(string cdb, string answer)
    {
        await using var bench = new UnitBench();
        Assert.Equal(answer, bench.Answer(0, cdb));
        Assert.DoesNotContain(bench.Store.TakeLog(), l => l.StartsWith("write", StringComparison.Ordinal));
        Assert.Equal("Good", bench.Answer(0, TestUnitReady));
    }

    /// <summary>The sense points at the field.</summary>
    [Theory]
    [InlineData("00 00 00 00 00 04", "05/24/00 @5.2")]
    [InlineData("7F 04 0000000000 18 0009 00 00 0000000000000005 00000000 0000 0000 00000001", "05/24/00 @1.2")]
    [InlineData("7F 00 0000000000 17 0009 00 00 0000000000000005 00000000 0000 0000 00000001", "05/24/00 @7")]
    [InlineData("28 00 00000005 00 0001", "05/24/00 @0")]
    [InlineData("48 02 0000000001 0000 00", "05/24/00 @6")]
    [InlineData("28 20 00000005 00 0001 00", "05/24/00 @1.7")]
    [InlineData("42 01 00000000 00 0018 00", "05/24/00 @1.0")] // ANCHOR
    [InlineData("9E 12 0000000000000000 00000020 01 00", "05/24/00 @14")] // REPORT TYPE
    public async Task TheFieldIsNamed(string cdb, string answer)
    {
        await using var bench = new UnitBench();
        Assert.Equal(answer, bench.AnswerWithField(0, cdb));
    }

    [Fact]
    public async Task AcaIsRefused()
    {
        await using var bench = new UnitBench();
        var command = bench.Send("aca", 0, TestUnitReady, attribute: TaskAttribute.Aca);
        bench.Settle();
        Assert.Equal("05/49/00", command.Answer);
    }

    [Theory]
    [InlineData(Read, true)]
    [InlineData(Inquiry, false)]
    [InlineData("16 00 00 00 00 00", true)] // RESERVE
    [InlineData("17 00 00 00 00 00", false)] // RELEASE, which does nothing
    [InlineData("1E 00 00 00 00 00", false)] // PREVENT ALLOW MEDIUM REMOVAL that allows
    [InlineData("1E 00 00 00 01 00", true)]
    [InlineData("1B 00 00 00 01 00", false)] // START
    [InlineData("1B 00 00 00 00 00", true)] // STOP
    [InlineData("25 00 00 00 00 00 00 00 00 00", false)] // READ CAPACITY
    [InlineData("A0 00 00 00 00 00 00 00 00 FF 00 00", false)]
    public async Task ReserveOfAnotherNexus(string cdb, bool conflicts)
    {
        await using var bench = new UnitBench();
        Assert.Equal("Good", bench.Answer(1, "16 00 00 00 00 00"));
        Assert.Equal(conflicts, bench.Answer(0, cdb) == "ReservationConflict");
        Assert.NotEqual("ReservationConflict", bench.Answer(1, cdb));
        // The other's RELEASE has not taken it.
        if (!cdb.StartsWith("17", StringComparison.Ordinal)) Assert.Equal("ReservationConflict", bench.Answer(0, Read));
    }

    [Fact]
    public async Task ReserveIsReleasedByItsHolderOnly()
    {
        await using var bench = new UnitBench();
        Assert.Equal("Good", bench.Answer(1, "16 00 00 00 00 00"));
        Assert.Equal("Good", bench.Answer(1, "16 00 00 00 00 00"));
        Assert.Equal("Good", bench.Answer(0, "17 00 00 00 00 00"));
        Assert.Equal("ReservationConflict", bench.Answer(0, Read));
        Assert.Equal("Good", bench.Answer(1, "17 00 00 00 00 00"));
        Assert.Equal("Good", bench.Answer(0, Read));
        // And by its end.
        Assert.Equal("Good", bench.Answer(1, "16 00 00 00 00 00"));
        bench.Nexus(2).Close();
        Assert.Equal("ReservationConflict", bench.Answer(0, Read));
        bench.Nexus(1).Close();
        Assert.Equal("Good", bench.Answer(0, Read));
    }

    [Fact]
    public async Task WriteProtection()
    {
        await using var hard = new UnitBench(options: new BlockUnitOptions { ReadOnly = true });
        Assert.Equal("07/27/00", hard.Answer(0, "2A 00 00000005 00 0001 00", UnitBench.Filled(1, 1)));
        Assert.Equal("07/27/00", hard.Answer(0, "48 02 0000000000 0000 00"));
        Assert.Equal("Good", hard.Answer(0, Read));
        await using var soft = new UnitBench();
        Assert.Equal("Good", soft.Answer(0, "15 10 00 00 10 00", [0, 0, 0, 0, 0x0A, 10, 0x02, 0x10, 0x08, 0, 0, 0, 0xFF, 0xFF, 0, 0]));
        Assert.Equal("07/27/02", soft.Answer(0, "2A 00 00000005 00 0001 00", UnitBench.Filled(1, 1)));
        Assert.Equal("Good", soft.Answer(0, Read));
    }
}
