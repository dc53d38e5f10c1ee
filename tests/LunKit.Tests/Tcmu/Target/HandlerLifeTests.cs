using LunKit.Backstores;
using LunKit.Linux;
using LunKit.LogicalUnits;
using LunKit.Scsi;
using LunKit.Tcmu;
using LunKit.Tcmu.Devices;
using LunKit.Tcmu.Ring;
using LunKit.Tcmu.Target;
using LunKit.Tests.LogicalUnits;

namespace LunKit.Tests.Tcmu.Target;

/// <summary>
/// The contingencies of the TCMU design: a handler that never comes, hangs, dies, or is replaced. All bounded, and no command ends twice or
/// is lost.
/// </summary>
public sealed class HandlerLifeTests
{
    private static readonly UserRingOptions s_impatient = new() { CommandTimeout = TimeSpan.FromMilliseconds(400), QueueTimeout = TimeSpan.FromMilliseconds(300) };

    [Fact]
    public async Task AHandlerAnswersAndTheDataIsRight()
    {
        await using var bench = new UserBench();
        await using var handler = bench.Handle(new MemoryBackstore(1 << 20));
        var random = new Random(1);
        foreach (int blocks in new[] { 1, 3, 8, 33, 128, 512 })
        {
            int lba = random.Next(1024);
            var data = UserBench.Pattern(blocks, blocks);
            Assert.Equal(ScsiStatus.Good, (await bench.SendAsync(UserBench.Write(lba, blocks), data)).Result.Status);
            var (result, read) = await bench.SendAsync(UserBench.Read(lba, blocks), dataIn: data.Length);
            Assert.Equal(ScsiStatus.Good, result.Status);
            Assert.Equal(data, read);
        }
        var (inquiry, bytes) = await bench.SendAsync("12 00 00 00 FF 00", dataIn: 255);
        Assert.Equal(ScsiStatus.Good, inquiry.Status);
        Assert.Equal("LUNKIT", System.Text.Encoding.ASCII.GetString(bytes, 8, 6));
        // What the target keeps to itself: registrations.
        Assert.Equal(ScsiStatus.Good, (await bench.SendAsync("5F 00 00 00 00 00 00 00 18 00", [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0])).Result.Status);
        var (keys, list) = await bench.SendAsync("5E 00 00 00 00 00 00 00 20 00", dataIn: 32);
        Assert.Equal(7, list[15]);
        Assert.Equal(ScsiStatus.Good, keys.Status);
        // And what neither knows.
        Assert.Equal(Sense.InvalidOpcode, (await bench.SendAsync("C1 00 00 00 00 00 00 00 00 00")).Result.Sense);
        Assert.Equal(Sense.LbaOutOfRange, (await bench.SendAsync(UserBench.Read(2048, 1), dataIn: 512)).Result.Sense);
    }

    [Fact]
    public async Task LongerAndShorterBuffersGiveTheTrueLength()
    {
        await using var bench = new UserBench();
        await using var handler = bench.Handle(new MemoryBackstore(1 << 20));
        // The initiator's buffer is shorter than the command's data: the length is the command's, for the residual.
        Assert.Equal(1024, (await bench.SendAsync(UserBench.Read(0, 2), dataIn: 512)).Result.DataInLength);
        Assert.Equal(1024, (await bench.SendAsync(UserBench.Read(0, 2), dataIn: 4096)).Result.DataInLength);
        int full = (await bench.SendAsync("12 00 00 00 FF 00", dataIn: 255)).Result.DataInLength;
        Assert.Equal(full, (await bench.SendAsync("12 00 00 00 FF 00", dataIn: 16)).Result.DataInLength);
    }

    [Fact]
    public async Task CommandsWaitForTheFirstHandler()
    {
        await using var bench = new UserBench();
        var early = bench.SendAsync(UserBench.Write(5, 1), UserBench.Pattern(5, 1));
        await Task.Delay(50, TestContext.Current.CancellationToken);
        Assert.False(early.IsCompleted);
        await using var handler = bench.Handle(new MemoryBackstore(1 << 20));
        Assert.Equal(ScsiStatus.Good, (await early).Result.Status);
        Assert.Equal(UserBench.Pattern(5, 1), (await bench.SendAsync(UserBench.Read(5, 1), dataIn: 512)).Data);
    }

