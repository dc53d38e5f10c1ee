using LunKit.Backstores;
using LunKit.LogicalUnits;
using LunKit.Scsi;

namespace LunKit.Tests.LogicalUnits.Tasks;

/// <summary>What a block unit makes of its storage: space, sizes, failures, identity.</summary>
public class BlockUnitTests
{
    private const string Write = "2A 00 00000005 00 0001 00", LowSpace = "06/38/07";

    private sealed class CountingState : IUnitStateStore
    {
        private readonly UnitState _state = new() { Id = UnitIdentity.IdOf("counting") };

        public bool IsDurable => true;
        public int Saves { get; private set; }
        public UnitState Load() => _state;
        public void Save(UnitState state) => Saves++;
    }

    /// <summary>The identity of a new unit is on the disk before anybody sees it.</summary>
    [Fact]
    public async Task IdentityIsSavedAtOnce()
    {
        var state = new CountingState();
        await using var bench = new UnitBench(state: state);
        Assert.Equal(1, state.Saves);
    }

    [Theory]
    [InlineData(0, 0)]
    [InlineData(90, 90)]
    [InlineData(50, 50)]
    public async Task TheSoftThresholdIsToldOncePerCrossing(int percent, int threshold)
    {
        await using var bench = new UnitBench(options: new BlockUnitOptions { SoftThresholdPercent = percent });
        string? Check(double freePercent)
        {
            bench.Store.AvailableBytes = (long)(2048 * 512 * freePercent / 100);
            bench.Unit.CheckSoftThreshold();
            return bench.Attention(0)?.ToString();
        }

        Assert.Null(Check(100 - threshold + 0.5));
        Assert.Equal(threshold == 0 ? null : LowSpace, Check(100 - threshold - 0.5));
        Assert.Null(Check(0));
        Assert.Null(Check(100));
        Assert.Equal(threshold == 0 ? null : LowSpace, Check(0));
        Assert.Equal(threshold == 0 ? null : LowSpace, bench.Attention(2)?.ToString());
    }

    [Fact]
    public async Task ItIsNotToldWhereNobodyKnows()
    {
        await using var bench = new UnitBench();
        bench.Unit.CheckSoftThreshold();
        Assert.Null(bench.Attention(0));
    }

    [Fact]
    public async Task WritesLookAtTheSpaceNowAndThen()
    {
        await using var bench = new UnitBench();
        bench.Store.AvailableBytes = 0;
        for (int i = 1; i < 4096; i++) bench.Unit.CountWrite();
        Assert.Null(bench.Attention(0));
        Assert.Equal("Good", bench.Answer(1, Write, UnitBench.Filled(1, 1)));
        Assert.Equal(LowSpace, bench.Attention(0)?.ToString());
    }

    [Fact]
    public async Task AWriteThatFindsNoSpaceLooksToo()
    {
        await using var bench = new UnitBench(new GatedStore { Gated = "write" });
        bench.Store.AvailableBytes = 0;
        var write = bench.Send("write", 1, Write, UnitBench.Filled(1, 1));
        bench.Store.Fail("write 5+1", new BackstoreException(BackstoreError.NoSpace, "full"));
        bench.Settle();
        Assert.Equal("07/27/07", write.Answer);
        Assert.Equal(LowSpace, bench.Attention(0)?.ToString());
    }

    [Theory]
    [InlineData(BackstoreError.MediumWrite, "03/0C/00")]
    [InlineData(BackstoreError.MediumRead, "03/11/00")]
    [InlineData(BackstoreError.NoSpace, "07/27/07")]
    [InlineData(BackstoreError.ReadOnly, "07/27/00")]
    [InlineData(BackstoreError.Connecting, "02/04/01")]
    [InlineData(BackstoreError.Unreachable, "02/08/00")]
    [InlineData(BackstoreError.Internal, "03/0C/00")]
    [InlineData(BackstoreError.Busy, "Busy")]
    public async Task FailuresOfTheStorage(BackstoreError error, string answer)
    {
        await using var bench = new UnitBench(new GatedStore { Gated = "write" });
        long before = bench.Unit.Statistics.Failures;
        var write = bench.Send("write", 0, Write, UnitBench.Filled(1, 1));
        bench.Store.Fail("write 5+1", new BackstoreException(error, "broken", 7 * 512));
        bench.Settle();
        Assert.Equal(answer, write.Answer);
        Assert.Equal(before + 1, bench.Unit.Statistics.Failures);
        // The block that the storage names.
        if (answer.StartsWith("03", StringComparison.Ordinal)) Assert.Equal(7ul, write.Result!.Value.Detail.Information);
    }

    /// <summary>
    /// BUSY asks for the same again. A COMPARE AND WRITE that has written, and whose flush lacked memory, would find its own data and miscompare.
    /// </summary>
    [Theory]
    [InlineData("8A 00 0000000000000005 00000001 00 00", "Busy")]
    [InlineData("8A 08 0000000000000005 00000001 00 00", "Busy")]
    [InlineData("89 00 0000000000000005 00000001 00 00", "0B/08/00")]
    [InlineData("89 08 0000000000000005 00000001 00 00", "0B/08/00")]
    public async Task WhatMustNotBeDoneTwiceIsNotBusy(string cdb, string answer)
    {
        await using var bench = new UnitBench(new GatedStore { Gated = "write" });
        var write = bench.Send("write", 0, cdb, new byte[cdb[1] == '9' ? 1024 : 512]);
        bench.Settle();
        bench.Store.Fail(Assert.Single(bench.Store.Waiting), new BackstoreException(BackstoreError.Busy, "no thread"));
        bench.Settle();
        Assert.Equal(answer, write.Answer);
    }

