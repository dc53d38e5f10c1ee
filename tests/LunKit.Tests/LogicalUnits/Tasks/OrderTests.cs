using LunKit.LogicalUnits;
using LunKit.Scsi;

namespace LunKit.Tests.LogicalUnits.Tasks;

/// <summary>
/// Task attributes (SAM-6 8.9) and blocks that a command has for itself, case by case. A command is written as its attribute (S simple, O ordered,
/// H head of queue), then R for a read or X for a COMPARE AND WRITE, which is exclusive, and its block; C before it: its data has not come.
/// </summary>
public class OrderTests
{
    private static BenchCommand Send(UnitBench bench, string what, int nexus)
    {
        bool collects = what[0] == 'C';
        string rest = collects ? what[1..] : what;
        var attribute = rest[0] switch { 'O' => TaskAttribute.Ordered, 'H' => TaskAttribute.HeadOfQueue, _ => TaskAttribute.Simple };
        int block = rest[2] - '0';
        if (collects) return bench.A.Arrive(what, nexus, $"2A 00 {block:X8} 00 0001 00", UnitBench.Filled(1, 1), attribute);
        return rest[1] == 'X' ? bench.Compare(what, nexus, block, attribute) : bench.Read(what, nexus, block, attribute: attribute);
    }

    [Theory]
    // Behind a simple command.
    [InlineData("SR5", "SR5", true)]
    [InlineData("SR5", "SX5", false)]
    [InlineData("SR5", "SX6", true)]
    [InlineData("SR5", "OR6", false)]
    [InlineData("SR5", "HR5", true)]
    [InlineData("SR5", "HX5", false)]
    // Behind one that has its block for itself.
    [InlineData("SX5", "SR5", false)]
    [InlineData("SX5", "SR6", true)]
    [InlineData("SX5", "SR4", true)]
    [InlineData("SX5", "SX5", false)]
    [InlineData("SX5", "SX6", true)]
    [InlineData("SX5", "OR6", false)]
    [InlineData("SX5", "HR5", false)]
    [InlineData("SX5", "HR6", true)]
    // Behind an ordered one.
    [InlineData("OR5", "SR6", false)]
    [InlineData("OR5", "OR6", false)]
    [InlineData("OR5", "HR5", true)]
    [InlineData("OR5", "HX5", false)]
    [InlineData("OR5", "HX6", true)]
    // Behind one at the head of the queue.
    [InlineData("HR5", "SR5", true)]
    [InlineData("HR5", "OR6", false)]
    [InlineData("HR5", "HR6", true)]
    [InlineData("HX5", "SR5", false)]
    [InlineData("HX5", "HR5", false)]
    // Behind one of the same nexus whose data is still to come.
    [InlineData("CSR5", "SR5", true)]
    [InlineData("CSR5", "SX5", true)]
    [InlineData("CSR5", "OR6", false)]
    [InlineData("CSR5", "HR5", true)]
    [InlineData("COR5", "SR6", false)]
    [InlineData("COR5", "OR6", false)]
    [InlineData("COR5", "HR6", true)]
    // And of another one: it holds up nobody.
    [InlineData("CSR5", "OR6", true, 1)]
    [InlineData("COR5", "SR6", true, 1)]
    [InlineData("COR5", "OR6", true, 1)]
    [InlineData("SR5", "OR6", false, 1)]
    [InlineData("OR5", "SR6", false, 1)]
    public async Task Two(string older, string newer, bool runs, int nexus = 0)
    {
        await using var bench = new UnitBench(new GatedStore { Gated = "read write" });
        var first = Send(bench, older, 0);
        var second = Send(bench, newer, nexus);
        bench.Run();
        Assert.Equal(older[0] == 'C' ? TaskState.Collecting : TaskState.Running, first.State);
        Assert.Equal(runs ? TaskState.Running : TaskState.Blocked, second.State);
        if (older[0] == 'C') bench.A.Execute(first);
        bench.Store.Gated = "";
        while (bench.Store.Waiting.Count > 0) bench.Release(bench.Store.Waiting[0]);
        bench.Settle();
        Assert.Equal(("Good", "Good"), (first.Answer, second.Answer));
        if (!runs) Assert.Equal([$"{older} Good", $"{newer} Good"], bench.Events);
    }

    /// <summary>Behind one that waits: its place counts, but what it waits for does not.</summary>
    [Theory]
    [InlineData("SR5", "SX5", "SR5", false)]
    [InlineData("SR5", "SX5", "HR5", true)]
    [InlineData("SR5", "SX5", "SR6", true)]
    [InlineData("SR5", "OR6", "SR7", false)]
    [InlineData("SR5", "OR6", "HR7", true)]
    [InlineData("SR5", "OR6", "HR6", true)]
    [InlineData("SR5", "OX6", "HX6", true)]
    public async Task BehindOneThatWaits(string running, string waiting, string newer, bool runs)
    {
        await using var bench = new UnitBench(new GatedStore { Gated = "read write" });
        Send(bench, running, 0);
        var second = Send(bench, waiting, 1);
        var third = Send(bench, newer, 2);
        bench.Run();
        Assert.Equal(TaskState.Blocked, second.State);
        Assert.Equal(runs ? TaskState.Running : TaskState.Blocked, third.State);
        bench.Store.Gated = "";
        while (bench.Store.Waiting.Count > 0) bench.Release(bench.Store.Waiting[^1]);
        bench.Settle();
        Assert.Equal(3, bench.Events.Count);
        if (!runs) Assert.Equal([$"{running} Good", $"{waiting} Good", $"{newer} Good"], bench.Events);
    }

    /// <summary>One that overtook an exclusive one that waits holds it up, for it runs on its block.</summary>
    [Fact]
    public async Task WhatOvertookHoldsUp()
    {
        await using var bench = new UnitBench(new GatedStore { Gated = "read write" });
        var read = Send(bench, "SR5", 0);
        var compare = Send(bench, "SX5", 1);
        var head = Send(bench, "HR5", 2);
        bench.Release("read 5+1");
        Assert.Equal("Good", read.Answer);
        Assert.Equal((TaskState.Blocked, TaskState.Running), (compare.State, head.State));
        bench.Release("read 5+1");
        Assert.Equal("Good", head.Answer);
        Assert.Equal(TaskState.Running, compare.State);
    }

    /// <summary>The data of an ordered command comes: it keeps the place of its arrival among its own nexus's commands.</summary>
    [Fact]
    public async Task ThePlaceIsThatOfTheArrival()
    {
        await using var bench = new UnitBench(new GatedStore { Gated = "read write" });
        var ordered = Send(bench, "COR5", 0);
        var own = Send(bench, "SR6", 0);
        var other = Send(bench, "SR7", 1);
        Assert.Equal((TaskState.Blocked, TaskState.Running), (own.State, other.State));
        bench.A.Execute(ordered);
        bench.Run();
        // What came after it does not hold it up.
        Assert.Equal((TaskState.Running, TaskState.Blocked), (ordered.State, own.State));
        bench.Release("write 5+1");
        Assert.Equal(TaskState.Running, own.State);
    }
}
