using LunKit.Backstores;
using LunKit.LogicalUnits;
using LunKit.Tcmu.Devices;
using LunKit.Tcmu.Handler;
using LunKit.Tcmu.Ring;
using LunKit.Tests.Backstores.Filters;
using LunKit.Tests.LogicalUnits;

namespace LunKit.Tests.Tcmu;

/// <summary>A logical unit behind a ring, with the test as the kernel.</summary>
public sealed class RingDeviceTests
{
    /// <summary>A ring in the process, and what its handler serves.</summary>
    private sealed class Bench : IRingTransport
    {
        private readonly SemaphoreSlim _bell = new(0);

        public Bench(IBackstore? store = null, MailboxFlags flags = (MailboxFlags)0xF)
        {
            Kernel = new FakeKernel(16 * 1024, 1 << 20, flags);
            Unit = new BlockUnit(store ?? new MemoryBackstore(1 << 20), "ring", new VolatileUnitState(UnitIdentity.IdOf("ring")));
            Device = new RingDevice("tcm-user/0/test", this, Unit, Log) { ReportEvery = TimeSpan.FromMilliseconds(100) };
            Device.Start();
        }

        public ListLog Log { get; } = new();
        public FakeKernel Kernel { get; }
        public BlockUnit Unit { get; }
        public RingDevice Device { get; }
        public bool IsGone { get; set; }

        /// <summary>Called before the device's thread sleeps.</summary>
        public Action? Sleeping { get; set; }

        public Memory<byte> Region => Kernel.Region;
        public Span<byte> Data(int offset, int length) => Kernel.Region.AsSpan(Kernel.DataOffset + offset, length);
        public void Notify() { }
        public void Wake() => _bell.Release();

        public bool Wait(int timeoutMilliseconds)
        {
            Sleeping?.Invoke();
            _bell.Wait(5);
            return !IsGone;
        }

        /// <summary>Rings, and takes what is completed until there are so many.</summary>
        public List<(ushort Id, byte Flags, byte Status, uint ReadLength, byte[] Sense)> Await(int count)
        {
            Wake();
            var done = Kernel.Consume();
            for (int i = 0; done.Count < count; i++)
            {
                Assert.True(i < 2000, $"{done.Count} of {count} commands are completed after 10 s");
                Thread.Sleep(5);
                done.AddRange(Kernel.Consume());
            }
            return done;
        }

        public void Dispose() { }

        public async Task EndAsync()
        {
            Device.Dispose();
            await Unit.DisposeAsync();
        }
    }

    private static readonly byte[] s_inquiry = [0x12, 0, 0, 0, 96, 0];

    [Fact]
    public async Task CommandsRunOnTheSharedData()
    {
        var bench = new Bench();
        new Random(1).NextBytes(bench.Data(4096, 8192));
        var written = bench.Data(4096, 8192).ToArray();
        // In two pieces that are not neighbours, and read back elsewhere. No power-on unit attention: that is the producer's.
        bench.Kernel.Post(Iscsi.Cdbs.Write16(8, 16), (4096, 4096), (8192, 4096));
        Assert.Equal(0, bench.Await(1)[0].Status);
        bench.Kernel.Post(Iscsi.Cdbs.Read16(8, 16), (65536, 512), (131072, 7680));
        Assert.Equal(0, bench.Await(1)[0].Status);
        Assert.Equal<byte[]>(written, [.. bench.Data(65536, 512), .. bench.Data(131072, 7680)]);
        await bench.EndAsync();
        Assert.Equal(RingEnd.Stopped, await bench.Device.Ended);
    }

