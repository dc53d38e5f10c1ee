using LunKit.Backstores;
using LunKit.LogicalUnits;
using LunKit.Scsi;

namespace LunKit.Tests.LogicalUnits.Tasks;

/// <summary>SANITIZE and FORMAT UNIT against everything that goes on beside them.</summary>
public class ErasureTests
{
    private const string Sanitize = "48 02 0000000000 0000 00", SanitizeAtOnce = "48 82 0000000000 0000 00", Format = "04 00 00 00 00 00",
        TestUnitReady = "00 00 00 00 00 00", All = "discard 0+2048";

    private static UnitBench Bench(string gated) => new(new GatedStore(BackstoreFeatures.Discard | BackstoreFeatures.VolatileCache) { Gated = gated });

    [Theory]
    [InlineData(Sanitize, "02/04/1B")]
    [InlineData(SanitizeAtOnce, "02/04/1B")]
    [InlineData(Format, "02/04/04")]
    public async Task ItWaitsForWhatWritesAndKeepsTheOthersAway(string cdb, string busy)
    {
        await using var bench = Bench("write discard");
        var running = bench.Write("running", 0, 5, fill: 9);
        var erase = bench.Send("erase", 1, cdb);
        var late = bench.Write("late", 2, 6);
        bench.Settle();
        Assert.Equal((TaskState.Running, TaskState.Blocked, TaskState.Blocked), (running.State, erase.State, late.State));
        Assert.Equal("Good", bench.Answer(2, TestUnitReady));
        Assert.Equal(["write 5+1"], bench.Store.Waiting);
        bench.Release("write 5+1");
        Assert.Equal("Good", running.Answer);
        // It has begun: what waited for it is told so, and what comes now.
        Assert.Equal([All], bench.Store.Waiting);
        Assert.Equal(cdb == SanitizeAtOnce ? "Good" : null, erase.Answer);
        Assert.Equal(busy, late.Answer);
        Assert.Equal(busy, bench.Answer(0, "28 00 00000005 00 0001 00"));
        Assert.Equal(busy, bench.Answer(0, "35 00 00000000 00 0000 00"));
        bench.Store.Gated = "";
        bench.Release(All);
        Assert.Equal("Good", erase.Answer);
        Assert.Equal("Good", bench.Answer(0, "28 00 00000005 00 0001 00"));
        // What was erased is on the medium, and nothing is written behind it.
        var log = bench.Store.TakeLog();
        Assert.Equal(["write 5+1", All, "flush", "read 5+1"], log);
    }

    /// <summary>Nobody changes the size of what is erased; what the storage gains by itself is erased, too.</summary>
    [Theory]
    [InlineData(SanitizeAtOnce)]
    [InlineData(Format)]
    [InlineData("48 81 0000000000 0005 00")]
    public async Task TheSizeStaysMeanwhile(string cdb)
    {
        var store = new GatedStore(BackstoreFeatures.Discard | BackstoreFeatures.Resize, 4096) { Geometry = new(2048 * 512), Gated = "discard write" };
        await using var bench = new UnitBench(store);
        bench.Send("erase", 0, cdb, cdb.StartsWith("48 81", StringComparison.Ordinal) ? [1, 0, 0, 1, 0xAA] : []);
        bench.Settle();
        string first = Assert.Single(store.Waiting);
        store.MediumBlocks = 1000;
        foreach (var change in (Func<ValueTask>[])[() => bench.Unit.ResizeAsync(4096 * 512), bench.Unit.RefreshSizeAsync])
        {
            var refusal = await Assert.ThrowsAsync<BackstoreException>(() => change().AsTask());
            Assert.Equal(BackstoreError.Busy, refusal.Error);
        }
        Assert.Equal(2048, bench.Unit.BlockCount);
        store.Become(4096);
        bench.Release(first);
        string second = Assert.Single(store.Waiting);
        Assert.EndsWith(" 2048+2048", second, StringComparison.Ordinal);
        store.Gated = "";
        bench.Release(second);
        Assert.Equal("06/2A/09", bench.Answer(1, TestUnitReady));
        Assert.Equal("Good", bench.Answer(1, TestUnitReady));
        await bench.Unit.RefreshSizeAsync();
        Assert.Equal(1000, bench.Unit.BlockCount);
    }