    [Fact]
    public async Task WithoutAHandlerCommandsFailInTimeAndCanBeRepeated()
    {
        var clock = new SteppedClock();
        await using var bench = new UserBench(s_impatient, clock: clock);
        var early = bench.SendAsync(UserBench.Read(0, 1), dataIn: 512);
        clock.Pass(s_impatient.CommandTimeout - TimeSpan.FromMilliseconds(10));
        await Task.Delay(500, TestContext.Current.CancellationToken);
        Assert.False(early.IsCompleted);
        clock.Pass(TimeSpan.FromMilliseconds(10));
        Assert.Equal(Sense.LogicalUnitCommunicationFailure, (await early).Result.Sense);
        await using var handler = bench.Handle(new MemoryBackstore(1 << 20));
        await UserBench.UntilAsync(() => bench.Listener.Devices[0].IsServed, "serving");
        Assert.Equal(ScsiStatus.Good, (await bench.SendAsync(UserBench.Read(0, 1), dataIn: 512)).Result.Status);
    }

    [Fact]
    public async Task AHangingHandlerTimesOutAndItsLateAnswerHurtsNobody()
    {
        var clock = new SteppedClock();
        await using var bench = new UserBench(s_impatient, clock: clock);
        var other = bench.AddDevice("other", subtype: "other");
        using var hanging = new ScriptedHandler(bench.Path).Open();
        await using var scope = other;
        await using var handler = bench.Handle(new MemoryBackstore(1 << 20), "other");
        var slow = bench.SendAsync(UserBench.Read(0, 1), dataIn: 512);
        var entry = hanging.Read();
        // The other device never notices.
        var nexus = UserBench.Open("iqn.test:other", other);
        Assert.Equal(ScsiStatus.Good, (await UserBench.SendAsync(nexus, UserBench.Read(0, 1), dataIn: 512)).Result.Status);
        clock.Pass(s_impatient.CommandTimeout);
        Assert.Equal(Sense.LogicalUnitCommunicationFailure, (await slow).Result.Sense);
        // Its id and its data are still the handler's; the next command has others.
        var next = bench.SendAsync(UserBench.Read(1, 1), dataIn: 512);
        var second = hanging.Read();
        Assert.NotEqual(entry.Id, second.Id);
        entry.Data.CopyFrom(UserBench.Pattern(99, 1));
        hanging.Complete(entry);
        second.Data.CopyFrom(UserBench.Pattern(7, 1));
        hanging.Complete(second);
        Assert.Equal(UserBench.Pattern(7, 1), (await next).Data);
    }

    [Fact]
    public async Task TheNextHandlerFinishesWhatADeadOneLeft()
    {
        await using var bench = new UserBench();
        var dying = new ScriptedHandler(bench.Path).Open(survives: true);
        await UserBench.UntilAsync(() => bench.Listener.Devices[0].SurvivesHandler, "the declaration");
        var sent = Enumerable.Range(0, 6).Select(i => bench.SendAsync(UserBench.Write(i, 1), UserBench.Pattern(i, 1))).ToList();
        var entries = sent.Select(_ => dying.Read()).ToList();
        // Out of order: these two completions take the slots of commands 0 and 1, which stay open.
        dying.Complete(entries[4]);
        dying.Complete(entries[2]);
        Assert.Equal(ScsiStatus.Good, (await sent[4]).Result.Status);
        Assert.Equal(ScsiStatus.Good, (await sent[2]).Result.Status);
        // What it was sent it has written over, as an encrypting handler may.
        foreach (var entry in entries) entry.Data.Clear();
        dying.Dispose();
        Assert.False(sent[0].IsCompleted);

        var store = new MemoryBackstore(1 << 20);
        await using var next = bench.Handle(store);
        foreach (int i in new[] { 0, 1, 3, 5 })
        {
            Assert.Equal(ScsiStatus.Good, (await sent[i]).Result.Status);
            Assert.Equal(UserBench.Pattern(i, 1), (await bench.SendAsync(UserBench.Read(i, 1), dataIn: 512)).Data);
        }
    }

