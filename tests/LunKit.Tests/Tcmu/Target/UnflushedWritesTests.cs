using LunKit.Backstores;
using LunKit.LogicalUnits;
using LunKit.Scsi;
using LunKit.Tcmu.Devices;
using LunKit.Tcmu.Ring;
using LunKit.Tcmu.Target;
using LunKit.Tests.LogicalUnits;

namespace LunKit.Tests.Tcmu.Target;

/// <summary>
/// A handler that has acknowledged writes and dies before it has flushed them: no initiator believes that they are durable, and nobody hears of a
/// loss where there is none.
/// </summary>
public sealed class UnflushedWritesTests
{
    private const string Flush = "35 00 00000000 00 0000 00", TestUnitReady = "00 00 00 00 00 00";
    private static readonly UserRingOptions s_once = new() { LossReportTime = TimeSpan.Zero };

    private static UserBench NewBench(int nexuses = 1) => new(s_once, nexuses);

    /// <summary>Sends a command, and lets the handler answer it.</summary>
    private static async Task<CommandResult> AnswerAsync(UserBench bench, ScriptedHandler handler, string cdb, byte[]? data = null, byte status = 0, int nexus = 0)
    {
        var sent = bench.SendAsync(cdb, data, nexus: nexus);
        handler.Complete(handler.Read(), status);
        return (await sent).Result;
    }

    private static async Task<CommandResult> WriteAsync(UserBench bench, ScriptedHandler handler, int nexus = 0)
    {
        var result = await AnswerAsync(bench, handler, UserBench.Write(5, 1), UserBench.Pattern(5, 1), nexus: nexus);
        Assert.Equal(ScsiStatus.Good, result.Status);
        return result;
    }

    private static async Task DieAsync(UserBench bench, ScriptedHandler handler)
    {
        handler.Dispose();
        await UserBench.UntilAsync(() => bench.Listener.Devices[0].ProcessId == 0, "the handler's end");
    }

    private static async Task ExpectAsync(Sense sense, UserBench bench, string cdb, int nexus = 0) => Assert.Equal(sense, (await bench.SendAsync(cdb, nexus: nexus)).Result.Sense);

    private static async Task ExpectGoodAsync(UserBench bench, string cdb, int nexus = 0) => Assert.Equal(ScsiStatus.Good, (await bench.SendAsync(cdb, nexus: nexus)).Result.Status);

    [Fact]
    public async Task EveryNexusIsToldAndItsNextFlushFails()
    {
        await using var bench = NewBench(nexuses: 2);
        var dying = new ScriptedHandler(bench.Path).Open();
        await WriteAsync(bench, dying);
        await DieAsync(bench, dying);
        await using var next = bench.Handle(new MemoryBackstore(1 << 20));
        for (int nexus = 0; nexus < 2; nexus++)
        {
            await ExpectAsync(UnflushedWrites.HandlerRestarted, bench, TestUnitReady, nexus);
            await ExpectAsync(OwedFailures.FlushFailed, bench, Flush, nexus);
            await ExpectGoodAsync(bench, Flush, nexus);
        }
        Assert.Equal(1, bench.Listener.Devices[0].Losses);
    }

    [Fact]
    public async Task ForAWhileAllFlushesOfAnInitiatorFail()
    {
        await using var bench = new UserBench(new UserRingOptions { LossReportTime = TimeSpan.FromSeconds(1) });
        var dying = new ScriptedHandler(bench.Path).Open();
        await WriteAsync(bench, dying);
        await DieAsync(bench, dying);
        await using var next = bench.Handle(new MemoryBackstore(1 << 20));
        await ExpectAsync(UnflushedWrites.HandlerRestarted, bench, Flush);
        long start = Environment.TickCount64;
        int failed = 0;
        while ((await bench.SendAsync(Flush)).Result.Status != ScsiStatus.Good)
        {
            failed++;
            await Task.Delay(50, TestContext.Current.CancellationToken);
        }
        Assert.True(failed > 1, $"{failed} flushes fail");
        Assert.InRange(Environment.TickCount64 - start, 950, 30_000);
    }