    /// <summary>All blocks: the first and the last, too.</summary>
    [Theory]
    [InlineData(0)]
    [InlineData(2047)]
    public async Task ItHasAllBlocks(int block)
    {
        await using var bench = Bench("write");
        bench.Write("running", 0, block);
        var erase = bench.Send("erase", 1, SanitizeAtOnce);
        bench.Settle();
        Assert.Equal(TaskState.Blocked, erase.State);
        bench.Release($"write {block}+1");
        Assert.Equal("Good", erase.Answer);
    }

    [Theory]
    [InlineData(Sanitize, Sanitize)]
    [InlineData(Sanitize, Format)]
    [InlineData(SanitizeAtOnce, SanitizeAtOnce)]
    [InlineData(Format, Sanitize)]
    [InlineData(Format, Format)]
    public async Task OfTwoAtOnceTheSecondIsRefused(string first, string second)
    {
        await using var bench = Bench("write discard");
        bench.Write("running", 0, 5);
        bench.Send("first", 1, first);
        var other = bench.Send("second", 2, second);
        bench.Settle();
        bench.Release("write 5+1");
        string busy = first == Format ? "02/04/04" : "02/04/1B";
        Assert.Equal(busy, other.Answer);
        // And one that comes later, at once.
        Assert.Equal(busy, bench.Answer(2, second));
        bench.Store.Gated = "";
        bench.Release(All);
        Assert.Single(bench.Store.TakeLog(), All);
        Assert.Equal("Good", bench.Answer(0, TestUnitReady));
    }

    /// <summary>An abort ends the command, not the operation (SBC-4 4.11.3).</summary>
    [Fact]
    public async Task AnAbortEndsTheCommandOnly()
    {
        await using var bench = Bench("discard");
        var erase = bench.Send("erase", 0, Sanitize);
        bench.Settle();
        var over = bench.Unit.TaskManager.AbortTask(bench.UnitNexus(0), c => c == erase)!;
        bench.Settle();
        Assert.Equal("silence", erase.Answer);
        Assert.True(over.IsCompleted);
        Assert.Equal("02/04/1B", bench.Answer(0, TestUnitReady));
        var reset = bench.Unit.TaskManager.Reset(bench.UnitNexus(0), Sense.BusDeviceResetOccurred);
        bench.Settle();
        Assert.True(reset.IsCompleted);
        Assert.Equal("06/29/03", bench.Answer(0, TestUnitReady));
        Assert.Equal("02/04/1B", bench.Answer(0, TestUnitReady));
        bench.Release(All);
        Assert.Equal("Good", bench.Answer(0, TestUnitReady));
    }

    [Theory]
    [InlineData(Sanitize)]
    [InlineData(Format)]
    public async Task OneThatIsAbortedWhileItWaitsErasesNothing(string cdb)
    {
        await using var bench = Bench("write");
        bench.Write("running", 0, 5);
        var erase = bench.Send("erase", 1, cdb);
        var late = bench.Write("late", 2, 6);
        _ = bench.Unit.TaskManager.AbortTaskSet(bench.UnitNexus(1));
        bench.Settle();
        Assert.Equal("silence", erase.Answer);
        Assert.Equal(TaskState.Running, late.State);
        bench.Release("write 5+1");
        bench.Release("write 6+1");
        Assert.Equal("Good", late.Answer);
        Assert.Equal(["write 5+1", "write 6+1"], bench.Store.TakeLog());
    }

    /// <summary>Its nexus dies while it runs: the operation is the unit's, and the medium is nobody's ghost.</summary>
    [Fact]
    public async Task ItsNexusMayDie()
    {
        await using var bench = Bench("discard");
        var erase = bench.Send("erase", 0, Sanitize);
        bench.Settle();
        bench.Nexus(0).Close();
        bench.Settle();
        Assert.False(erase.Place.IsGhost);
        Assert.Equal("02/04/1B", bench.Answer(1, Sanitize));
        bench.Store.Gated = "";
        bench.Release(All);
        Assert.Equal("Good", bench.Answer(1, "2A 00 00000005 00 0001 00", UnitBench.Filled(1, 1)));
    }