    [Fact]
    public async Task AnAbortedCommandEndsWithItsHandlerAndDoesNotComeAgain()
    {
        await using var bench = new UserBench();
        var dying = new ScriptedHandler(bench.Path).Open();
        var command = new TestCommand();
        var aborted = bench.SendAsync(UserBench.Write(0, 1), UserBench.Pattern(1, 1), command: command);
        var other = bench.SendAsync(UserBench.Read(1, 1), dataIn: 512);
        dying.Read();
        dying.Read();
        bench.Unit.Tasks.Abort(c => c == command, _ => true);
        dying.Dispose();
        // Long before a command may take no longer (30 s): whoever has aborted it waits for this.
        Assert.Equal(ScsiStatus.TaskAborted, (await aborted.WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken)).Result.Status);
        using var next = new ScriptedHandler(bench.Path).Open();
        var entry = next.Read();
        Assert.Equal(0x28, entry.Cdb[0]);
        next.Complete(entry);
        await other;
        Assert.Null(next.TryRead(new RingEntry()));
    }

    [Fact]
    public async Task OutstandingCommandsComeAgainInTheirOrder()
    {
        await using var bench = new UserBench();
        var dying = new ScriptedHandler(bench.Path).Open();
        var sent = Enumerable.Range(0, 5).Select(i => bench.SendAsync(UserBench.Read(i, 1), dataIn: 512)).ToList();
        for (int i = 0; i < 3; i++) dying.Read();
        dying.Dispose();
        var late = bench.SendAsync(UserBench.Read(5, 1), dataIn: 512);
        using var next = new ScriptedHandler(bench.Path).Open();
        for (int i = 0; i < 6; i++)
        {
            var entry = next.Read();
            Assert.Equal(i, entry.Cdb[5]);
            next.Complete(entry);
        }
        await Task.WhenAll(sent.Append(late));
    }

    [Fact]
    public async Task WhatMustNotRunTwiceEndsSoThatTheInitiatorLooks()
    {
        await using var bench = new UserBench();
        var dying = new ScriptedHandler(bench.Path).Open();
        var begun = bench.SendAsync("89 00 0000000000000000 000000 01 00 00", new byte[1024]);
        dying.Read();
        dying.Dispose();
        await using var next = bench.Handle(new MemoryBackstore(1 << 20));
        Assert.Equal(Sense.OutcomeUnknown, (await begun).Result.Sense);
        // The unit goes on.
        Assert.Equal(ScsiStatus.Good, (await bench.SendAsync("89 00 0000000000000000 000000 01 00 00", new byte[1024])).Result.Status);
    }

    [Fact]
    public async Task WhatAHandlerThatLeftInOrderHadNotBegunRunsOnce()
    {
        await using var bench = new UserBench();
        using (var leaving = new ScriptedHandler(bench.Path).Open())
        {
            var waiting = bench.SendAsync("89 00 0000000000000000 000000 01 00 00", new byte[1024]);
            await UserBench.UntilAsync(() => bench.Unit.CommandCount == 1, "posting");
            leaving.Ring.Say(Watch.HasLeft);
            leaving.Dispose();
            await using var next = bench.Handle(new MemoryBackstore(1 << 20));
            Assert.Equal(ScsiStatus.Good, (await waiting).Result.Status);
        }
    }

    [Fact]
    public async Task AHandlerIsReplacedUnderLoadWithoutAnError()
    {
        await using var bench = new UserBench(nexuses: 4);
        var store = new KeptStore(new MemoryBackstore(1 << 20));
        var handler = bench.Handle(store);
        using var stop = new CancellationTokenSource();
        int commands = 0;
        var writers = Enumerable.Range(0, 4).Select(n => WriteAsync(bench, n, () => Interlocked.Increment(ref commands), stop.Token)).ToList();
        // However slow the machine is, commands run through the changes.
        for (int i = 0; i < 8 || Volatile.Read(ref commands) < 100; i++)
        {
            // The new one is there, and waits for the device, before the old one goes.
            var next = bench.Handle(store);
            await Task.Delay(30, TestContext.Current.CancellationToken);
            await handler.DisposeAsync();
            handler = next;
        }
        await stop.CancelAsync();
        await Task.WhenAll(writers);
        await handler.DisposeAsync();
    }

    private static async Task WriteAsync(UserBench bench, int nexus, Action written, CancellationToken stop)
    {
        for (int count = 0; !stop.IsCancellationRequested; count++)
        {
            int lba = nexus * 256 + count % 64;
            var data = UserBench.Pattern(count * 4 + nexus, 2);
            Assert.Equal(ScsiStatus.Good, (await bench.SendAsync(UserBench.Write(lba, 2), data, nexus: nexus)).Result.Status);
            Assert.Equal(data, (await bench.SendAsync(UserBench.Read(lba, 2), dataIn: 1024, nexus: nexus)).Data);
            written();
            await Task.Yield();
        }
    }

    [Fact]
    public async Task OneHandlerAtATimeHasADevice()
    {
        await using var bench = new UserBench();
        using var first = new ScriptedHandler(bench.Path).Open();
        using var second = new ScriptedHandler(bench.Path);
        // It is not even offered while somebody has it, and cannot be had by number.
        Assert.Null(second.Receive(200));
        second.Channel.Send(UserMessages.Open(first.Added.DeviceId));
        Assert.Equal(Errno.EBUSY, second.Receive()?.User?.Error);
        second.Channel.Send(UserMessages.Open(4711));
        Assert.Equal(Errno.ENODEV, second.Receive()?.User?.Error);
        first.Dispose();
        second.Open();
        Assert.Equal(Errno.None, second.Grant.Error);
    }

    [Fact]
    public async Task ARefusedDeviceIsOfferedAgainAfterAPause()
    {
        await using var bench = new UserBench();
        using var handler = new ScriptedHandler(bench.Path).Open(serves: false);
        handler.Reply(Errno.ENOSPC);
        handler.Dispose();
        await UserBench.UntilAsync(() => bench.Listener.Devices[0] is { LastError: Errno.ENOSPC, ProcessId: 0 }, "refusing");
        long start = Environment.TickCount64;
        using var next = new ScriptedHandler(bench.Path).Open();
        Assert.InRange(Environment.TickCount64 - start, 500, 15_000);
    }

    [Fact]
    public async Task DifferentSubtypesHaveDifferentHandlers()
    {
        await using var bench = new UserBench();
        await using var other = bench.AddDevice("b", subtype: "other");
        await using var handler = bench.Handle(new MemoryBackstore(1 << 20));
        await using var another = bench.Handle(new NullBackstore(new BackstoreGeometry(1 << 20)), "other");
        var nexus = UserBench.Open("iqn.test:b", other);
        var data = UserBench.Pattern(3, 1);
        await bench.SendAsync(UserBench.Write(0, 1), data);
        await UserBench.SendAsync(nexus, UserBench.Write(0, 1), data);
        Assert.Equal(data, (await bench.SendAsync(UserBench.Read(0, 1), dataIn: 512)).Data);
        Assert.Equal(new byte[512], (await UserBench.SendAsync(nexus, UserBench.Read(0, 1), dataIn: 512)).Data);
    }

    [Fact]
    public async Task TheTargetMayComeAndGo()
    {
        string path = $"@lunkit-test-{Environment.ProcessId}-again";
        var store = new MemoryBackstore(1 << 20);
        var kept = new KeptStore(store);
        await using var handler = TcmuHandler.Connect(path, new Dictionary<string, TcmuHandlerFactory> { ["test"] = (_, _) => ValueTask.FromResult<IBackstore>(kept) });
        for (int i = 0; i < 2; i++)
        {
            using var listener = new HandlerListener(path, Microsoft.Extensions.Logging.Abstractions.NullLogger.Instance);
            await using var unit = listener.Add(new UserDeviceOptions { Config = "test/x", Name = "x", SizeBytes = 1 << 20, Identity = new UnitIdentity { Name = "x", Id = UnitIdentity.IdOf("x") } });
            var nexus = UserBench.Open("iqn.test:x", unit);
            if (i == 1) Assert.Equal(UserBench.Pattern(8, 1), (await UserBench.SendAsync(nexus, UserBench.Read(8, 1), dataIn: 512)).Data);
            Assert.Equal(ScsiStatus.Good, (await UserBench.SendAsync(nexus, UserBench.Write(8, 1), UserBench.Pattern(8, 1))).Result.Status);
        }
    }

    /// <summary>Where no thread is left for a handler it is turned away, and comes again; the target goes on.</summary>
    [Fact]
    public async Task AHandlerForWhichThereIsNoThreadComesAgain()
    {
        string path = $"@lunkit-test-{Environment.ProcessId}-threads";
        int refusals = 2;
        using var listener = new HandlerListener(path, Microsoft.Extensions.Logging.Abstractions.NullLogger.Instance)
        {
            StartThread = thread =>
            {
                if (Interlocked.Decrement(ref refusals) >= 0) throw new InsufficientMemoryException("no thread is left");
                thread.Start();
            },
        };
        await using var unit = listener.Add(new UserDeviceOptions { Config = "test/x", Name = "x", SizeBytes = 1 << 20, Identity = new UnitIdentity { Name = "x", Id = UnitIdentity.IdOf("x") } });
        await using var handler = TcmuHandler.Connect(path, new Dictionary<string, TcmuHandlerFactory> { ["test"] = (_, _) => ValueTask.FromResult<IBackstore>(new MemoryBackstore(1 << 20)) });
        await UserBench.UntilAsync(() => listener.Devices[0].IsServed, "serving");
    }

    /// <summary>Memory that outlives the units over it, as a file does.</summary>
    private sealed class KeptStore(MemoryBackstore inner) : IBackstore
    {
        public BackstoreGeometry Geometry => inner.Geometry;
        public BackstoreFeatures Features => inner.Features & BackstoreFeatures.Concurrent;
        public ValueTask ReadAsync(long offset, DataBuffer data, CancellationToken cancellationToken) => inner.ReadAsync(offset, data, cancellationToken);
        public ValueTask WriteAsync(long offset, DataBuffer data, WriteOptions options, CancellationToken cancellationToken) => inner.WriteAsync(offset, data, options, cancellationToken);
        public ValueTask FlushAsync(CancellationToken cancellationToken) => ValueTask.CompletedTask;
        public ValueTask DisposeAsync() => ValueTask.CompletedTask;
    }
}
