using LunKit.Backstores;
using LunKit.LogicalUnits;
using LunKit.Scsi;
using LunKit.Tcmu.Ring;
using LunKit.Tcmu.Target;
using LunKit.Tests.LogicalUnits;

namespace LunKit.Tests.Tcmu.Target;

/// <summary>A command whose initiator has its answer while its handler may still carry it out: nothing of it lands on what comes later.</summary>
public sealed class AbandonedCommandTests
{
    private static readonly UserRingOptions s_impatient = new() { CommandTimeout = TimeSpan.FromMilliseconds(300), ClosingTime = TimeSpan.FromMilliseconds(300) };

    private readonly SteppedClock _clock = new();

    private async Task<RingEntry> TimeOutAsync(UserBench bench, ScriptedHandler handler, string cdb, byte[]? data = null, int dataIn = 0)
    {
        var sent = bench.SendAsync(cdb, data, dataIn);
        var entry = handler.Read();
        _clock.Pass(s_impatient.CommandTimeout);
        Assert.Equal(Sense.LogicalUnitCommunicationFailure, (await sent).Result.Sense);
        return entry;
    }

    [Fact]
    public async Task ItsBlocksAreItsOwnUntilTheHandlerAnswers()
    {
        await using var bench = new UserBench(s_impatient, clock: _clock);
        using var handler = new ScriptedHandler(bench.Path).Open();
        var slow = await TimeOutAsync(bench, handler, UserBench.Write(8, 8), UserBench.Pattern(1, 8));
        var write = bench.SendAsync(UserBench.Write(15, 2), UserBench.Pattern(2, 2));
        var read = bench.SendAsync(UserBench.Read(8, 1), dataIn: 512);
        // Neighbours are not concerned.
        var beside = bench.SendAsync(UserBench.Write(16, 1), UserBench.Pattern(3, 1));
        var entry = handler.Read();
        Assert.Equal(16, entry.Cdb[5]);
        handler.Complete(entry);
        Assert.Equal(ScsiStatus.Good, (await beside).Result.Status);
        await Task.Delay(100, TestContext.Current.CancellationToken);
        Assert.NotEqual(RingOpcode.Command, handler.TryRead(new RingEntry()));
        Assert.False(write.IsCompleted || read.IsCompleted);
        // Now it is over.
        handler.Complete(slow);
        for (int i = 0; i < 2; i++) handler.Complete(handler.Read());
        Assert.Equal(ScsiStatus.Good, (await write).Result.Status);
        Assert.Equal(ScsiStatus.Good, (await read).Result.Status);
        Assert.Equal(0, bench.Unit.Tasks.Count - CountOfUnanswered(bench));
    }

    // The bench has no fabric that completes its commands.
    private static int CountOfUnanswered(UserBench bench) => bench.Unit.Tasks.Describe(100).Count(l => l.EndsWith("ended", StringComparison.Ordinal));

    [Fact]
    public async Task ItEndsWithItsHandler()
    {
        await using var bench = new UserBench(s_impatient, clock: _clock);
        var dying = new ScriptedHandler(bench.Path).Open();
        await TimeOutAsync(bench, dying, UserBench.Write(8, 8), UserBench.Pattern(1, 8));
        var write = bench.SendAsync(UserBench.Write(8, 1), UserBench.Pattern(2, 1));
        await Task.Delay(50, TestContext.Current.CancellationToken);
        Assert.False(write.IsCompleted);
        dying.Dispose();
        await using var next = bench.Handle(new MemoryBackstore(1 << 20));
        Assert.Equal(ScsiStatus.Good, (await write.WaitAsync(TimeSpan.FromSeconds(20), TestContext.Current.CancellationToken)).Result.Status);
    }

    [Fact]
    public async Task AReadLeavesNothingBehind()
    {
        await using var bench = new UserBench(s_impatient, clock: _clock);
        using var handler = new ScriptedHandler(bench.Path).Open();
        await TimeOutAsync(bench, handler, UserBench.Read(8, 1), dataIn: 512);
        var write = bench.SendAsync(UserBench.Write(8, 1), UserBench.Pattern(2, 1));
        handler.Complete(handler.Read());
        Assert.Equal(ScsiStatus.Good, (await write).Result.Status);
    }

    [Fact]
    public async Task WhatNobodyKnowsMayWriteEverywhere()
    {
        await using var bench = new UserBench(s_impatient, clock: _clock);
        using var handler = new ScriptedHandler(bench.Path).Open();
        var slow = await TimeOutAsync(bench, handler, "C5 00 00000000 00 0000 00");
        var read = bench.SendAsync(UserBench.Read(100, 1), dataIn: 512);
        await Task.Delay(100, TestContext.Current.CancellationToken);
        Assert.NotEqual(RingOpcode.Command, handler.TryRead(new RingEntry()));
        handler.Complete(slow);
        handler.Complete(handler.Read());
        Assert.Equal(ScsiStatus.Good, (await read).Result.Status);
    }

    // Block 5, and blocks 40 to 43.
    private static readonly byte[] s_unmap = [0, 38, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 40, 0, 0, 0, 4, 0, 0, 0, 0];

