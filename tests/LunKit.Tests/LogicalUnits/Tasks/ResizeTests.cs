using LunKit.Backstores;
using LunKit.LogicalUnits;
using LunKit.Scsi;
using Microsoft.Extensions.Time.Testing;

namespace LunKit.Tests.LogicalUnits.Tasks;

/// <summary>A capacity that changes while commands run.</summary>
public class ResizeTests
{
    // Its owner has made what is behind it smaller.
    private static Task ShrinkAsync(UnitBench bench, long blocks)
    {
        bench.Store.MediumBlocks = blocks;
        return bench.Unit.RefreshSizeAsync().AsTask();
    }

    private static UnitBench Bench(string gated) => new(new GatedStore(BackstoreFeatures.Resize) { Gated = gated });

    [Fact]
    public async Task AShrinkWaitsForTheBlocksThatGo()
    {
        await using var bench = Bench("write");
        var going = bench.Write("going", 0, 1000);
        var staying = bench.Write("staying", 0, 999);
        var resizing = ShrinkAsync(bench, 1000);
        var late = bench.Write("late", 1, 1000);
        bench.Settle();
        Assert.False(resizing.IsCompleted);
        Assert.Equal((TaskState.Running, TaskState.Running, TaskState.Blocked), (going.State, staying.State, late.State));
        bench.Release("write 1000+1");
        Assert.True(resizing.IsCompletedSuccessfully);
        Assert.Equal("Good", going.Answer);
        Assert.Null(staying.Answer);
        Assert.Equal(1000, bench.Unit.BlockCount);
        // Checked against the new capacity. The capacity's own attention is first.
        Assert.Equal("06/2A/09", late.Answer);
        Assert.Equal("05/21/00", bench.Answer(1, "2A 00 000003E8 00 0001 00", UnitBench.Filled(1, 1)));
        Assert.Equal("06/2A/09", bench.Attention(0)?.ToString());
        Assert.Equal("06/2A/09", bench.Attention(2)?.ToString());
        bench.Release("write 999+1");
        Assert.Equal("Good", staying.Answer);
        Assert.Equal(["write 1000+1", "write 999+1", "measure 0+0", "take 0+1000"], bench.Store.TakeLog());
    }

    [Fact]
    public async Task AGrowthWaitsForNobody()
    {
        await using var bench = Bench("write");
        bench.Write("running", 0, 2047);
        var resizing = bench.Unit.ResizeAsync(4096 * 512).AsTask();
        Assert.True(resizing.IsCompletedSuccessfully);
        Assert.Equal(4096, bench.Unit.BlockCount);
        Assert.Equal("06/2A/09", bench.Attention(0)?.ToString());
        bench.Release("write 2047+1");
        // The same again changes nothing.
        await bench.Unit.ResizeAsync(4096 * 512);
        Assert.Null(bench.Attention(0));
    }

    /// <summary>Resets and aborts are about commands.</summary>
    [Fact]
    public async Task TaskManagementDoesNotReachIt()
    {
        await using var bench = Bench("write");
        bench.Write("running", 0, 1500);
        var resizing = ShrinkAsync(bench, 1000);
        var reset = bench.Unit.TaskManager.Reset(bench.UnitNexus(1), Sense.BusDeviceResetOccurred);
        var cleared = bench.Unit.TaskManager.ClearTaskSet(bench.UnitNexus(1));
        bench.Settle();
        Assert.False(resizing.IsCompleted || reset.IsCompleted || cleared.IsCompleted);
        bench.Release("write 1500+1");
        Assert.True(resizing.IsCompletedSuccessfully && reset.IsCompleted && cleared.IsCompleted);
        Assert.Equal(1000, bench.Unit.BlockCount);
    }

    [Fact]
    public async Task AGhostHoldsItUp()
    {
        await using var bench = Bench("write");
        bench.Write("old", 0, 1500);
        bench.Nexus(0).Close();
        var resizing = ShrinkAsync(bench, 1000);
        bench.Settle();
        Assert.False(resizing.IsCompleted);
        bench.Release("write 1500+1");
        Assert.True(resizing.IsCompletedSuccessfully);
    }

