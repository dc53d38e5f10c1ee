using LunKit.Backstores;
using LunKit.LogicalUnits;
using LunKit.Scsi;
using Microsoft.Extensions.Time.Testing;

namespace LunKit.Tests.LogicalUnits.Tasks;

/// <summary>
/// When acknowledged data is on the medium: every command that writes, with FUA, without it, and with the write cache off, over a storage that
/// notes its flushes, one that knows FUA and one that does not.
/// </summary>
public class DurabilityTests
{
    private const BackstoreFeatures Cached = BackstoreFeatures.VolatileCache | BackstoreFeatures.Discard | BackstoreFeatures.WriteZeroes | BackstoreFeatures.WriteSame;

    /// <summary>Name, CDB, the same with FUA (empty: it has none), data: "1" and "2" blocks, "z" a block of zeroes, "u" a list of UNMAP, "" none.</summary>
    public static TheoryData<string, string, string, string> Writes => new()
    {
        { "WRITE(6)", "0A 00 00 05 01 00", "", "1" },
        { "WRITE(10)", "2A 00 00000005 00 0001 00", "2A 08 00000005 00 0001 00", "1" },
        { "WRITE(12)", "AA 00 00000005 00000001 00 00", "AA 08 00000005 00000001 00 00", "1" },
        { "WRITE(16)", "8A 00 0000000000000005 00000001 00 00", "8A 08 0000000000000005 00000001 00 00", "1" },
        { "WRITE(32)", "7F 00 0000000000 18 000B 00 00 0000000000000005 00000000 0000 0000 00000001", "7F 00 0000000000 18 000B 08 00 0000000000000005 00000000 0000 0000 00000001", "1" },
        { "WRITE ATOMIC(16)", "9C 00 0000000000000005 0000 0001 00 00", "9C 08 0000000000000005 0000 0001 00 00", "1" },
        { "ORWRITE(16)", "8B 00 0000000000000005 00000001 00 00", "8B 08 0000000000000005 00000001 00 00", "1" },
        { "COMPARE AND WRITE", "89 00 0000000000000005 000000 01 00 00", "89 08 0000000000000005 000000 01 00 00", "c" },
        { "WRITE SAME(10)", "41 00 00000005 00 0002 00", "", "1" },
        { "WRITE SAME(16)", "93 00 0000000000000005 00000002 00 00", "", "1" },
        { "WRITE SAME(16), zeroes", "93 00 0000000000000005 00000002 00 00", "", "z" },
        { "WRITE SAME(16), NDOB", "93 01 0000000000000005 00000002 00 00", "", "" },
        { "WRITE SAME(16), UNMAP", "93 08 0000000000000005 00000002 00 00", "", "z" },
        { "WRITE SAME(16), UNMAP of data", "93 08 0000000000000005 00000002 00 00", "", "1" },
        { "WRITE SAME(32)", "7F 00 0000000000 18 000D 00 00 0000000000000005 00000000 0000 0000 00000002", "", "1" },
        { "UNMAP", "42 00 00000000 00 0018 00", "", "u" },
        // Always through to the medium.
        { "WRITE AND VERIFY(10)", "", "2E 00 00000005 00 0001 00", "1" },
        { "WRITE AND VERIFY(12)", "", "AE 00 00000005 00000001 00 00", "1" },
        { "WRITE AND VERIFY(16)", "", "8E 00 0000000000000005 00000001 00 00", "1" },
    };

    private static byte[] Data(string data) => data switch
    {
        "1" => UnitBench.Filled(1, 1),
        "z" => new byte[512],
        "c" => [.. new byte[512], .. UnitBench.Filled(1, 1)],
        "u" => [0, 22, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 2, 0, 0, 0, 0],
        _ => [],
    };

