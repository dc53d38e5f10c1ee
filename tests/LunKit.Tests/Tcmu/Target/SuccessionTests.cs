using LunKit.Backstores;
using LunKit.Linux;
using LunKit.LogicalUnits;
using LunKit.Scsi;
using LunKit.Targets;
using LunKit.Tcmu;
using LunKit.Tcmu.Devices;
using LunKit.Tcmu.Target;
using LunKit.Tests.LogicalUnits;

namespace LunKit.Tests.Tcmu.Target;

/// <summary>
/// A handler comes after another while initiators stay connected: what they believe of the disk holds on, or they hear that it does not.
/// </summary>
public sealed class SuccessionTests
{
    private const string Flush = "35 00 00000000 00 0000 00", TestUnitReady = "00 00 00 00 00 00", Sanitize = "48 82 00000000 0000 00";
    // MODE SELECT(6) of the caching page with WCE = 0, its data, and MODE SENSE(6) of the page.
    private const string Select = "15 10 00 00 18 00", SelectAndSave = "15 11 00 00 18 00", SenseCaching = "1A 08 08 00 40 00", SenseSaved = "1A 08 C8 00 40 00";
    private static readonly byte[] s_writeThrough = [0, 0, 0, 0, 0x08, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

    private static readonly byte[] s_writeBack = [0, 0, 0, 0, 0x08, 0x12, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

    private readonly string _folder = Directory.CreateTempSubdirectory("lunkit-succession-").FullName;

    /// <summary>A disk with a page cache: what it acknowledges outlives the process, if the flush succeeds.</summary>
    private sealed class Cached(IBackstore inner) : BackstoreFilter(inner, AllFeatures)
    {
        public bool Fails { get; set; }
        public override BackstoreFeatures Features => (Inner.Features | BackstoreFeatures.VolatileCache | BackstoreFeatures.SurvivesProcess) & ~BackstoreFeatures.Ephemeral;
        public override ValueTask FlushAsync(CancellationToken cancellationToken) =>
            Fails ? throw new BackstoreException(BackstoreError.NoSpace, "no space left for what is in the page cache") : ValueTask.CompletedTask;
    }

    private static Cached Disk() => new(new MemoryBackstore(1 << 20));

    private static async Task<bool> IsCacheOnAsync(UserBench bench) => ((await bench.SendAsync(SenseCaching, dataIn: 64)).Data[6] & 4) != 0;

    private static Task ServedAsync(UserBench bench) => UserBench.UntilAsync(() => bench.Listener.Devices[0].IsServed, "served");

    private static Task GoneAsync(UserBench bench) => UserBench.UntilAsync(() => bench.Listener.Devices[0].ProcessId == 0, "the handler's end");

    /// <summary>A handler whose units keep their state in a file.</summary>
    private TcmuHandler HandleDurably(UserBench bench, List<TcmuConfig>? seen = null) => TcmuHandler.Connect(bench.Path, new Dictionary<string, TcmuUnitFactory>
    {
        ["test"] = (config, _) =>
        {
            seen?.Add(config);
            return ValueTask.FromResult<LogicalUnit>(new BlockUnit(
                Disk(), "disk", FileUnitState.Lock($"{_folder}/state"), new BlockUnitOptions { Identity = config.Identity, Succession = config.Succession }));
        },
    });

    [Fact]
    public async Task ALastFlushThatFailsIsHeardOf()
    {
        await using var bench = new UserBench();
        var store = Disk();
        var handler = bench.Handle(store);
        Assert.Equal(ScsiStatus.Good, (await bench.SendAsync(UserBench.Write(5, 1), UserBench.Pattern(5, 1))).Result.Status);
        store.Fails = true;
        await handler.DisposeAsync();
        await GoneAsync(bench);
        Assert.Equal(1, bench.Listener.Devices[0].Losses);
        await using var next = bench.Handle(Disk());
        Assert.Equal(UnflushedWrites.HandlerRestarted, (await bench.SendAsync(TestUnitReady)).Result.Sense);
        Assert.Equal(ScsiStatus.CheckCondition, (await bench.SendAsync(Flush)).Result.Status);
    }

    [Fact]
    public async Task TheOperatorsWriteCacheStays()
    {
        await using var bench = new UserBench();
        await using (bench.Handle(Disk()))
        {
            await ServedAsync(bench);
            await bench.Listener.SetWriteCacheAsync(bench.Unit, false);
            Assert.False(await IsCacheOnAsync(bench));
        }
        await using var next = bench.Handle(Disk());
        Assert.False(await IsCacheOnAsync(bench));
    }

    [Fact]
    public async Task CurrentModeParametersStayWhereTheyAreKept()
    {
        await using var bench = new UserBench();
        await using (HandleDurably(bench))
        {
            await ServedAsync(bench);
            Assert.Equal(ScsiStatus.Good, (await bench.SendAsync(Select, s_writeThrough)).Result.Status);
        }
        await GoneAsync(bench);
        await using (HandleDurably(bench))
        {
            Assert.Equal(ScsiStatus.Good, (await bench.SendAsync(TestUnitReady)).Result.Status);
            Assert.False(await IsCacheOnAsync(bench));
            // They are not the saved ones: a reset ends them, for the next handler too.
            await bench.Unit.TaskManager.Reset(null, Sense.BusDeviceResetOccurred);
            Assert.Equal(Sense.BusDeviceResetOccurred, (await bench.SendAsync(TestUnitReady)).Result.Sense);
            Assert.True(await IsCacheOnAsync(bench));
        }
        await GoneAsync(bench);
        await using var last = HandleDurably(bench);
        Assert.True(await IsCacheOnAsync(bench));
    }

    /// <summary>A target that starts anew is another matter: its initiators log in again, and find the saved values.</summary>
    [Fact]
    public async Task AFreshDeviceHasTheSavedParameters()
    {
        await using (var bench = new UserBench())
        await using (HandleDurably(bench))
        {
            await ServedAsync(bench);
            Assert.Equal(ScsiStatus.Good, (await bench.SendAsync(Select, s_writeThrough)).Result.Status);
        }
        await using (var bench = new UserBench())
        await using (HandleDurably(bench))
        {
            Assert.True(await IsCacheOnAsync(bench));
            Assert.Equal(ScsiStatus.Good, (await bench.SendAsync(SelectAndSave, s_writeThrough)).Result.Status);
        }
        await using (var bench = new UserBench())
        await using (HandleDurably(bench)) Assert.False(await IsCacheOnAsync(bench));
    }

    /// <summary>
    /// Nobody has read of the reset: there was no handler, or it hung, or died before it had kept what followed. The next one would go on with what initiators believe ended.
    /// </summary>
    [Theory]
    [InlineData("no handler")]
    [InlineData("a handler that reads nothing")]
    [InlineData("changed again")]
    public async Task AResetIsForTheNextHandlerToo(string during)
    {
        await using var bench = new UserBench();
        await using (HandleDurably(bench))
        {
            await ServedAsync(bench);
            Assert.Equal(ScsiStatus.Good, (await bench.SendAsync(SelectAndSave, s_writeThrough)).Result.Status);
            Assert.Equal(ScsiStatus.Good, (await bench.SendAsync(Select, s_writeBack)).Result.Status);
        }
        await GoneAsync(bench);
        var hung = during == "no handler" ? null : new ScriptedHandler(bench.Path).Open(serves: false);
        await bench.Unit.TaskManager.Reset(null, Sense.BusDeviceResetOccurred);
        hung?.Dispose();
        if (hung is not null) await GoneAsync(bench);
        await using (HandleDurably(bench))
        {
            Assert.Equal(Sense.BusDeviceResetOccurred, (await bench.SendAsync(TestUnitReady)).Result.Sense);
            Assert.False(await IsCacheOnAsync(bench));
            if (during == "changed again") Assert.Equal(ScsiStatus.Good, (await bench.SendAsync(Select, s_writeBack)).Result.Status);
        }
        await GoneAsync(bench);
        await using var last = HandleDurably(bench);
        Assert.Equal(during == "changed again", await IsCacheOnAsync(bench));
    }

    /// <summary>A day later: the first handler of the target that was started anew clears what the one before has kept.</summary>
    [Fact]
    public async Task WhatWasKeptYesterdayDoesNotComeBack()
    {
        await using (var bench = new UserBench())
        await using (HandleDurably(bench))
        {
            await ServedAsync(bench);
            Assert.Equal(ScsiStatus.Good, (await bench.SendAsync(SelectAndSave, s_writeThrough)).Result.Status);
            Assert.Equal(ScsiStatus.Good, (await bench.SendAsync(Select, s_writeBack)).Result.Status);
        }
        await using (var bench = new UserBench())
        {
            await using (HandleDurably(bench)) Assert.False(await IsCacheOnAsync(bench));
            await GoneAsync(bench);
            await using var next = HandleDurably(bench);
            Assert.Equal(ScsiStatus.Good, (await bench.SendAsync(TestUnitReady)).Result.Status);
            Assert.False(await IsCacheOnAsync(bench));
        }
    }

    /// <summary>The next handler keeps its state elsewhere, or nowhere: it does not know the mode parameters that initiators believe in.</summary>
    [Fact]
    public async Task ASuccessorThatDoesNotFindThemIsHeardOf()
    {
        await using var bench = new UserBench(nexuses: 2);
        List<TcmuConfig> seen = [];
        await using (HandleDurably(bench, seen))
        {
            await ServedAsync(bench);
            Assert.Equal(ScsiStatus.Good, (await bench.SendAsync(Select, s_writeThrough)).Result.Status);
        }
        await GoneAsync(bench);
        // Nobody is left who knows what this one has not heard yet.
        Assert.Equal(Sense.ModeParametersChanged, (await bench.SendAsync(TestUnitReady, nexus: 1)).Result.Sense);
        await using (bench.Handle(Disk()))
        {
            // Its first answers may be on their way already.
            foreach (int nexus in (int[])[0, 1])
                for (int i = 0; (await bench.SendAsync(TestUnitReady, nexus: nexus)).Result.Sense != Sense.ModeParametersChanged; i++) Assert.True(i < 2);
            Assert.True(await IsCacheOnAsync(bench));
        }
        await GoneAsync(bench);
        await using var last = HandleDurably(bench, seen);
        Assert.Equal(ScsiStatus.Good, (await bench.SendAsync(TestUnitReady)).Result.Status);
        Assert.Equal([false, true], seen.Select(c => c.StateWasKept));
        Assert.Single(seen.Select(c => c.Epoch).Distinct());
    }

    /// <summary>Also of what was saved on another day: the next handler, without that folder, has other saved values.</summary>
    [Fact]
    public async Task ASuccessorWithoutTheSavedParametersIsHeardOf()
    {
        await using (var bench = new UserBench())
        await using (HandleDurably(bench))
        {
            await ServedAsync(bench);
            Assert.Equal(ScsiStatus.Good, (await bench.SendAsync(SelectAndSave, s_writeThrough)).Result.Status);
        }
        await using (var bench = new UserBench())
        {
            await using (HandleDurably(bench)) Assert.False(await IsCacheOnAsync(bench));
            await GoneAsync(bench);
            await using var next = bench.Handle(Disk());
            for (int i = 0; (await bench.SendAsync(TestUnitReady)).Result.Sense != Sense.ModeParametersChanged; i++) Assert.True(i < 2);
        }
    }

    /// <summary>The handler makes its disk longer after the operator was told that it does not answer: the device is that long then.</summary>
    [Fact]
    public async Task AGrowthWhoseAnswerIsLateIsOneAllTheSame()
    {
        await using var bench = new UserBench(changeLimit: TimeSpan.FromMilliseconds(200));
        var handler = new ScriptedHandler(bench.Path).Open();
        await ServedAsync(bench);
        await Assert.ThrowsAsync<IOException>(() => bench.Listener.ResizeAsync(bench.Unit, 2 << 20));
        handler.Channel.Send(UserMessages.Done(2, handler.Added with { Kind = TcmuEventKind.Reconfigured }, DeviceReply.Done));
        await UserBench.UntilAsync(() => bench.SendAsync(TestUnitReady) is var sent && sent.Wait(20) && sent.Result.Result.Sense == Sense.CapacityChanged, "the unit attention");
        handler.Dispose();
        await GoneAsync(bench);
        using var next = new ScriptedHandler(bench.Path).Open();
        Assert.Equal(2ul << 20, next.Grant.SizeBytes);
    }

    /// <summary>
    /// It has grown, and died before it said so; or the image was made longer for a growth to come: what initiators know of it is served, and can be made longer.
    /// </summary>
    [Fact]
    public async Task OfALongerDiskTheDeviceIsTheFirstPart()
    {
        await using var bench = new UserBench();
        await using var handler = bench.Handle(new MemoryBackstore(2 << 20));
        await ServedAsync(bench);
        static int LastBlock(byte[] data) => System.Buffers.Binary.BinaryPrimitives.ReadInt32BigEndian(data);
        const string Capacity = "25 00 00000000 00 0000 00";
        Assert.Equal(2047, LastBlock((await bench.SendAsync(Capacity, dataIn: 8)).Data));
        Assert.Equal(Sense.LbaOutOfRange, (await bench.SendAsync(UserBench.Read(2048, 1), dataIn: 512)).Result.Sense);
        await bench.Listener.ResizeAsync(bench.Unit, 2 << 20);
        Assert.Equal(Sense.CapacityChanged, (await bench.SendAsync(TestUnitReady)).Result.Sense);
        Assert.Equal(4095, LastBlock((await bench.SendAsync(Capacity, dataIn: 8)).Data));
    }

    [Fact]
    public async Task ModeParametersThatAreNotKeptAreHeardOf()
    {
        await using var bench = new UserBench(nexuses: 2);
        await using (bench.Handle(Disk()))
        {
            await ServedAsync(bench);
            Assert.Equal(ScsiStatus.Good, (await bench.SendAsync(TestUnitReady, nexus: 1)).Result.Status);
            Assert.Equal(ScsiStatus.Good, (await bench.SendAsync(Select, s_writeThrough)).Result.Status);
            Assert.Equal(Sense.ModeParametersChanged, (await bench.SendAsync(TestUnitReady, nexus: 1)).Result.Sense);
        }
        await GoneAsync(bench);
        await using (bench.Handle(Disk()))
        {
            for (int nexus = 0; nexus < 2; nexus++)
            {
                Assert.Equal(Sense.ModeParametersChanged, (await bench.SendAsync(TestUnitReady, nexus: nexus)).Result.Sense);
                Assert.Equal(ScsiStatus.Good, (await bench.SendAsync(TestUnitReady, nexus: nexus)).Result.Status);
            }
        }
        await GoneAsync(bench);
        // Nothing was changed since.
        await using var last = bench.Handle(Disk());
        Assert.Equal(ScsiStatus.Good, (await bench.SendAsync(TestUnitReady)).Result.Status);
    }

    /// <summary>What the next handler would not know is not promised.</summary>
    [Fact]
    public async Task WithoutAPlaceForItsStateAUnitSavesNothing()
    {
        await using var bench = new UserBench();
        await using var handler = bench.Handle(Disk());
        await ServedAsync(bench);
        Assert.Equal(Sense.InvalidFieldInCdb, (await bench.SendAsync(SelectAndSave, s_writeThrough)).Result.Sense);
        Assert.Equal(Sense.SavingParametersNotSupported, (await bench.SendAsync(SenseSaved, dataIn: 64)).Result.Sense);
        Assert.Equal(0, (await bench.SendAsync(SenseCaching, dataIn: 64)).Data[4] & 0x80);
        Assert.Equal(Sense.InvalidFieldInCdb, (await bench.SendAsync(Sanitize)).Result.Sense);
    }

    [Fact]
    public async Task OnlyTheFirstHandlerMayCreateWhatIsBehindADevice()
    {
        await using var bench = new UserBench();
        List<TcmuConfig> seen = [];
        await using (HandleDurably(bench, seen)) await ServedAsync(bench);
        await GoneAsync(bench);
        await using var next = HandleDurably(bench, seen);
        await ServedAsync(bench);
        Assert.Equal([false, true], seen.Select(c => c.MustExist));
    }

    [Fact]
    public async Task ALateReplyAnswersNoOtherChange()
    {
        await using var bench = new UserBench(changeLimit: TimeSpan.FromMilliseconds(200));
        using var handler = new ScriptedHandler(bench.Path).Open();
        await ServedAsync(bench);
        Assert.Contains("does not answer", (await Assert.ThrowsAsync<IOException>(() => bench.Listener.ResizeAsync(bench.Unit, 2 << 20))).Message, StringComparison.Ordinal);
        Assert.Contains("has not answered", (await Assert.ThrowsAsync<IOException>(() => bench.Listener.ResizeAsync(bench.Unit, 4 << 20))).Message, StringComparison.Ordinal);
        var change = handler.Added with { Kind = TcmuEventKind.Reconfigured };
        handler.Channel.Send(UserMessages.Done(2, change, DeviceReply.Done));
        // The reply is read by another thread.
        Task? third = null;
        await UserBench.UntilAsync(() => (third = bench.Listener.ResizeAsync(bench.Unit, 4 << 20)).IsFaulted is false || third.Exception!.Message.Contains("does not answer", StringComparison.Ordinal), "the late reply");
        handler.Channel.Send(UserMessages.Done(3, change, new DeviceReply(Errno.ENOSPC)));
        Assert.Contains("refuses the change", (await Assert.ThrowsAsync<IOException>(() => third!)).Message, StringComparison.Ordinal);
    }

    /// <summary>For its initiator a write that ended with RECOVERED ERROR is done.</summary>
    [Fact]
    public async Task ARecoveredWriteIsAcknowledged()
    {
        await using var bench = new UserBench();
        using (var dying = new ScriptedHandler(bench.Path).Open())
        {
            await ServedAsync(bench);
            var sent = bench.SendAsync(UserBench.Write(5, 1), UserBench.Pattern(5, 1));
            var entry = dying.Read();
            dying.Ring.Complete(entry.Id, 2, [0x70, 0, 1, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x17, 0x01, 0, 0, 0, 0]);
            dying.Publish();
            Assert.Equal(SenseKey.RecoveredError, (await sent).Result.Sense.Key);
        }
        await GoneAsync(bench);
        Assert.Equal(1, bench.Listener.Devices[0].Losses);
        await using var next = bench.Handle(Disk());
        Assert.Equal(UnflushedWrites.HandlerRestarted, (await bench.SendAsync(Flush)).Result.Sense);
    }

    /// <summary>It hears of the loss when it comes back, whichever comes first: its leaving, or the handler's death.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void ANexusThatLeavesAsTheHandlerDiesIsOwed(bool leavesFirst)
    {
        var writes = new UnflushedWrites(TimeSpan.FromSeconds(10), () => 0);
        writes.Attached();
        writes.Completed(CommandEffect.Writes, 0);
        var nexus = new Nexus("iqn.test:0", "iqn.test:0,i,0x1", new byte[24], new TargetPort("iqn.test:target", 1, 1, "t"));
        if (leavesFirst) writes.NexusLeft(nexus);
        // RingUnit.Leave says so before the unit forgets the nexus: it is in one of the two.
        if (leavesFirst) Assert.True(writes.HandlerDied([]));
        else Assert.True(writes.HandlerDied([new UnitNexus(nexus, null!, 0)]));
        Assert.True(writes.Fails(nexus));
    }
}