    [Fact]
    public async Task AFailedSanitizeStaysUntilItIsDoneOrLeft()
    {
        await using var bench = Bench("discard");
        var erase = bench.Send("erase", 0, "48 22 0000000000 0000 00");
        bench.Settle();
        // It cannot be left while it runs.
        Assert.Equal("02/04/1B", bench.Answer(1, "48 1F 0000000000 0000 00"));
        bench.Store.Fail(All, new BackstoreException(BackstoreError.MediumWrite, "broken"));
        bench.Settle();
        Assert.Equal("03/0C/00", erase.Answer);
        Assert.Equal("03/31/03", bench.Answer(1, TestUnitReady));
        Assert.Equal("03/31/03", bench.Answer(1, Format));
        // Started again, and failed again.
        bench.Send("again", 0, "48 02 0000000000 0000 00");
        bench.Settle();
        bench.Store.Fail(All, new BackstoreException(BackstoreError.MediumWrite, "broken"));
        bench.Settle();
        // This one may not be left.
        Assert.Equal("05/24/00", bench.Answer(1, "48 1F 0000000000 0000 00"));
        Assert.Equal("03/31/03", bench.Answer(1, TestUnitReady));
        bench.Store.Gated = "";
        Assert.Equal("Good", bench.Answer(0, Sanitize));
        Assert.Equal("Good", bench.Answer(1, TestUnitReady));
        Assert.Equal("Good", bench.Answer(1, "48 1F 0000000000 0000 00"));
    }

    [Fact]
    public async Task AFailedFormatStaysUntilOneSucceeds()
    {
        var state = new VolatileUnitState(UnitIdentity.IdOf("bench"));
        await using var bench = new UnitBench(new GatedStore(BackstoreFeatures.Discard | BackstoreFeatures.VolatileCache) { Gated = "discard" }, state: state);
        var format = bench.Send("format", 0, Format);
        bench.Settle();
        bench.Store.Fail(All, new BackstoreException(BackstoreError.MediumWrite, "broken"));
        bench.Settle();
        Assert.Equal("03/0C/00", format.Answer);
        // What needs the medium; half of it may be there.
        foreach (string cdb in (string[])[TestUnitReady, "28 00 00000005 00 0001 00", "25 00 00000000 0000 00 00", "35 00 00000000 00 0000 00", Sanitize, "48 1F 0000000000 0000 00"])
            Assert.Equal("03/31/01", bench.Answer(1, cdb));
        Assert.Equal("03/31/01", bench.Answer(1, "2A 00 00000005 00 0001 00", UnitBench.Filled(1, 1)));
        Assert.Equal("Good", bench.Answer(1, "12 00 00 00 24 00"));
        Assert.Equal("Good", bench.Answer(1, "1A 08 08 00 40 00"));
        // No reset ends it, and no restart.
        _ = bench.Unit.TaskManager.Reset(bench.UnitNexus(0), Sense.BusDeviceResetOccurred);
        bench.Settle();
        Assert.Equal("06/29/03", bench.Answer(1, TestUnitReady));
        Assert.Equal("03/31/01", bench.Answer(1, TestUnitReady));
        await using (var next = new UnitBench(state: state)) Assert.Equal("03/31/01", next.Answer(0, TestUnitReady));
        // Another attempt, not ready meanwhile.
        Assert.Equal("06/29/03", bench.Answer(0, Format));
        var again = bench.Send("again", 0, Format);
        bench.Settle();
        Assert.Equal("02/04/04", bench.Answer(1, TestUnitReady));
        Assert.Equal("02/04/04", bench.Answer(1, Format));
        bench.Store.Gated = "";
        bench.Release(All);
        Assert.Equal("Good", again.Answer);
        Assert.Equal("Good", bench.Answer(1, TestUnitReady));
        await using (var next = new UnitBench(state: state)) Assert.Equal("Good", next.Answer(0, TestUnitReady));
    }

    /// <summary>With IMMED its initiator has its GOOD: the failure is told by what comes later.</summary>
    [Fact]
    public async Task AFormatThatFailsLaterIsTold()
    {
        await using var bench = Bench("discard");
        Assert.Equal("Good", bench.Answer(0, "04 10 00 00 00 00", [0, 2, 0, 0]));
        bench.Store.Fail(All, new BackstoreException(BackstoreError.MediumWrite, "broken"));
        bench.Settle();
        Assert.Equal("03/31/01", bench.Answer(0, TestUnitReady));
        Assert.Equal("03/31/01", bench.Answer(1, "28 00 00000005 00 0001 00"));
    }