    /// <summary>Its blocks are in its data.</summary>
    [Fact]
    public async Task AnUnmapLeavesItsBlocksBehindAndNoOthers()
    {
        await using var bench = new UserBench(s_impatient, clock: _clock);
        using var handler = new ScriptedHandler(bench.Path).Open();
        var slow = await TimeOutAsync(bench, handler, "42 00 00000000 00 0028 00", s_unmap);
        var held = new[] { 5, 43 }.Select(lba => bench.SendAsync(UserBench.Write(lba, 1), UserBench.Pattern(1, 1))).ToList();
        foreach (int lba in (int[])[4, 6, 20, 39, 44, 1000])
        {
            var free = bench.SendAsync(UserBench.Read(lba, 1), dataIn: 512);
            var entry = handler.Read();
            Assert.Equal(lba, entry.Cdb[4] << 8 | entry.Cdb[5]);
            handler.Complete(entry);
            Assert.Equal(ScsiStatus.Good, (await free).Result.Status);
        }
        Assert.DoesNotContain(held, h => h.IsCompleted);
        handler.Complete(slow);
        foreach (var write in held) handler.Complete(handler.Read());
        foreach (var write in held) Assert.Equal(ScsiStatus.Good, (await write).Result.Status);
    }

    /// <summary>A list that is not understood here may mean any blocks, and no blocks may mean all that follow (WRITE SAME); EXTENDED COPY writes, too.</summary>
    [Theory]
    [InlineData("42 00 00000000 00 0004 00", 4, 1000, true)]
    [InlineData("93 00 0000000000000064 00000000 00 00", 512, 1000, true)]
    [InlineData("93 00 0000000000000064 00000000 00 00", 512, 99, false)]
    [InlineData("83 00 0000000000000000 00000010 00 00", 16, 1000, true)]
    public async Task WhatMayWriteABlockHasIt(string cdb, int bytes, int lba, bool isHeld)
    {
        await using var bench = new UserBench(s_impatient, clock: _clock);
        using var handler = new ScriptedHandler(bench.Path).Open();
        var slow = await TimeOutAsync(bench, handler, cdb, new byte[bytes]);
        var read = bench.SendAsync(UserBench.Read(lba, 1), dataIn: 512);
        if (isHeld)
        {
            await Task.Delay(100, TestContext.Current.CancellationToken);
            Assert.NotEqual(RingOpcode.Command, handler.TryRead(new RingEntry()));
            handler.Complete(slow);
        }
        handler.Complete(handler.Read());
        Assert.Equal(ScsiStatus.Good, (await read).Result.Status);
    }

    /// <summary>What waits for its blocks has the same time as what is with the handler.</summary>
    [Fact]
    public async Task WhatWaitsForItHasATimeOut()
    {
        await using var bench = new UserBench(s_impatient, clock: _clock);
        using var handler = new ScriptedHandler(bench.Path).Open();
        var slow = await TimeOutAsync(bench, handler, UserBench.Write(8, 8), UserBench.Pattern(1, 8));
        var write = bench.SendAsync(UserBench.Write(8, 1), UserBench.Pattern(2, 1));
        var swap = bench.SendAsync("89 00 0000000000000009 00000001 00 00", UserBench.Pattern(3, 2));
        long before = bench.Listener.Devices[0].TimedOut;
        await Task.Delay(300, TestContext.Current.CancellationToken);
        Assert.False(write.IsCompleted || swap.IsCompleted);
        _clock.Pass(s_impatient.CommandTimeout);
        foreach (var waiting in (Task<(CommandResult Result, byte[])>[])[write, swap])
            Assert.Equal(Sense.LogicalUnitCommunicationFailure, (await waiting.WaitAsync(TimeSpan.FromSeconds(20), TestContext.Current.CancellationToken)).Result.Sense);
        Assert.Equal(before + 2, bench.Listener.Devices[0].TimedOut);
        // The handler never sees them, and the unit goes on.
        handler.Complete(slow);
        var read = bench.SendAsync(UserBench.Read(8, 1), dataIn: 512);
        var entry = handler.Read();
        Assert.Equal(0x28, entry.Cdb[0]);
        handler.Complete(entry);
        Assert.Equal(ScsiStatus.Good, (await read).Result.Status);
    }

    /// <summary>A handler that hangs holds up neither the end of the unit nor the answers of its commands.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task TheUnitClosesWithoutAHandlerThatHangs(bool timesOut)
    {
        var options = (timesOut ? s_impatient : s_impatient with { CommandTimeout = TimeSpan.Zero }) with { LeavingTime = TimeSpan.FromMilliseconds(500) };
        await using var bench = new UserBench(options);
        using var handler = new ScriptedHandler(bench.Path).Open();
        var command = new TestCommand();
        var sent = bench.SendAsync(UserBench.Write(8, 8), UserBench.Pattern(1, 8), command: command);
        handler.Read();
        if (timesOut) Assert.Equal(Sense.LogicalUnitCommunicationFailure, (await sent).Result.Sense);
        var closing = bench.Unit.CloseAsync(TimeSpan.FromSeconds(20));
        var (result, _) = await sent.WaitAsync(TimeSpan.FromSeconds(20), TestContext.Current.CancellationToken);
        if (!timesOut) Assert.Equal(ScsiStatus.TaskAborted, result.Status);
        bench.Unit.Complete(command);
        Assert.True(await closing);
        Assert.Contains("hangs", Assert.IsType<IOException>(bench.Unit.ClosingFailure).Message);
    }
}