    [Theory]
    [MemberData(nameof(Writes))]
    public async Task EveryCommandThatWrites(string name, string plain, string forced, string data)
    {
        foreach (bool hasFua in new[] { false, true })
        {
            await using var bench = new UnitBench(new GatedStore(Cached | BackstoreFeatures.CompareAndWrite | (hasFua ? BackstoreFeatures.ForceUnitAccess : 0)));
            foreach (bool cache in new[] { true, false })
            {
                Assert.True(await bench.Unit.SetWriteCacheAsync(cache));
                bench.Attention(0);
                foreach (bool fua in new[] { false, true })
                {
                    string cdb = fua ? forced : plain;
                    if (cdb.Length == 0) continue;
                    if (data == "c") Assert.Equal("Good", bench.Answer(0, "41 00 00000005 00 0001 00", new byte[512]));
                    bench.Store.TakeLog();
                    Assert.Equal("Good", bench.Answer(0, cdb, Data(data)));
                    AssertDurable($"{name}, cache {cache}, FUA {fua}", fua || !cache, hasFua, bench.Store.TakeLog());
                }
            }
        }
    }

    private static void AssertDurable(string what, bool durable, bool hasFua, IReadOnlyList<string> log)
    {
        string text = $"{what}: {string.Join(", ", log)}";
        var writes = log.Where(l => l != "flush" && !l.StartsWith("read", StringComparison.Ordinal)).ToList();
        Assert.True(writes.Count > 0, text);
        if (!durable)
        {
            Assert.True(!log.Contains("flush") && !writes.Exists(w => w.EndsWith("fua", StringComparison.Ordinal)), text);
            return;
        }
        // A discard has no FUA of its own.
        bool isFlushed = log.ToList().LastIndexOf("flush") > log.ToList().LastIndexOf(writes[^1]);
        Assert.True(isFlushed || hasFua && writes.TrueForAll(w => w.EndsWith("fua", StringComparison.Ordinal)), text);
        // Once is enough, and by one way.
        Assert.True(log.Count(l => l == "flush") <= 1, text);
        if (hasFua && !writes.Exists(w => w.StartsWith("discard", StringComparison.Ordinal))) Assert.True(!log.Contains("flush"), text);
    }

    /// <summary>Without a volatile cache everything is durable, and nobody flushes.</summary>
    [Theory]
    [MemberData(nameof(Writes))]
    public async Task NothingIsFlushedWithoutACache(string name, string plain, string forced, string data)
    {
        await using var bench = new UnitBench(new GatedStore(BackstoreFeatures.Discard | BackstoreFeatures.WriteZeroes | BackstoreFeatures.WriteSame | BackstoreFeatures.CompareAndWrite));
        Assert.False(bench.Unit.IsWriteCacheEnabled);
        Assert.False(await bench.Unit.SetWriteCacheAsync(true));
        Assert.Equal("Good", bench.Answer(0, forced.Length > 0 ? forced : plain, Data(data)));
        var log = bench.Store.TakeLog();
        Assert.False(log.Contains("flush") || log.Any(l => l.EndsWith("fua", StringComparison.Ordinal)), $"{name}: {string.Join(", ", log)}");
    }

    /// <summary>A write in parts is flushed once, behind the last.</summary>
    [Fact]
    public async Task PartsAreFlushedOnce()
    {
        await using var bench = new UnitBench(new GatedStore(BackstoreFeatures.VolatileCache, blocks: 16384));
        Assert.True(await bench.Unit.SetWriteCacheAsync(false));
        bench.Attention(0);
        bench.Store.TakeLog();
        Assert.Equal("Good", bench.Answer(0, "93 00 0000000000000000 00001801 00 00", UnitBench.Filled(1, 1)));
        Assert.Equal(["write 0+2048", "write 2048+2048", "write 4096+2048", "write 6144+1 fua", "flush"], bench.Store.TakeLog());
        Assert.Equal("Good", bench.Answer(0, "93 01 0000000000000000 00001000 00 00"));
        Assert.Equal(["write 0+2048", "write 2048+2048 fua", "flush"], bench.Store.TakeLog());
    }