    [Theory]
    [InlineData("it was flushed")]
    [InlineData("it was flushed with 16 bytes")]
    [InlineData("it went past the cache")]
    [InlineData("nothing was written")]
    [InlineData("the write failed")]
    [InlineData("the handler says that its writes survive it")]
    [InlineData("the handler left in order")]
    public async Task NothingIsLostWhere(string reason)
    {
        await using var bench = NewBench();
        var dying = new ScriptedHandler(bench.Path).Open(survives: reason.Contains("survive", StringComparison.Ordinal));
        switch (reason)
        {
            case "it was flushed":
                await WriteAsync(bench, dying);
                await AnswerAsync(bench, dying, Flush);
                break;
            case "it was flushed with 16 bytes":
                await WriteAsync(bench, dying);
                await AnswerAsync(bench, dying, "91 00 0000000000000000 00000000 00 00");
                break;
            case "it went past the cache":
                await AnswerAsync(bench, dying, "2A 08 00000005 00 0001 00", UserBench.Pattern(5, 1));
                await AnswerAsync(bench, dying, "8A 08 0000000000000005 00000001 00 00", UserBench.Pattern(5, 1));
                break;
            case "nothing was written":
                await AnswerAsync(bench, dying, UserBench.Read(0, 1));
                await AnswerAsync(bench, dying, "1A 00 3F 00 FF 00");
                break;
            case "the write failed":
                await AnswerAsync(bench, dying, UserBench.Write(5, 1), UserBench.Pattern(5, 1), status: 0x08);
                break;
            case "the handler says that its writes survive it":
                await WriteAsync(bench, dying);
                break;
            default:
                await WriteAsync(bench, dying);
                dying.Ring.Say(Watch.HasLeft);
                break;
        }
        await DieAsync(bench, dying);
        await using var next = bench.Handle(new MemoryBackstore(1 << 20));
        await ExpectGoodAsync(bench, TestUnitReady);
        await ExpectGoodAsync(bench, Flush);
        Assert.Equal(0, bench.Listener.Devices[0].Losses);
    }

    [Theory]
    [InlineData("35 02 00000000 00 0000 00")]                   // IMMED: GOOD comes first
    [InlineData("35 00 00000100 00 0000 00")]                   // not all blocks
    [InlineData("35 00 00000000 00 0001 00")]
    [InlineData("91 00 0000000000000000 00000001 00 00")]
    public async Task AFlushOfAPartCoversNothing(string partial)
    {
        await using var bench = NewBench();
        var dying = new ScriptedHandler(bench.Path).Open();
        await WriteAsync(bench, dying);
        await AnswerAsync(bench, dying, partial);
        await DieAsync(bench, dying);
        await using var next = bench.Handle(new MemoryBackstore(1 << 20));
        await ExpectAsync(UnflushedWrites.HandlerRestarted, bench, TestUnitReady);
        await ExpectAsync(OwedFailures.FlushFailed, bench, partial);
        await ExpectGoodAsync(bench, Flush);
    }

    [Theory]
    [InlineData("41 08 00000000 00 0001 00", 512)]              // UNMAP is where others have FUA
    [InlineData("42 00 00000000 00 0018 00", 24)]
    [InlineData("89 00 0000000000000000 000000 01 00 00", 1024)]
    [InlineData("C5 00 00000000 00 0000 00", 0)]                // what nobody knows
    public async Task EveryCommandThatMayWriteCounts(string cdb, int bytes)
    {
        await using var bench = NewBench();
        var dying = new ScriptedHandler(bench.Path).Open();
        Assert.Equal(ScsiStatus.Good, (await AnswerAsync(bench, dying, cdb, new byte[bytes])).Status);
        await DieAsync(bench, dying);
        Assert.Equal(1, bench.Listener.Devices[0].Losses);
        await ExpectAsync(UnflushedWrites.HandlerRestarted, bench, Flush);
    }

    [Fact]
    public async Task AWriteThatEndsDuringAFlushIsNotCoveredByIt()
    {
        await using var bench = NewBench();
        var dying = new ScriptedHandler(bench.Path).Open();
        var write = bench.SendAsync(UserBench.Write(1, 1), UserBench.Pattern(1, 1));
        var written = dying.Read();
        var flush = bench.SendAsync(Flush);
        var flushed = dying.Read();
        dying.Complete(written);
        await write;
        dying.Complete(flushed);
        Assert.Equal(ScsiStatus.Good, (await flush).Result.Status);
        await DieAsync(bench, dying);
        Assert.Equal(1, bench.Listener.Devices[0].Losses);
    }

