using LunKit.Backstores;
using LunKit.LogicalUnits;
using LunKit.Scsi;

namespace LunKit.Tests.LogicalUnits.Tasks;

/// <summary>The parameter lists of SANITIZE OVERWRITE (SBC-4 5.30.2) and FORMAT UNIT (5.4).</summary>
public class OverwriteTests
{
    private static UnitBench Bench() => new(new GatedStore(BackstoreFeatures.Discard | BackstoreFeatures.WriteSame));

    private static byte[] List(int flags, int length, int bytes) =>
        [(byte)flags, 0, (byte)(length >> 8), (byte)length, .. Enumerable.Range(0, Math.Max(0, bytes)).Select(i => (byte)(0x0F + i))];

    [Theory]
    [InlineData(4, 1, 0, 0, "05/24/00 @7")] // no pattern
    [InlineData(5, 1, 1, 1, "Good")]
    [InlineData(516, 1, 512, 512, "Good")]
    [InlineData(517, 1, 513, 513, "05/24/00 @7")] // longer than a block
    [InlineData(6, 1, 2, 1, "05/1A/00 @0")] // less came than was declared
    [InlineData(5, 0, 1, 1, "05/26/00 @0.4")] // no pass
    [InlineData(5, 0x21, 1, 1, "05/26/00 @0.6")] // TEST
    [InlineData(5, 0x41, 1, 1, "05/26/00 @0.6")]
    [InlineData(5, 1, 0, 1, "05/26/00 @2")]
    [InlineData(6, 1, 1, 2, "05/26/00 @2")]
    [InlineData(5, 1, 513, 1, "05/26/00 @2")]
    public async Task Lists(int declared, int flags, int length, int bytes, string answer)
    {
        await using var bench = Bench();
        Assert.Equal(answer, bench.AnswerWithField(0, $"48 01 0000000000 {declared:X4} 00", List(flags, length, bytes)));
        Assert.Equal(answer == "Good", bench.Store.TakeLog().Any(l => l.StartsWith("same", StringComparison.Ordinal)));
    }

    [Theory]
    [InlineData(1, 1, 0x0F, 0x10)]
    [InlineData(2, 2, 0x0F, 0x10)]
    [InlineData(31, 31, 0x0F, 0x10)]
    [InlineData(0x81, 1, 0x0F, 0x10)]
    [InlineData(0x82, 2, 0xF0, 0xEF)] // inverted: the second pass is the complement
    [InlineData(0x83, 3, 0x0F, 0x10)]
    public async Task Passes(int flags, int passes, int first, int second)
    {
        await using var bench = Bench();
        Assert.Equal("Good", bench.Answer(0, "48 01 0000000000 0006 00", List(flags, 2, 2)));
        Assert.Equal(passes, bench.Store.TakeLog().Count(l => l == "same 0+2048"));
        foreach (int block in new[] { 0, 2047 })
        {
            var read = bench.Read("read", 0, block);
            bench.Settle();
            Assert.Equal([(byte)first, (byte)second, (byte)first], read.DataIn[..3]);
        }
    }

    public static TheoryData<string, byte[], string> Formats => new()
    {
        { "04 00 00 00 00 00", [], "Good" },
        { "04 10 00 00 00 00", [0, 0, 0, 0], "Good" },
        { "04 10 00 00 00 00", [0, 2, 0, 0], "Good" }, // IMMED
        { "04 30 00 00 00 00", [0, 0, 0, 0, 0, 0, 0, 0], "Good" },
        { "04 40 00 00 00 00", [], "05/24/00 @1.7" }, // protection information
        { "04 80 00 00 00 00", [], "05/24/00 @1.7" },
        { "04 11 00 00 00 00", [0, 0, 0, 0], "05/24/00 @1.2" }, // a defect list
        { "04 10 00 00 00 00", [0, 0, 0], "05/1A/00 @0" },
        { "04 30 00 00 00 00", [0, 0, 0, 0], "05/1A/00 @0" },
        { "04 10 00 00 00 00", [1, 0, 0, 0], "05/26/00 @0.2" }, // PROTECTION FIELD USAGE
        { "04 10 00 00 00 00", [0, 4, 0, 0], "05/26/00 @1.6" },
        { "04 10 00 00 00 00", [0, 0x40, 0, 0], "05/26/00 @1.6" },
        { "04 10 00 00 00 00", [0, 0, 0, 1], "05/26/00 @2" }, // defects
    };

    [Theory]
    [MemberData(nameof(Formats))]
    public async Task FormatLists(string cdb, byte[] list, string answer)
    {
        await using var bench = Bench();
        // CMPLST and the format belong to defect lists; what is not taken may be in a reserved place of the CDB, too.
        Assert.Equal(answer, bench.AnswerWithField(0, cdb, list));
        Assert.Equal(answer == "Good", bench.Store.TakeLog().Contains("discard 0+2048"));
    }

    [Fact]
    public async Task AnImmediateFormatIsAnsweredAtOnce()
    {
        await using var bench = new UnitBench(new GatedStore(BackstoreFeatures.Discard) { Gated = "discard" });
        foreach (bool immediate in new[] { true, false })
        {
            var format = bench.Send("format", 0, "04 10 00 00 00 00", [0, (byte)(immediate ? 2 : 0), 0, 0]);
            bench.Settle();
            Assert.Equal(immediate ? "Good" : null, format.Answer);
            Assert.Equal("02/04/04", bench.Answer(1, "00 00 00 00 00 00"));
            bench.Release("discard 0+2048");
            Assert.Equal("Good", format.Answer);
        }
    }
}