    [Fact]
    public async Task ErrorsCarrySense()
    {
        var bench = new Bench();
        bench.Kernel.Post(Iscsi.Cdbs.Read16(1 << 20, 1), (0, 512));
        var refused = bench.Await(1)[0];
        Assert.Equal((2, 5, 0x21), (refused.Status, refused.Sense[2] & 0x0F, refused.Sense[12]));
        bench.Kernel.Post([0xC5, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        refused = bench.Await(1)[0];
        Assert.Equal((2, 5, 0x20), (refused.Status, refused.Sense[2] & 0x0F, refused.Sense[12]));
        // What this side does not know at all is said so.
        bench.Kernel.PostUnknown(5);
        Assert.Equal(1, bench.Await(1)[0].Flags);
        await bench.EndAsync();
    }

    [Theory]
    [InlineData(0xF, true)]
    [InlineData(0x1, false)]
    public async Task ShortAnswersShowNoOldBytes(int flags, bool tells)
    {
        var bench = new Bench(flags: (MailboxFlags)flags);
        bench.Data(0, 512).Fill(0xEE);
        bench.Kernel.Post(s_inquiry, (0, 512));
        var done = bench.Await(1)[0];
        Assert.Equal(0, done.Status);
        int length = 5 + bench.Data(0, 512)[4];
        Assert.Equal(tells ? ((byte)2, (uint)length) : ((byte)0, 0u), (done.Flags, done.ReadLength));
        if (!tells) Assert.False(bench.Data(length, 512 - length).ContainsAnyExcept((byte)0));
        // A command without data, although the initiator expects some: nothing of it is old.
        bench.Data(0, 512).Fill(0xEE);
        bench.Kernel.Post(new byte[6], (0, 512));
        Assert.Equal((0, 0), (bench.Await(1)[0] is var d ? d.Status : 9, d.Flags));
        Assert.False(bench.Data(0, 512).ContainsAnyExcept((byte)0));
        await bench.EndAsync();
    }

    [Fact]
    public async Task SmallBufferGetsTheBeginning()
    {
        var bench = new Bench();
        bench.Data(0, 64).Fill(0xEE);
        bench.Kernel.Post(s_inquiry, (0, 16));
        Assert.Equal(0, bench.Await(1)[0].Status);
        Assert.Equal("LUNKIT  ", System.Text.Encoding.ASCII.GetString(bench.Data(8, 8)));
        Assert.Equal(0xEE, bench.Data(16, 1)[0]);
        await bench.EndAsync();
    }

    [Fact]
    public async Task SlowCommandsDoNotHoldFastOnes()
    {
        var store = HangingDisk.Create(OperationClasses.Read, heedsCancellation: true);
        var bench = new Bench(store);
        ushort slow = bench.Kernel.Post(Iscsi.Cdbs.Read16(0, 1), (0, 512))!.Value, fast = bench.Kernel.Post(new byte[6])!.Value;
        Assert.Equal(fast, bench.Await(1)[0].Id);
        store.Open();
        Assert.Equal(slow, bench.Await(1)[0].Id);
        await bench.EndAsync();
    }

    [Fact]
    public async Task AbortReachesTheBackstoreAndTheCommandStillCompletes()
    {
        var store = HangingDisk.Create(OperationClasses.Read, heedsCancellation: true);
        var bench = new Bench(store);
        ushort id = bench.Kernel.Post(Iscsi.Cdbs.Read16(0, 1), (0, 512))!.Value;
        bench.Wake();
        await store.WhenHangingAsync(1).WaitAsync(TimeSpan.FromSeconds(30));
        bench.Kernel.PostManagement(1, id);
        var done = bench.Await(1)[0];
        Assert.Equal((id, (byte)0x40), (done.Id, done.Status));
        Assert.Equal(0, store.Hanging);
        bench.Kernel.Post(new byte[6]);
        Assert.Equal(0, bench.Await(1)[0].Status);
        await bench.EndAsync();
    }

    /// <summary>Who aborts believes that nothing of the command comes after its completion; KEEP_BUF would let it be answered before.</summary>
    [Theory]
    [InlineData(0xF)]
    [InlineData(0x7)]
    public async Task AnAbortedCommandIsCompletedWhenItsBackstoreIsDone(int flags)
    {
        var store = HangingDisk.Create(OperationClasses.Read);
        var bench = new Bench(store, (MailboxFlags)flags);
        ushort id = bench.Kernel.Post(Iscsi.Cdbs.Read16(0, 1), (0, 512))!.Value;
        bench.Wake();
        await store.WhenHangingAsync(1).WaitAsync(TimeSpan.FromSeconds(30));
        bench.Kernel.PostManagement(1, id);
        // Others go on meanwhile.
        ushort other = bench.Kernel.Post(new byte[6])!.Value;
        Assert.Equal((other, (byte)0), bench.Await(1)[0] is var first ? (first.Id, first.Status) : default);
        await Task.Delay(100, TestContext.Current.CancellationToken);
        Assert.Empty(bench.Kernel.Consume());
        store.Open();
        Assert.Equal((id, (byte)0, (byte)0x40), bench.Await(1)[0] is var done ? (done.Id, done.Flags, done.Status) : default);
        await bench.EndAsync();
    }

    /// <summary>The target takes the word of a handler that leaves for this: nothing that it has acknowledged is lost.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task LeavingInOrderMeansThatAllIsFlushed(bool flushes)
    {
        var store = new RecordingBackstore(features: BackstoreFeatures.Concurrent) { FlushFailure = flushes ? null : new IOException("the cache is gone") };
        var bench = new Bench(store, (MailboxFlags)0xF | MailboxFlags.Watch);
        bench.Kernel.Post(Iscsi.Cdbs.Write16(0, 1), (0, 512));
        Assert.Equal(0, bench.Await(1)[0].Status);
        bench.Device.Stop();
        Assert.Equal(RingEnd.Stopped, await bench.Device.Ended.WaitAsync(TimeSpan.FromSeconds(30)));
        Assert.Single(store.Calls, "flush");
        Assert.Equal(flushes, BitConverter.ToUInt32(bench.Kernel.Region, 72) == (uint)Watch.HasLeft);
        await bench.EndAsync();
    }

    [Fact]
    public async Task BrokenRingEndsTheDeviceAndNothingElse()
    {
        var bench = new Bench();
        bench.Kernel.Set(12, 4);
        bench.Wake();
        Assert.Equal(RingEnd.Broken, await bench.Device.Ended.WaitAsync(TimeSpan.FromSeconds(30)));
        await bench.EndAsync();
    }

    /// <summary>One completion that the ring has no room for breaks it; the commands that were done at the same time are not forgotten.</summary>
    [Fact]
    public async Task ACompletionThatBreaksTheRingTakesNoOtherWithIt()
    {
        var store = HangingDisk.Create(OperationClasses.Read, heedsCancellation: true);
        using var held = new ManualResetEventSlim();
        var bench = new Bench(store);
        bench.Sleeping = () =>
        {
            if (bench.Unit.Tasks.Count == 3) held.Wait();
        };
        // The unknown entry, too short for an answer with sense, is answered in the first one's place, and the first in its.
        bench.Kernel.Post(Iscsi.Cdbs.Read16(0, 1), (0, 512));
        bench.Kernel.PostUnknown(5);
        bench.Kernel.Post(Iscsi.Cdbs.Read16(1, 1), (512, 512));
        bench.Kernel.Post(Iscsi.Cdbs.Read16(2, 1), (1024, 512));
        bench.Wake();
        Assert.True(SpinWait.SpinUntil(() => bench.Unit.Tasks.Count == 3, 10_000));
        store.Open();
        Assert.True(SpinWait.SpinUntil(() => bench.Unit.Tasks.Describe(8).All(l => l.Contains("ended", StringComparison.Ordinal)), 10_000));
        await Task.Delay(100);
        held.Set();
        Assert.Equal(RingEnd.Broken, await bench.Device.Ended.WaitAsync(TimeSpan.FromSeconds(20)));
        Assert.Equal(0, bench.Unit.Tasks.Count);
        await bench.EndAsync();
    }

    /// <summary>A backstore that hangs holds up the end, for its memory is the ring's; who waits sees in the log for what.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task WhatHoldsUpTheEndIsNamed(bool stops)
    {
        var store = HangingDisk.Create(OperationClasses.Read);
        var bench = new Bench(store);
        bench.Kernel.Post(Iscsi.Cdbs.Read16(0, 1), (0, 512));
        bench.Wake();
        await store.WhenHangingAsync(1).WaitAsync(TimeSpan.FromSeconds(30));
        if (stops) bench.Device.Stop();
        else bench.IsGone = true;
        bench.Wake();
        Assert.True(SpinWait.SpinUntil(() => bench.Log.Lines.Any(l => l.Contains("command 88h", StringComparison.Ordinal)), 10_000), string.Join("\n", bench.Log.Lines));
        Assert.False(bench.Device.Ended.IsCompleted);
        store.Open();
        Assert.Equal(stops ? RingEnd.Stopped : RingEnd.ProducerGone, await bench.Device.Ended.WaitAsync(TimeSpan.FromSeconds(30)));
        Assert.Equal(0, bench.Unit.Tasks.Count);
        await bench.EndAsync();
    }

    [Fact]
    public async Task ProducerThatIsGoneEndsTheDevice()
    {
        var bench = new Bench { IsGone = true };
        bench.Wake();
        Assert.Equal(RingEnd.ProducerGone, await bench.Device.Ended.WaitAsync(TimeSpan.FromSeconds(30)));
        await bench.EndAsync();
    }

    [Fact]
    public async Task StopCompletesWhatWasRead()
    {
        var store = HangingDisk.Create(OperationClasses.Read, heedsCancellation: true);
        var bench = new Bench(store);
        ushort id = bench.Kernel.Post(Iscsi.Cdbs.Read16(0, 1), (0, 512))!.Value;
        bench.Wake();
        await store.WhenHangingAsync(1).WaitAsync(TimeSpan.FromSeconds(30));
        bench.Device.Stop();
        await Task.Delay(50);
        Assert.False(bench.Device.Ended.IsCompleted);
        store.Open();
        Assert.Equal(RingEnd.Stopped, await bench.Device.Ended.WaitAsync(TimeSpan.FromSeconds(30)));
        Assert.Equal([(id, (byte)0)], bench.Kernel.Consume().Select(d => (d.Id, d.Status)));
        await bench.EndAsync();
    }

    [Fact]
    public async Task CommandsAllocateNothing()
    {
        var bench = new Bench();
        async Task<long> Round(int count)
        {
            long before = bench.Device.AllocatedBytes;
            for (int i = 0; i < count; i++)
            {
                bench.Kernel.Post(Iscsi.Cdbs.Write16(i % 100 * 8, 8), (0, 4096));
                bench.Kernel.Post(Iscsi.Cdbs.Read16(i % 100 * 8, 8), (4096, 4096));
                bench.Await(2);
            }
            await Task.Delay(50);
            return bench.Device.AllocatedBytes - before;
        }
        await Round(300);
        // The timer of the waits may allocate, a command may not.
        Assert.InRange(await Allocations.LeastAsync(() => Round(300)), 0, 300 * 2 * 8);
        await bench.EndAsync();
    }
}