    [Fact]
    public async Task WhatWasOutFindsNoOldData()
    {
        await using var bench = NewBench(nexuses: 2);
        var dying = new ScriptedHandler(bench.Path).Open();
        await WriteAsync(bench, dying);
        // The flush would find nothing to flush, the read the old bytes; a compare must not be repeated, and has an end of its own.
        var flush = bench.SendAsync(Flush);
        var read = bench.SendAsync(UserBench.Read(5, 1), dataIn: 512, nexus: 1);
        var compare = bench.SendAsync("89 00 0000000000000000 000000 01 00 00", new byte[1024], nexus: 1);
        for (int i = 0; i < 3; i++) dying.Read();
        await DieAsync(bench, dying);
        Assert.Equal(OwedFailures.FlushFailed, (await flush).Result.Sense);
        Assert.Equal(UnflushedWrites.HandlerRestarted, (await read).Result.Sense);
        await using var next = bench.Handle(new MemoryBackstore(1 << 20));
        Assert.Equal(Sense.OutcomeUnknown, (await compare).Result.Sense);
        await ExpectAsync(UnflushedWrites.HandlerRestarted, bench, Flush);
        await ExpectGoodAsync(bench, Flush);
        await ExpectAsync(OwedFailures.FlushFailed, bench, Flush, nexus: 1);
    }

    [Fact]
    public async Task AnInitiatorThatLogsInAgainIsToldAllTheSame()
    {
        await using var bench = NewBench(nexuses: 2);
        var dying = new ScriptedHandler(bench.Path).Open();
        await WriteAsync(bench, dying);
        // One leaves before the handler dies, one after.
        bench.Nexus(0).Close();
        await DieAsync(bench, dying);
        bench.Nexus(1).Close();
        await using var next = bench.Handle(new MemoryBackstore(1 << 20));
        for (int i = 0; i < 2; i++)
        {
            var again = UserBench.Open($"iqn.test:{i}", bench.Unit);
            Assert.Equal(OwedFailures.FlushFailed, (await UserBench.SendAsync(again, Flush)).Result.Sense);
            Assert.Equal(ScsiStatus.Good, (await UserBench.SendAsync(again, Flush)).Result.Status);
        }
        // Who was not there has lost nothing.
        Assert.Equal(ScsiStatus.Good, (await UserBench.SendAsync(UserBench.Open("iqn.test:new", bench.Unit), Flush)).Result.Status);
    }

    /// <summary>An answer that was lost with its connection, or with its command's abort, has told nobody.</summary>
    [Fact]
    public async Task WhoMayNotHaveHeardItIsToldAgain()
    {
        await using var bench = NewBench(nexuses: 2);
        var dying = new ScriptedHandler(bench.Path).Open();
        await WriteAsync(bench, dying);
        await DieAsync(bench, dying);
        await using var next = bench.Handle(new MemoryBackstore(1 << 20));
        // The first one's connection is lost behind the answer.
        await ExpectAsync(UnflushedWrites.HandlerRestarted, bench, TestUnitReady);
        await ExpectAsync(OwedFailures.FlushFailed, bench, Flush);
        bench.Nexus(0).Close();
        var again = UserBench.Open("iqn.test:0", bench.Unit);
        Assert.Equal(OwedFailures.FlushFailed, (await UserBench.SendAsync(again, Flush)).Result.Sense);
        Assert.Equal(ScsiStatus.Good, (await UserBench.SendAsync(again, Flush)).Result.Status);
        // The flush of the second one is aborted before it is answered.
        await ExpectAsync(UnflushedWrites.HandlerRestarted, bench, TestUnitReady, nexus: 1);
        var flush = new TestCommand();
        var second = bench.Nexus(1).Luns.Find(0)!;
        flush.Prepare(second, TestUnit.Bytes(Flush), [], TaskAttribute.Simple);
        Assert.Equal(OwedFailures.FlushFailed, (await bench.Unit.ExecuteAsync(flush)).Sense);
        var aborted = bench.Unit.TaskManager.AbortTask(second, c => c == flush)!;
        bench.Unit.Complete(flush);
        await aborted;
        await ExpectAsync(OwedFailures.FlushFailed, bench, Flush, nexus: 1);
        await ExpectGoodAsync(bench, Flush, nexus: 1);
    }

