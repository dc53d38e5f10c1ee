using LunKit.Backstores;
using LunKit.Linux;
using LunKit.LogicalUnits;
using LunKit.Scsi;
using LunKit.Tcmu.Devices;
using LunKit.Tcmu.Ring;
using LunKit.Tcmu.Target;
using LunKit.Tests.LogicalUnits;

namespace LunKit.Tests.Tcmu.Target;

/// <summary>A handler that lies, or misuses what it may do, breaks its own device at most, and that recovers.</summary>
public sealed class LyingHandlerTests
{
    [Theory]
    [InlineData("the tail is beyond everything")]
    [InlineData("the tail is inside an entry")]
    [InlineData("a command that is not out is completed")]
    [InlineData("a command is completed twice")]
    [InlineData("id 0 is completed")]
    public async Task ABrokenRingEndsAsBusyAndIsReplaced(string lie)
    {
        await using var bench = new UserBench();
        await using var other = bench.AddDevice("other", subtype: "other");
        await using var good = bench.Handle(new MemoryBackstore(1 << 20), "other");
        var liar = new ScriptedHandler(bench.Path).Open();
        var sent = Enumerable.Range(0, 3).Select(i => bench.SendAsync(UserBench.Read(i, 1), dataIn: 512)).ToList();
        var entries = sent.Select(_ => liar.Read()).ToList();
        switch (lie)
        {
            case "the tail is beyond everything": liar.Mailbox.Tail = 0x10_0000; break;
            case "the tail is inside an entry": liar.Mailbox.Tail = 8; break;
            case "a command that is not out is completed": Complete(liar, 777); break;
            case "id 0 is completed": Complete(liar, 0); break;
            default:
                Complete(liar, entries[0].Id);
                Complete(liar, entries[0].Id);
                break;
        }
        liar.Kick();
        var results = await Task.WhenAll(sent);
        Assert.All(results[1..], r => Assert.Equal(ScsiStatus.Busy, r.Result.Status));
        // It is disconnected; what it does to the old memory concerns nobody.
        (TcmuEvent?, UserMessage?)? last;
        while ((last = liar.Receive(3000)) is { } message && message != (null, null)) { }
        Assert.NotNull(last);
        liar.Region.Span[..(1 << 16)].Fill(0xFF);
        var waiting = bench.SendAsync(UserBench.Read(9, 1), dataIn: 512);
        liar.Dispose();
        await using var next = bench.Handle(new MemoryBackstore(1 << 20));
        Assert.Equal(ScsiStatus.Good, (await waiting).Result.Status);
        var nexus = UserBench.Open("iqn.test:other", other);
        Assert.Equal(ScsiStatus.Good, (await UserBench.SendAsync(nexus, UserBench.Read(0, 1), dataIn: 512)).Result.Status);
    }

    /// <summary>BUSY says that nothing was done, and is repeated: not where the handler may have done it, and twice is not the same as once.</summary>
    [Fact]
    public async Task ABrokenRingDoesNotAskForASecondCompareAndWrite()
    {
        await using var bench = new UserBench();
        using var liar = new ScriptedHandler(bench.Path).Open();
        var read = bench.SendAsync(UserBench.Read(0, 1), dataIn: 512);
        var swap = bench.SendAsync("89 00 0000000000000000 000000 01 00 00", new byte[1024]);
        liar.Read();
        liar.Read();
        liar.Mailbox.Tail = 8;
        liar.Kick();
        Assert.Equal(ScsiStatus.Busy, (await read).Result.Status);
        Assert.Equal(Sense.OutcomeUnknown, (await swap).Result.Sense);
    }

    private static void Complete(ScriptedHandler liar, ushort id)
    {
        liar.Ring.Complete(id, 0, default);
        liar.Ring.Publish();
    }

