using LunKit.Backstores;
using LunKit.LogicalUnits;
using LunKit.Scsi;

namespace LunKit.Tests.LogicalUnits.Tasks;

/// <summary>MODE SENSE and MODE SELECT, byte by byte (SPC-5 6.13 to 6.16, 7.5).</summary>
public class ModeTests
{
    private static UnitBench Bench(bool readOnly = false) =>
        new(new GatedStore(BackstoreFeatures.VolatileCache), new BlockUnitOptions { ReadOnly = readOnly });

    private static byte[] Sense(UnitBench bench, string cdb)
    {
        var sense = bench.Send("sense", 0, cdb);
        bench.Settle();
        Assert.Equal("Good", sense.Answer);
        return sense.DataIn[..sense.Result!.Value.DataInLength];
    }

    [Fact]
    public async Task Headers()
    {
        await using var bench = Bench();
        // Length, medium type, DPOFUA, block descriptor: 2048 blocks of 512.
        Assert.Equal([0x1F, 0, 0x10, 8, 0, 0, 8, 0, 0, 0, 2, 0], Sense(bench, "1A 00 08 00 FF 00")[..12]);
        Assert.Equal([0x17, 0, 0x10, 0, 0x88, 18, 4], Sense(bench, "1A 08 08 00 FF 00")[..7]);
        Assert.Equal([0, 0x22, 0, 0x10, 0, 0, 0, 8, 0, 0, 8, 0, 0, 0, 2, 0], Sense(bench, "5A 00 08 00 00 00 00 00 FF 00")[..16]);
        Assert.Equal([0, 0x2A, 0, 0x10, 1, 0, 0, 16, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0x88], Sense(bench, "5A 10 08 00 00 00 00 00 FF 00")[..25]);
        // LONGLBA without a descriptor says nothing.
        Assert.Equal([0, 0x1A, 0, 0x10, 0, 0, 0, 0, 0x88], Sense(bench, "5A 18 08 00 00 00 00 00 FF 00")[..9]);
        // Cut by the allocation length.
        Assert.Equal(5, Sense(bench, "1A 00 08 00 05 00").Length);
        await using var protectedUnit = Bench(readOnly: true);
        Assert.Equal(0x90, Sense(protectedUnit, "1A 00 08 00 FF 00")[2]);
    }

    [Fact]
    public async Task Pages()
    {
        await using var bench = Bench();
        var all = Sense(bench, "5A 08 3F 00 00 00 00 10 00 00")[8..];
        var pages = new List<int>();
        for (int at = 0; at < all.Length; at += 2 + all[at + 1]) pages.Add(all[at] & 0x3F);
        Assert.Equal([0x01, 0x02, 0x08, 0x0A, 0x1A, 0x1C], pages);
        // With subpages.
        Assert.Equal(all.Length + 64 - 16, Sense(bench, "5A 08 3F FF 00 00 00 10 00 00").Length - 8);
        // The Control page and its subpage are two.
        Assert.Equal(12, Sense(bench, "5A 08 0A 00 00 00 00 10 00 00").Length - 8);
        Assert.Equal([0xCA, 1, 0, 28], Sense(bench, "5A 08 0A 01 00 00 00 10 00 00")[8..12]);
        Assert.Equal(12 + 32, Sense(bench, "5A 08 0A FF 00 00 00 10 00 00").Length - 8);
        // The page is unknown, or its subpage.
        Assert.Equal("05/24/00 @2", bench.AnswerWithField(0, "5A 08 07 00 00 00 00 10 00 00"));
        Assert.Equal("05/24/00 @3", bench.AnswerWithField(0, "5A 08 08 01 00 00 00 10 00 00"));
        Assert.Equal("05/24/00 @3", bench.AnswerWithField(0, "5A 08 3F 05 00 00 00 10 00 00"));
        // Some page has this subpage.
        Assert.Equal("05/24/00 @3", bench.AnswerWithField(0, "5A 08 3F 01 00 00 00 10 00 00"));
    }

    [Fact]
    public async Task CurrentChangeableDefaultAndSaved()
    {
        await using var bench = Bench();
        string[] Values() => [.. new[] { "08", "48", "88", "C8" }.Select(c => Convert.ToHexString(Sense(bench, $"1A 08 {c} 00 FF 00")[4..7]))];
        Assert.Equal(["881204", "881204", "881204", "881204"], Values());
        Assert.Equal("Good", bench.Answer(0, "15 10 00 00 18 00", [0, 0, 0, 0, 0x08, 18, 0, .. new byte[17]]));
        Assert.Equal(["881200", "881204", "881204", "881204"], Values());
        Assert.Equal("Good", bench.Answer(0, "15 11 00 00 18 00", [0, 0, 0, 0, 0x08, 18, 0, .. new byte[17]]));
        Assert.Equal(["881200", "881204", "881204", "881200"], Values());
        Assert.Equal("06/2A/01", bench.Attention(1)?.ToString());
        Assert.Null(bench.Attention(0));
    }