    /// <summary>A sanitize whose last flush fails has not succeeded.</summary>
    [Fact]
    public async Task ItsFlushCounts()
    {
        await using var bench = Bench("discard");
        bench.Send("erase", 0, SanitizeAtOnce);
        bench.Settle();
        bench.Store.FlushFailure = new BackstoreException(BackstoreError.MediumWrite, "lost");
        bench.Release(All);
        Assert.Equal("03/31/03", bench.Answer(1, TestUnitReady));
        bench.Store.FlushFailure = null;
    }

    [Fact]
    public async Task ProgressIsReported()
    {
        await using var bench = new UnitBench(new GatedStore(BackstoreFeatures.Discard, blocks: 131072 * 4) { Gated = "discard" });
        bench.Send("erase", 0, SanitizeAtOnce);
        bench.Settle();
        Assert.Equal("02/04/1B", bench.Answer(0, TestUnitReady));
        Assert.Equal(0, Progress(bench));
        bench.Release("discard 0+131072");
        bench.Release("discard 131072+131072");
        int half = Progress(bench);
        Assert.Equal(0x8000, half);
        bench.Release("discard 262144+131072");
        Assert.True(Progress(bench) > half);
        bench.Store.Fail("discard 393216+131072", new BackstoreException(BackstoreError.MediumWrite, "broken"));
        bench.Settle();
        Assert.Equal("03/31/03", bench.Answer(0, TestUnitReady));
        // Another attempt begins at its beginning.
        bench.Send("again", 0, SanitizeAtOnce);
        bench.Settle();
        Assert.Equal(0, Progress(bench));
        bench.Store.Gated = "";
        bench.Release("discard 0+131072");
        Assert.Equal("Good", bench.Answer(0, TestUnitReady));
    }

    /// <summary>AUSE allows to leave the failure without another attempt (SBC-4 5.30.5), and it is left for good.</summary>
    [Fact]
    public async Task AFailureMayBeLeftWhereThatWasAllowed()
    {
        var state = new VolatileUnitState(UnitIdentity.IdOf("bench"));
        await using var bench = new UnitBench(new GatedStore(BackstoreFeatures.Discard) { Gated = "discard" }, state: state);
        bench.Send("erase", 0, "48 A2 0000000000 0000 00");
        bench.Settle();
        bench.Store.Fail(All, new BackstoreException(BackstoreError.MediumWrite, "broken"));
        bench.Settle();
        Assert.Equal("03/31/03", bench.Answer(1, TestUnitReady));
        await using (var next = new UnitBench(state: state)) Assert.Equal("03/31/03", next.Answer(0, TestUnitReady));
        Assert.Equal("05/24/00", bench.Answer(1, "48 1F 0000000000 0001 00"));
        Assert.Equal("Good", bench.Answer(1, "48 1F 0000000000 0000 00"));
        Assert.Equal("Good", bench.Answer(1, TestUnitReady));
        await using (var next = new UnitBench(state: state)) Assert.Equal("Good", next.Answer(0, TestUnitReady));
    }

    /// <summary>One that has succeeded is forgotten, also by the state that outlives the process.</summary>
    [Theory]
    [InlineData(Sanitize)]
    [InlineData(Format)]
    public async Task SuccessIsRemembered(string cdb)
    {
        var state = new VolatileUnitState(UnitIdentity.IdOf("bench"));
        await using var bench = new UnitBench(new GatedStore(BackstoreFeatures.Discard) { Gated = "discard" }, state: state);
        bench.Send("erase", 0, cdb);
        bench.Settle();
        await using (var next = new UnitBench(state: state)) Assert.Equal(cdb == Format ? "03/31/01" : "03/31/03", next.Answer(0, TestUnitReady));
        bench.Store.Gated = "";
        bench.Release(All);
        await using (var next = new UnitBench(state: state)) Assert.Equal("Good", next.Answer(0, TestUnitReady));
    }

    private static int Progress(UnitBench bench)
    {
        var sense = bench.Send("sense", 0, "03 00 00 00 FC 00");
        bench.Settle();
        return sense.DataIn[16] << 8 | sense.DataIn[17];
    }
}
