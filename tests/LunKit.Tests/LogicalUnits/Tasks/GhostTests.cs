using LunKit.Backstores;
using LunKit.LogicalUnits;
using LunKit.Scsi;

namespace LunKit.Tests.LogicalUnits.Tasks;

/// <summary>
/// A nexus dies while its commands are in a storage that hangs. What of them still writes keeps its blocks for itself until it has ended, however
/// long that is: nothing of it lands on what is written later.
/// </summary>
public class GhostTests
{
    private static UnitBench Bench(string gated) => new(new GatedStore(BackstoreFeatures.Discard | BackstoreFeatures.WriteZeroes | BackstoreFeatures.WriteSame) { Gated = gated });

    private static byte[] Content(UnitBench bench, int block)
    {
        var read = bench.Read("content", 1, block);
        bench.Settle();
        Assert.Equal("Good", read.Answer);
        return read.DataIn;
    }

    [Theory]
    [InlineData(TaskAttribute.Simple)]
    [InlineData(TaskAttribute.Ordered)]
    [InlineData(TaskAttribute.HeadOfQueue)]
    public async Task ItsWriteLandsBeforeEverythingNewer(TaskAttribute attribute)
    {
        await using var bench = Bench("write");
        bench.Write("old", 0, 5, 2, fill: 1);
        bench.Nexus(0).Close();
        // The same initiator again, at once.
        int again = 3;
        bench.AddNexus();
        var write = bench.Write("new", again, 6, attribute: attribute, fill: 2);
        var read = bench.Read("read", 1, 5, attribute: attribute);
        bench.Settle();
        Assert.Equal((TaskState.Blocked, TaskState.Blocked), (write.State, read.State));
        Assert.Equal(["write 5+2"], bench.Store.Waiting);
        bench.Store.Gated = "";
        bench.Release("write 5+2");
        Assert.Equal(("Good", "Good"), (write.Answer, read.Answer));
        Assert.Equal(2, Content(bench, 6)[0]);
        Assert.Equal(1, read.DataIn[0]);
        Assert.Equal(["new Good", "read Good"], bench.Events.Where(e => e[0] is 'n' or 'r').Order());
    }

    [Fact]
    public async Task OtherBlocksAreFree()
    {
        await using var bench = Bench("write");
        bench.Write("old", 0, 5, 2);
        bench.Nexus(0).Close();
        bench.Read("before", 1, 4);
        bench.Read("after", 1, 7);
        var write = bench.Write("write", 1, 7);
        bench.Settle();
        Assert.Equal(["before Good", "after Good"], bench.Events);
        Assert.Equal(TaskState.Running, write.State);
    }

    /// <summary>What it reads, nobody misses.</summary>
    [Fact]
    public async Task ItsReadsHoldUpNobody()
    {
        await using var bench = Bench("read");
        var old = bench.Read("old", 0, 5, 2);
        bench.Nexus(0).Close();
        Assert.False(old.Place.IsGhost);
        bench.Write("new", 1, 5);
        bench.Settle();
        Assert.Equal(["new Good"], bench.Events);
    }

    [Theory]
    [InlineData("41 00 00000005 00 0002 00", "same 5+2")]
    [InlineData("93 08 0000000000000005 00000002 00 00", "discard 5+2")]
    [InlineData("93 01 0000000000000005 00000002 00 00", "zero 5+2")]
    [InlineData("42 00 00000000 00 0018 00", "discard 5+2")]
    [InlineData("8B 00 0000000000000005 00000002 00 00", "write 5+2")]
    [InlineData("9C 00 0000000000000005 0000 0002 00 00", "write 5+2")]
    [InlineData("2E 00 00000005 00 0002 00", "write 5+2")]
    public async Task EveryCommandThatWritesIsOne(string cdb, string call)
    {
        await using var bench = Bench("write same discard zero compare");
        byte[] data = cdb[..2] switch
        {
            "42" => [0, 22, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 2, 0, 0, 0, 0],
            "41" => UnitBench.Filled(1, 1),
            "93" => cdb[4] == '8' ? new byte[512] : [],
            _ => UnitBench.Filled(2, 1),
        };
        bench.Send("old", 0, cdb, data);
        Assert.Equal([call], bench.Store.Waiting);
        bench.Nexus(0).Close();
        var read = bench.Read("read", 1, 6);
        var beside = bench.Read("beside", 1, 7);
        bench.Settle();
        Assert.Equal((null, "Good"), (read.Answer, beside.Answer));
        bench.Store.Gated = "";
        bench.Release(call);
        Assert.Equal("Good", read.Answer);
    }

    [Fact]
    public async Task AResetWaitsForIt()
    {
        await using var bench = Bench("write");
        bench.Write("old", 0, 5);
        bench.Nexus(0).Close();
        var over = bench.Note("reset", bench.Unit.TaskManager.Reset(bench.UnitNexus(1), Sense.BusDeviceResetOccurred));
        var cleared = bench.Note("cleared", bench.Unit.TaskManager.ClearTaskSet(bench.UnitNexus(1)));
        bench.Settle();
        Assert.False(over.IsCompleted || cleared.IsCompleted);
        bench.Release("write 5+1");
        Assert.True(over.IsCompleted && cleared.IsCompleted);
    }

    [Theory]
    [InlineData("04 00 00 00 00 00")]
    [InlineData("48 82 0000000000 0000 00")]
    public async Task ErasureWaitsForIt(string cdb)
    {
        await using var bench = Bench("write");
        bench.Write("old", 0, 5, fill: 9);
        bench.Nexus(0).Close();
        bench.Send("erase", 1, cdb);
        bench.Settle();
        Assert.Empty(bench.Events);
        bench.Store.Gated = "";
        bench.Release("write 5+1");
        bench.Settle();
        Assert.Equal(["erase Good"], bench.Events);
        Assert.Equal(0, Content(bench, 5)[0]);
    }

    /// <summary>One that waited for its turn is no ghost: it never writes.</summary>
    [Fact]
    public async Task WhatHadNotBegunNeverDoes()
    {
        await using var bench = Bench("compare write read");
        bench.Read("first", 1, 50);
        bench.Write("waits", 0, 6, attribute: TaskAttribute.Ordered);
        var collects = bench.A.Arrive("collects", 0, "2A 00 00000007 00 0001 00", UnitBench.Filled(1, 1));
        bench.Nexus(0).Close();
        bench.Settle();
        Assert.Equal("silence", collects.Answer);
        bench.Release("read 50+1");
        Assert.Equal(0, bench.Unit.Tasks.Count);
        Assert.DoesNotContain("write 6+1", bench.Store.TakeLog());
    }

    [Fact]
    public async Task SeveralOnTheSameBlocks()
    {
        await using var bench = Bench("write");
        bench.Write("old 1", 0, 5, 2, fill: 1);
        bench.Write("old 2", 0, 6, 2, fill: 2);
        var living = bench.Write("living", 1, 6, fill: 3);
        bench.Nexus(0).Close();
        // It ran already.
        bench.Release("write 6+1");
        Assert.Equal("Good", living.Answer);
        var read = bench.Read("read", 1, 6);
        bench.Release("write 5+2");
        Assert.Null(read.Answer);
        bench.Release("write 6+2");
        Assert.Equal("Good", read.Answer);
    }
}