    public static TheoryData<string, byte[], string> Faults => new()
    {
        { "15 12 00 00 18 00", [0, 0, 0, 0, 0x08, 18, 0, .. new byte[17]], "05/24/00 @1.1" }, // RTD
        { "15 00 00 00 18 00", [0, 0, 0, 0, 0x08, 18, 0, .. new byte[17]], "05/24/00 @1.4" }, // PF
        { "15 10 00 00 03 00", [0, 0, 0], "05/1A/00 @0" },
        { "15 10 00 00 17 00", [0, 0, 0, 0, 0x08, 18, 0, .. new byte[16]], "05/1A/00 @0" }, // a page cut off
        { "15 10 00 00 05 00", [0, 0, 0, 0, 0x08], "05/1A/00 @0" },
        { "15 10 00 00 18 00", [0, 0, 0, 0, 0x07, 18, 0, .. new byte[17]], "05/26/00 @4" }, // unknown
        { "15 10 00 00 18 00", [0, 0, 0, 0, 0x08, 17, 0, .. new byte[17]], "05/26/00 @5" }, // of another length
        { "15 10 00 00 18 00", [0, 0, 0, 0, 0x08, 18, 1, .. new byte[17]], "05/26/00 @6" }, // RCD cannot be changed
        { "15 10 00 00 18 00", [0, 0, 0, 0, 0x08, 18, 0, 1, .. new byte[16]], "05/26/00 @7" },
        { "15 10 00 00 20 00", [0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 2, 0, 0x08, 18, 0, .. new byte[17]], "05/26/00 @3" },
        { "15 10 00 00 20 00", [0, 0, 0, 8, 0, 0, 8, 1, 0, 0, 2, 0, 0x08, 18, 0, .. new byte[17]], "05/26/00 @4" }, // another capacity
        { "15 10 00 00 20 00", [0, 0, 0, 8, 0, 0, 8, 0, 0, 0, 4, 0, 0x08, 18, 0, .. new byte[17]], "05/26/00 @4" }, // other blocks
        { "15 10 00 00 20 00", [0, 0, 0, 8, 0, 0, 8, 0, 0, 0, 2, 0, 0x08, 18, 0, .. new byte[17]], "Good" },
        { "15 10 00 00 20 00", [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0x08, 18, 0, .. new byte[17]], "Good" },
        { "15 10 00 00 20 00", [0, 0, 0, 8, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 2, 0, 0x08, 18, 0, .. new byte[17]], "Good" },
        { "55 10 00 00 00 00 00 00 1C 00", [0, 0, 0, 0, 0, 0, 0, 0, 0x08, 18, 0, .. new byte[17]], "Good" },
        { "55 10 00 00 00 00 00 00 2C 00", [0, 0, 0, 0, 1, 0, 0, 16, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0x08, 18, 0, .. new byte[17]], "Good" },
        { "55 10 00 00 00 00 00 00 24 00", [0, 0, 0, 0, 1, 0, 0, 8, 0, 0, 0, 0, 0, 0, 8, 0, 0x08, 18, 0, .. new byte[17]], "05/26/00 @6" },
        { "15 10 00 00 00 00", [], "Good" },
        { "15 10 00 00 04 00", [0, 0, 0, 0], "Good" },
    };

    [Theory]
    [MemberData(nameof(Faults))]
    public async Task Lists(string cdb, byte[] list, string answer)
    {
        await using var bench = Bench();
        Assert.Equal(answer, bench.AnswerWithField(0, cdb, list));
        // A list is taken as a whole or not at all.
        if (answer != "Good") Assert.True(bench.Unit.IsWriteCacheEnabled);
    }

    /// <summary>What is saved is there again after a restart; what the page forbids, or is of another length, is not.</summary>
    [Fact]
    public async Task SavedPagesComeBack()
    {
        var state = new VolatileUnitState(UnitIdentity.IdOf("bench"));
        await using (var bench = new UnitBench(new GatedStore(BackstoreFeatures.VolatileCache), state: state))
            Assert.Equal("Good", bench.Answer(0, "15 11 00 00 18 00", [0, 0, 0, 0, 0x08, 18, 0, .. new byte[17]]));
        await using (var bench = new UnitBench(new GatedStore(BackstoreFeatures.VolatileCache), state: state)) Assert.False(bench.Unit.IsWriteCacheEnabled);
        var odd = state.Load();
        odd.ModePages["0800"] = "8812";
        state.Save(odd);
        await using (var bench = new UnitBench(new GatedStore(BackstoreFeatures.VolatileCache), state: state)) Assert.True(bench.Unit.IsWriteCacheEnabled);
    }

    /// <summary>A reset aborts, and then restores: what a MODE SELECT that it ended puts in force would outlast it.</summary>
    [Fact]
    public async Task WhatAResetEndedChangesNothing()
    {
        await using var bench = Bench();
        var select = bench.A.Arrive("select", 0, "15 10 00 00 18 00");
        var page = bench.Unit.ModePages.Find(8, 0)!;
        byte[] before = [.. page.Current], wanted = [.. page.Current];
        wanted[2] ^= 4;
        var reset = bench.Unit.TaskManager.Reset(bench.UnitNexus(1), Scsi.Sense.BusDeviceResetOccurred);
        Assert.Throws<OperationCanceledException>(() => bench.Unit.ModePages.Apply([(page, wanted)], save: false, select));
        Assert.Equal(before, page.Current);
        bench.Settle();
        Assert.True(reset.IsCompleted);
        // One that runs does change it.
        var next = bench.A.Arrive("next", 0, "15 10 00 00 18 00");
        Assert.True(bench.Unit.ModePages.Apply([(page, wanted)], save: false, next));
        Assert.Equal(wanted[2], page.Current[2]);
        bench.A.Execute(next);
        bench.Settle();
    }
}