    [Theory]
    [InlineData("35 00 00000000 00 0000 00", "flush")]
    [InlineData("91 00 0000000000000000 00000000 00 00", "flush")]
    [InlineData("35 02 00000000 00 0000 00", "flush")]
    [InlineData("1B 00 00 00 00 00", "flush")] // stop
    [InlineData("1B 00 00 00 04 00", "")] // stop, NO_FLUSH
    [InlineData("1B 00 00 00 01 00", "")] // start
    [InlineData("1B 00 00 00 10 00", "")] // a power condition
    [InlineData("28 08 00000005 00 0001 00", "flush, read 5+1")] // FUA reads the medium
    [InlineData("28 00 00000005 00 0001 00", "read 5+1")]
    [InlineData("2F 00 00000005 00 0001 00", "read 5+1")]
    public async Task CommandsThatFlush(string cdb, string calls)
    {
        await using var bench = new UnitBench(new GatedStore(Cached));
        Assert.Equal("Good", bench.Answer(0, cdb));
        Assert.Equal(calls, string.Join(", ", bench.Store.TakeLog()));
    }

    [Theory]
    [InlineData("35 00 00000000 00 0000 00", false)]
    [InlineData("1B 00 00 00 00 00", false)]
    [InlineData("35 02 00000000 00 0000 00", true)]
    public async Task TheAnswerComesBehindTheFlush(string cdb, bool immediate)
    {
        await using var bench = new UnitBench(new GatedStore(Cached) { Gated = "flush" });
        var command = bench.Send("flush", 0, cdb);
        bench.Settle();
        Assert.Equal(immediate ? "Good" : null, command.Answer);
        bench.Release("flush");
        Assert.Equal("Good", command.Answer);
    }

    /// <summary>A flush that fails behind its answer is told by the next one of each initiator, also where what is behind tells it only once.</summary>
    [Fact]
    public async Task AFlushThatFailsUntoldIsToldByTheNext()
    {
        var time = new FakeTimeProvider();
        await using var bench = new UnitBench(new GatedStore(Cached) { FlushFailure = new InvalidOperationException("once") }, time: time);
        Assert.Equal("Good", bench.Answer(0, "35 02 00000000 00 0000 00"));
        bench.Store.FlushFailure = null;
        for (int nexus = 0; nexus < 2; nexus++)
        {
            Assert.Equal("04/0C/00", bench.Answer(nexus, "35 00 00000000 00 0000 00"));
            // Others of the same host flush, too.
            Assert.Equal("04/0C/00", bench.Answer(nexus, "91 00 0000000000000000 00000000 00 00"));
        }
        time.Advance(TimeSpan.FromSeconds(10));
        Assert.Equal("Good", bench.Answer(0, "35 00 00000000 00 0000 00"));
        bench.AddNexus();
        Assert.Equal("Good", bench.Answer(3, "35 00 00000000 00 0000 00"));
        Assert.Equal("04/0C/00", bench.Answer(2, "35 00 00000000 00 0000 00"));
    }

    [Fact]
    public async Task SwitchingTheCacheOffFlushes()
    {
        await using var bench = new UnitBench(new GatedStore(Cached) { Gated = "flush" });
        Assert.True(bench.Unit.IsWriteCacheEnabled);
        Assert.True(await bench.Unit.SetWriteCacheAsync(true));
        Assert.Null(bench.Attention(0));
        var off = bench.Unit.SetWriteCacheAsync(false).AsTask();
        Assert.False(off.IsCompleted);
        Assert.Equal("06/2A/01", bench.Attention(1)?.ToString());
        bench.Release("flush");
        Assert.True(await off);
        Assert.False(bench.Unit.IsWriteCacheEnabled);
        bench.Store.TakeLog();
        Assert.True(await bench.Unit.SetWriteCacheAsync(true));
        Assert.Empty(bench.Store.TakeLog());
    }

    private static byte[] Caching(bool wce) => [0, 0, 0, 0, 0x08, 18, (byte)(wce ? 4 : 0), .. new byte[17]];