    [Fact]
    public async Task FailuresOfAnotherKind()
    {
        await using var bench = new UnitBench(new GatedStore { Gated = "write read" });
        foreach (var (e, write, read) in new (Exception, string, string)[]
        {
            (new IOException("io"), "03/0C/00", "03/11/00"), (new InvalidOperationException("bug"), "04/44/00", "04/44/00"), (new InsufficientMemoryException(), "Busy", "Busy"),
            // Cancelled, and nobody has asked for it.
            (new OperationCanceledException(), "04/44/00", "04/44/00"),
        })
        {
            var w = bench.Send("write", 0, Write, UnitBench.Filled(1, 1));
            bench.Store.Fail("write 5+1", e);
            var r = bench.Read("read", 0, 5);
            bench.Store.Fail("read 5+1", e);
            bench.Settle();
            Assert.Equal((write, read), (w.Answer, r.Answer));
        }
        // Cancelled, because it was asked for.
        var aborted = bench.Read("read", 0, 5);
        var over = bench.Unit.TaskManager.Unmapped(bench.UnitNexus(0));
        bench.Store.Fail("read 5+1", new OperationCanceledException());
        bench.Settle();
        Assert.Equal("TaskAborted", aborted.Answer);
        Assert.Equal(ScsiStatus.TaskAborted, aborted.Result!.Value.Status);
        Assert.True(over.IsCompleted);
    }

    /// <summary>A compare of more blocks than the storage does as one step would not be atomic towards other users of it.</summary>
    [Theory]
    [InlineData(0, 255)]
    [InlineData(4096, 8)]
    public async Task CompareAndWriteIsAsLongAsTheStorageDoesIt(int bytes, int most)
    {
        var geometry = new BackstoreGeometry(2048 * 512) { CompareAndWriteBytes = bytes };
        await using var bench = new UnitBench(new GatedStore(BackstoreFeatures.CompareAndWrite) { Geometry = geometry });
        Assert.Equal(most, Math.Min(255, bench.Unit.MaxCompareBlocks));
        await using var other = new UnitBench(new GatedStore { Geometry = geometry });
        Assert.True(other.Unit.MaxCompareBlocks >= 8);
        Assert.Equal(255, Math.Min(255, other.Unit.MaxCompareBlocks));
    }

    [Fact]
    public async Task TheMediumMayBeTakenOut()
    {
        await using var bench = new UnitBench(options: new BlockUnitOptions { Removable = true });
        Assert.Equal("Good", bench.Answer(1, "1E 00 00 00 01 00"));
        Assert.Equal("05/53/02", bench.Answer(0, "1B 00 00 00 02 00"));
        Assert.Equal("Good", bench.Answer(1, "1E 00 00 00 00 00"));
        Assert.Equal("Good", bench.Answer(0, "1B 00 00 00 02 00"));
        Assert.Equal("02/3A/00", bench.Answer(0, "00 00 00 00 00 00"));
        Assert.Equal("02/3A/00", bench.Answer(1, Write, UnitBench.Filled(1, 1)));
        Assert.Equal("Good", bench.Answer(0, "1B 00 00 00 03 00"));
        Assert.Equal("06/28/00", bench.Answer(1, "00 00 00 00 00 00"));
        Assert.Equal("Good", bench.Answer(0, "00 00 00 00 00 00"));
        // A fixed disk stays where it is.
        await using var disk = new UnitBench();
        Assert.Equal("05/24/00", disk.Answer(0, "1B 00 00 00 02 00"));
        Assert.Equal("Good", disk.Answer(0, "1B 00 00 00 00 00"));
        Assert.Equal("Good", disk.Answer(0, "00 00 00 00 00 00"));
    }

    [Theory]
    [InlineData("28 00 00000800 00 0000 00", "05/21/00", 0x800)] // no block, behind the last
    [InlineData("28 00 000007FF 00 0001 00", "Good", 0)]
    [InlineData("28 00 000007FF 00 0002 00", "05/21/00", 0x800)]
    [InlineData("28 00 00000800 00 0001 00", "05/21/00", 0x800)]
    [InlineData("28 00 00000900 00 0001 00", "05/21/00", 0x900)]
    [InlineData("28 00 000007FF 00 0000 00", "Good", 0)]
    [InlineData("35 00 00000800 00 0000 00", "Good", 0)] // SYNCHRONIZE CACHE up to the end
    [InlineData("88 00 FFFFFFFFFFFFFFFF 00000001 00 00", "05/21/00", -1)]
    [InlineData("28 20 00000005 00 0001 00", "05/24/00", 0)] // RDPROTECT
    public async Task TheRangeIsThatOfTheMedium(string cdb, string answer, long information)
    {
        await using var bench = new UnitBench();
        var command = bench.Send("command", 0, cdb);
        bench.Settle();
        Assert.Equal(answer, command.Answer);
        if (answer == "05/21/00") Assert.Equal((ulong)information, command.Result!.Value.Detail.Information);
    }
}