    [Fact]
    public async Task LengthsAndStatusesAreNotBelieved()
    {
        await using var bench = new UserBench();
        using var liar = new ScriptedHandler(bench.Path).Open();
        var more = bench.SendAsync(UserBench.Read(0, 1), dataIn: 512);
        liar.Complete(liar.Read(), readLength: int.MaxValue);
        Assert.Equal(512, (await more).Result.DataInLength);
        var strange = bench.SendAsync(UserBench.Read(0, 1), dataIn: 512);
        liar.Complete(liar.Read(), status: 0x55);
        Assert.Equal(Sense.LogicalUnitCommunicationFailure, (await strange).Result.Sense);
        var senseless = bench.SendAsync(UserBench.Read(0, 1), dataIn: 512);
        liar.Complete(liar.Read(), status: 0x02);
        Assert.Equal(Sense.LogicalUnitCommunicationFailure, (await senseless).Result.Sense);
    }

    [Fact]
    public async Task WhatIsSaidOnTheSocketIsChecked()
    {
        await using var bench = new UserBench();
        var random = new Random(7);
        using (var liar = new ScriptedHandler(bench.Path).Open())
        {
            liar.Channel.Send(UserMessages.FreeKept(liar.Added.DeviceId, 5));
            liar.Channel.Send(UserMessages.FreeKept(99, 5));
            liar.Channel.Send(UserMessages.Open(liar.Added.DeviceId));
            liar.Reply(Errno.EIO);
            liar.Reply(0);
            for (int i = 0; i < 200; i++)
            {
                var junk = new byte[random.Next(1, 300)];
                random.NextBytes(junk);
                if (random.Next(2) == 0) BitConverter.TryWriteBytes(junk, junk.Length);
                if (junk.Length > 5 && random.Next(2) == 0) BitConverter.TryWriteBytes(junk.AsSpan(4), UserMessages.Family);
                liar.Channel.Send(junk);
            }
            var sent = bench.SendAsync(UserBench.Read(0, 1), dataIn: 512);
            liar.Complete(liar.Read());
            Assert.Equal(ScsiStatus.Good, (await sent).Result.Status);
        }
        await using var next = bench.Handle(new MemoryBackstore(1 << 20));
        Assert.Equal(ScsiStatus.Good, (await bench.SendAsync(UserBench.Read(0, 1), dataIn: 512)).Result.Status);
    }

    [Fact]
    public async Task KeptBuffersStayUntilTheyAreGivenBack()
    {
        var options = new UserRingOptions { MaxCommands = 2, QueueTimeout = TimeSpan.FromMilliseconds(300) };
        var clock = new SteppedClock();
        await using var bench = new UserBench(options, clock: clock);
        using var handler = new ScriptedHandler(bench.Path).Open();
        var first = bench.SendAsync(UserBench.Read(0, 1), dataIn: 512);
        var entry = handler.Read();
        entry.Data.CopyFrom(UserBench.Pattern(1, 1));
        handler.Ring.CompleteKept(entry.Id, 0);
        handler.Publish();
        Assert.Equal(UserBench.Pattern(1, 1), (await first).Data);
        // One of the two ids is kept: with the other out, a third command finds no room, and says so in time.
        var second = bench.SendAsync(UserBench.Read(1, 1), dataIn: 512);
        var open = handler.Read();
        Assert.NotEqual(entry.Id, open.Id);
        var full = bench.SendAsync(UserBench.Read(2, 1), dataIn: 512);
        clock.Pass(options.QueueTimeout);
        Assert.Equal(ScsiStatus.TaskSetFull, (await full).Result.Status);
        handler.Channel.Send(UserMessages.FreeKept(handler.Added.DeviceId, entry.Id));
        var third = bench.SendAsync(UserBench.Read(3, 1), dataIn: 512);
        handler.Complete(handler.Read());
        Assert.Equal(ScsiStatus.Good, (await third).Result.Status);
        handler.Complete(open);
        await second;
    }

    [Fact]
    public async Task AnAbortIsTold()
    {
        await using var bench = new UserBench();
        using var handler = new ScriptedHandler(bench.Path).Open();
        var command = new TestCommand();
        var sent = bench.SendAsync(UserBench.Read(0, 1), dataIn: 512, command: command);
        var entry = handler.Read();
        bench.Unit.Tasks.Abort(c => c == command, _ => true);
        var read = new RingEntry();
        await UserBench.UntilAsync(() => handler.TryRead(read) == RingOpcode.TaskManagement, "a notification");
        Assert.Equal(TaskManagementAbi.AbortTask, read.TaskManagement.Type);
        Assert.Equal([entry.Id], read.TaskManagement.CommandIds);
        handler.Complete(entry, status: 0x40);
        await sent;
    }