    /// <summary>An initiator that finds the cache off flushes no more: the answer of MODE SELECT comes behind the flush.</summary>
    [Fact]
    public async Task ModeSelectThatSwitchesTheCacheOffFlushes()
    {
        await using var bench = new UnitBench(new GatedStore(Cached) { Gated = "flush" });
        Assert.Equal("Good", bench.Answer(0, "15 10 00 00 18 00", Caching(true)));
        Assert.Empty(bench.Store.TakeLog());
        var select = bench.Send("select", 0, "15 10 00 00 18 00", Caching(false));
        bench.Settle();
        Assert.False(bench.Unit.IsWriteCacheEnabled);
        Assert.Null(select.Answer);
        bench.Release("flush");
        Assert.Equal("Good", select.Answer);
        Assert.Equal(["flush"], bench.Store.TakeLog());
        // One whose flush fails has not succeeded.
        bench.Store.Gated = "";
        bench.Store.FlushFailure = new BackstoreException(BackstoreError.MediumWrite, "lost");
        Assert.StartsWith("03/", bench.Answer(0, "15 10 00 00 18 00", Caching(false)), StringComparison.Ordinal);
    }

    /// <summary>A reset restores the saved WCE = 0: nobody flushes any more, so the unit does, before it answers.</summary>
    [Fact]
    public async Task AResetThatSwitchesTheCacheOffFlushes()
    {
        await using var bench = new UnitBench(new GatedStore(Cached));
        Assert.Equal("Good", bench.Answer(0, "15 11 00 00 18 00", Caching(false)));
        Assert.Equal("Good", bench.Answer(0, "15 10 00 00 18 00", Caching(true)));
        Assert.True(bench.Unit.IsWriteCacheEnabled);
        bench.Write("write", 0, 5);
        bench.Settle();
        bench.Store.TakeLog();
        bench.Store.Gated = "flush";
        var over = bench.Unit.TaskManager.Reset(bench.UnitNexus(0), Sense.BusDeviceResetOccurred);
        bench.Settle();
        Assert.False(bench.Unit.IsWriteCacheEnabled);
        Assert.False(over.IsCompleted);
        bench.Release("flush");
        Assert.True(over.IsCompleted);
        // Once: it was off before the next one.
        bench.Store.TakeLog();
        Assert.True(bench.Unit.TaskManager.Reset(bench.UnitNexus(0), Sense.BusDeviceResetOccurred).IsCompleted);
        Assert.Empty(bench.Store.TakeLog());
    }

    [Fact]
    public async Task AResetThatLeavesTheCacheOnDoesNot()
    {
        await using var bench = new UnitBench(new GatedStore(Cached));
        Assert.True(bench.Unit.TaskManager.Reset(bench.UnitNexus(0), Sense.BusDeviceResetOccurred).IsCompleted);
        Assert.Empty(bench.Store.TakeLog());
        await using var plain = new UnitBench(new GatedStore());
        Assert.True(plain.Unit.TaskManager.Reset(plain.UnitNexus(0), Sense.BusDeviceResetOccurred).IsCompleted);
        Assert.Empty(plain.Store.TakeLog());
    }

    /// <summary>The flush of a reset that fails is no reason to leave the reset unanswered.</summary>
    [Fact]
    public async Task AResetWhoseFlushFailsIsAnswered()
    {
        await using var bench = new UnitBench(new GatedStore(Cached));
        Assert.Equal("Good", bench.Answer(0, "15 11 00 00 18 00", Caching(false)));
        Assert.Equal("Good", bench.Answer(0, "15 10 00 00 18 00", Caching(true)));
        bench.Store.FlushFailure = new BackstoreException(BackstoreError.MediumWrite, "lost");
        var over = bench.Unit.TaskManager.Reset(bench.UnitNexus(0), Sense.BusDeviceResetOccurred);
        Assert.True(over.IsCompletedSuccessfully);
    }
}