    [Fact]
    public async Task AHandlerThatBreaksTheRingHasLostItsCacheToo()
    {
        await using var bench = NewBench();
        var liar = new ScriptedHandler(bench.Path).Open();
        await WriteAsync(bench, liar);
        liar.Ring.Say(Watch.HasLeft);
        liar.Mailbox.Tail = 0x10_0000;
        liar.Kick();
        await UserBench.UntilAsync(() => bench.Listener.Devices[0].Broken == 1, "breaking");
        await DieAsync(bench, liar);
        Assert.Equal(1, bench.Listener.Devices[0].Losses);
        await ExpectAsync(UnflushedWrites.HandlerRestarted, bench, Flush);
        await ExpectAsync(OwedFailures.FlushFailed, bench, Flush);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task LunKitsHandlersSayWhetherTheirWritesSurviveThem(bool file)
    {
        await using var bench = NewBench();
        string path = Path.GetTempFileName();
        IBackstore store = file ? FileBackstore.Open(new FileBackstoreOptions { Path = path, SizeBytes = 1 << 20 }) : new MemoryBackstore(1 << 20);
        await using (bench.Handle(store))
        {
            await UserBench.UntilAsync(() => bench.Listener.Devices[0].IsServed, "serving");
            Assert.Equal(file, bench.Listener.Devices[0].SurvivesHandler);
        }
        File.Delete(path);
    }

    /// <summary>A flush of a disk that is in the handler's memory promises nothing: its death, and its orderly end too, are a loss for whoever wrote.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task ADiskInTheHandlersMemoryIsLostWithItThoughItWasFlushed(bool inOrder)
    {
        await using var bench = NewBench();
        var dying = new ScriptedHandler(bench.Path).Open();
        dying.Declare(Durability.Nothing);
        await WriteAsync(bench, dying);
        await AnswerAsync(bench, dying, Flush);
        if (inOrder) dying.Ring.Say(Watch.HasLeft);
        await DieAsync(bench, dying);
        await using var next = bench.Handle(new MemoryBackstore(1 << 20));
        await ExpectAsync(UnflushedWrites.HandlerRestarted, bench, TestUnitReady);
        await ExpectAsync(OwedFailures.FlushFailed, bench, Flush);
        await ExpectGoodAsync(bench, Flush);
        Assert.Equal(1, bench.Listener.Devices[0].Losses);
    }

    /// <summary>
    /// Commands run as soon as the handler has the ring, and it may die before its message that it serves is read; or before it has done anything, as the next one does here.
    /// </summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task WhatOutlivesAHandlerIsKnownBeforeItServes(bool keepsModes)
    {
        await using var bench = NewBench();
        var dying = new ScriptedHandler(bench.Path).Open(serves: false);
        dying.Declare(Durability.Acknowledged, keepsModes);
        await WriteAsync(bench, dying);
        await AnswerAsync(bench, dying, "15 11 00 00 18 00", new byte[24]);
        await DieAsync(bench, dying);
        if (!keepsModes) await ExpectAsync(Sense.ModeParametersChanged, bench, TestUnitReady);
        var second = new ScriptedHandler(bench.Path).Open(serves: false);
        // It need not know that there was one before; what is behind the device is there.
        Assert.True(second.Grant.WasServed);
        await DieAsync(bench, second);
        await using var next = bench.Handle(new MemoryBackstore(1 << 20));
        // This one has not found what was kept.
        for (int i = 0; keepsModes && (await bench.SendAsync(TestUnitReady)).Result.Sense != Sense.ModeParametersChanged; i++) Assert.True(i < 2);
        await ExpectGoodAsync(bench, TestUnitReady);
        await ExpectGoodAsync(bench, Flush);
        Assert.Equal(0, bench.Listener.Devices[0].Losses);
    }

    /// <summary>A last flush that fails is one of what handlers before have written, too.</summary>
    [Fact]
    public async Task AFailedLastFlushConcernsWhatOutlivedTheHandlerBefore()
    {
        await using var bench = NewBench();
        var dying = new ScriptedHandler(bench.Path).Open(survives: true);
        await WriteAsync(bench, dying);
        await DieAsync(bench, dying);
        var leaving = new ScriptedHandler(bench.Path).Open(survives: true);
        leaving.Ring.Say(Watch.HasLeftUnflushed);
        await DieAsync(bench, leaving);
        await using var next = bench.Handle(new MemoryBackstore(1 << 20));
        await ExpectAsync(UnflushedWrites.HandlerRestarted, bench, TestUnitReady);
        await ExpectAsync(OwedFailures.FlushFailed, bench, Flush);
        Assert.Equal(1, bench.Listener.Devices[0].Losses);
    }

    /// <summary>A handler that says what nobody knows says nothing.</summary>
    [Theory]
    [InlineData(0u, Durability.Flushed, false)]
    [InlineData(1u, Durability.Acknowledged, false)]
    [InlineData(0x102u, Durability.Nothing, true)]
    [InlineData(0x103u, Durability.Flushed, true)]
    [InlineData(0x201u, Durability.Acknowledged, false)]
    [InlineData(0xFFFF_FEFFu, Durability.Flushed, false)]
    public void SurvivalIsReadFromAWord(uint word, object durability, bool keepsModes) => Assert.Equal(new Survival((Durability)durability, keepsModes, (word & 0x200) != 0), Survival.Of(word));
}