    [Fact]
    public async Task CommandsSayWhereTheyComeFrom()
    {
        await using var bench = new UserBench(nexuses: 2);
        using var handler = new ScriptedHandler(bench.Path).Open();
        for (int i = 0; i < 2; i++)
        {
            var sent = bench.SendAsync(UserBench.Read(i, 1), dataIn: 512, nexus: i, command: new TestCommand { Tag = (ulong)(40 + i) });
            var entry = handler.Read();
            Assert.Equal(bench.Nexus(i).Number, entry.Origin.Initiator);
            Assert.Equal((ulong)(40 + i), entry.Origin.Tag);
            Assert.Equal(1, entry.Origin.TargetPort);
            Assert.Equal((byte)TaskAttribute.Simple, entry.Origin.Attribute);
            handler.Complete(entry);
            await sent;
        }
        // Who does not know the message is not told; who does is told in the ring, before the next command.
        bench.Nexus(1).Close();
        Assert.Null(handler.TryRead(new RingEntry()));
        handler.Ring.Say(Watch.Looks);
        bench.Nexus(0).Close();
        var read = new RingEntry();
        Assert.Equal(RingOpcode.TaskManagement, handler.TryRead(read));
        Assert.Equal(TaskManagementAbi.NexusLost, read.TaskManagement.Type);
        Assert.Equal(bench.Nexus(0).Number, BitConverter.ToUInt64(System.Runtime.InteropServices.MemoryMarshal.AsBytes<ushort>(read.TaskManagement.CommandIds)));
    }

    [Fact]
    public async Task SizeAndCacheAreChangedWithTheHandlersConsent()
    {
        await using var bench = new UserBench();
        string path = Path.GetTempFileName();
        await using var handler = bench.Handle(FileBackstore.Open(new FileBackstoreOptions { Path = path, SizeBytes = 1 << 20 }));
        await UserBench.UntilAsync(() => bench.Listener.Devices[0].IsServed, "serving");
        await bench.SendAsync("00 00 00 00 00 00");
        await bench.Listener.ResizeAsync(bench.Unit, 2 << 20);
        Assert.Equal(Sense.CapacityChanged, (await bench.SendAsync("00 00 00 00 00 00")).Result.Sense);
        Assert.Equal(ScsiStatus.Good, (await bench.SendAsync("00 00 00 00 00 00")).Result.Status);
        var (_, capacity) = await bench.SendAsync("25 00 00000000 00 00 00 00", dataIn: 8);
        Assert.Equal([0x00, 0x00, 0x0F, 0xFF], capacity[..4]);
        await bench.Listener.SetWriteCacheAsync(bench.Unit, false);
        // An image does not shrink.
        var error = await Assert.ThrowsAsync<IOException>(() => bench.Listener.ResizeAsync(bench.Unit, 100));
        Assert.Contains("refuses", error.Message, StringComparison.Ordinal);
        await handler.DisposeAsync();
        await Assert.ThrowsAsync<IOException>(() => bench.Listener.ResizeAsync(bench.Unit, 4 << 20));
        File.Delete(path);
    }

    [Fact]
    public async Task AnIdleDeviceGivesItsMemoryBack()
    {
        await using var bench = new UserBench(sizeBytes: 64 << 20);
        using var handler = new ScriptedHandler(bench.Path).Open();
        var sent = Enumerable.Range(0, 4).Select(i => bench.SendAsync(UserBench.Read(i * 4096, 4096), dataIn: 4096 * 512)).ToList();
        var entries = sent.Select(_ => handler.Read()).ToList();
        Assert.True(bench.Unit.DataBytesInUse >= 8 << 20);
        foreach (var entry in entries) handler.Complete(entry, status: 0x08);
        await Task.WhenAll(sent);
        await UserBench.UntilAsync(() => bench.Unit.DataBytesInUse <= 256 * 1024, "giving memory back");
    }
}