    /// <summary>A disk that hangs does not hold up who asks for ever, nor the commands behind him; and nothing is cut off below it later.</summary>
    [Fact]
    public async Task AShrinkGivesUpAfterHalfAMinute()
    {
        var time = new FakeTimeProvider();
        await using var bench = new UnitBench(new GatedStore(BackstoreFeatures.Resize) { Gated = "write" }, time: time);
        bench.Write("hangs", 0, 1500);
        var resizing = ShrinkAsync(bench, 1000);
        var behind = bench.Read("behind", 1, 1500);
        time.Advance(TimeSpan.FromSeconds(29.9));
        bench.Settle();
        Assert.False(resizing.IsCompleted || behind.Answer is not null);
        time.Advance(TimeSpan.FromSeconds(0.1));
        bench.Settle();
        var refusal = await Assert.ThrowsAsync<BackstoreException>(() => resizing);
        Assert.Equal(BackstoreError.Busy, refusal.Error);
        Assert.Contains("have not ended within 30 s", refusal.Message, StringComparison.Ordinal);
        bench.Release("write 1500+1");
        Assert.Equal("Good", behind.Answer);
        Assert.Equal(2048, bench.Unit.BlockCount);
        Assert.DoesNotContain("take 0+1000", bench.Store.TakeLog());
    }

    [Fact]
    public async Task WhatCannotBeIsRefused()
    {
        await using var bench = Bench("");
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(() => bench.Unit.ResizeAsync(511).AsTask());
        await Assert.ThrowsAsync<BackstoreException>(() => ShrinkAsync(bench, 0));
        await ShrinkAsync(bench, 1);
        Assert.Equal(1, bench.Unit.BlockCount);
        await using var stiff = new UnitBench(new GatedStore());
        await stiff.Unit.ResizeAsync(2048 * 512);
        await Assert.ThrowsAsync<BackstoreException>(() => stiff.Unit.ResizeAsync(1024 * 512).AsTask());
        await Assert.ThrowsAsync<BackstoreException>(() => stiff.Unit.ResizeAsync(4096 * 512).AsTask());
        await Assert.ThrowsAsync<BackstoreException>(() => ShrinkAsync(stiff, 1024));
        Assert.Equal(2048, stiff.Unit.BlockCount);
        // The failed one holds nobody up.
        Assert.Equal(0, stiff.Unit.Tasks.Count);
        Assert.Equal("Good", stiff.Answer(0, "2A 00 00000500 00 0001 00", UnitBench.Filled(1, 1)));
    }

    /// <summary>Whoever wants a disk smaller makes what is behind it smaller: here that would cut off what is in use.</summary>
    [Fact]
    public async Task NobodyCutsItOff()
    {
        await using var bench = Bench("");
        var refusal = await Assert.ThrowsAsync<BackstoreException>(() => bench.Unit.ResizeAsync(1000 * 512).AsTask());
        Assert.Contains("not cut off", refusal.Message, StringComparison.Ordinal);
        Assert.Equal(2048, bench.Unit.BlockCount);
        Assert.Empty(bench.Store.TakeLog());
    }

    /// <summary>Of two looks at the size at once, the later one does not take over what the earlier one has measured.</summary>
    [Fact]
    public async Task LooksAtTheSizeGoOneAfterTheOther()
    {
        await using var bench = Bench("take");
        bench.Store.MediumBlocks = 3000;
        var first = bench.Unit.RefreshSizeAsync().AsTask();
        bench.Store.MediumBlocks = 4096;
        var second = bench.Unit.RefreshSizeAsync().AsTask();
        bench.Settle();
        Assert.Equal(["take 0+3000"], bench.Store.Waiting);
        bench.Store.Gated = "";
        bench.Release("take 0+3000");
        await first;
        await second;
        Assert.Equal(["measure 0+0", "take 0+3000", "measure 0+0", "take 0+4096"], bench.Store.TakeLog());
        Assert.Equal(4096, bench.Unit.BlockCount);
    }
}
