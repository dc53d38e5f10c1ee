using LunKit.Backstores;
using LunKit.Linux;
using LunKit.LogicalUnits;
using LunKit.Scsi;
using LunKit.Tests.LogicalUnits;
using Microsoft.Extensions.Logging.Abstractions;

namespace LunKit.Tests.PassThrough;

/// <summary>A real device, played by a test, behind a pass-through unit: what reaches it, and when it is closed.</summary>
public sealed class PassThroughUnitTests : IAsyncDisposable
{
    private readonly FakeDevice _device = new();
    private PassThroughUnit? _unit;
    private Nexus? _nexus;

    private PassThroughUnit Open(byte type = 0, PassThroughOptions? options = null)
    {
        _device.Type = type;
        _unit = PassThroughUnit.Over(_device, options ?? new PassThroughOptions { Path = "/dev/fake" }, null, NullLogger.Instance);
        _nexus = Tcmu.Target.UserBench.Open("iqn.test:0", _unit);
        return _unit;
    }

    private async Task<CommandResult> SendAsync(string cdb, byte[]? dataOut = null, int dataIn = 0, TestCommand? command = null)
    {
        command ??= new TestCommand();
        var bytes = TestUnit.Bytes(cdb);
        byte[] data = dataOut ?? [];
        command.Prepare(_nexus!.Luns.Find(0)!, bytes, data[..(int)Math.Min(data.Length, _unit!.DataOutLength(bytes, data.Length))], TaskAttribute.Simple);
        command.DataOutBufferSize = data.Length;
        command.DataInBufferSize = dataIn;
        var result = await _unit.ExecuteAsync(command);
        _unit.Complete(command);
        return result;
    }

    [Fact]
    public async Task CommandsAndAnswersPassUnchanged()
    {
        Open(type: 1);
        _device.Answer = (cdb, data, sense) =>
        {
            data[..4].Fill(0xAB);
            byte[] ili = [0xF0, 0, 0x20, 0, 0, 0x01, 0xFC, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            ili.CopyTo(sense);
            return new ScsiDeviceResult(2, 0, 4, 18);
        };
        var command = new TestCommand();
        // READ REVERSE(16): the data comes from the device.
        var result = await SendAsync("81 00 00 00 0000000000000000 000200 00 00", dataIn: 512, command: command);
        Assert.Equal((ScsiStatus.CheckCondition, 4), (result.Status, result.DataInLength));
        Assert.Equal(0x1FCul, result.Detail.Information);
        Assert.Equal([0xAB, 0xAB, 0xAB, 0xAB], command.DataIn[..4]);
        Assert.False(_device.LastToDevice);
        _device.Answer = null;
        // WRITE FILEMARKS(16) has none, whatever the initiator brings.
        Assert.Equal(0, _unit!.DataOutLength(TestUnit.Bytes("80 00 00 00 0000000000000000 000001 00 00"), 512));
        Assert.Equal(ScsiStatus.Good, (await SendAsync("80 00 00 00 0000000000000000 000001 00 00")).Status);
        Assert.Equal(0, _device.LastLength);
        Assert.Equal(ScsiStatus.Good, (await SendAsync("0A 00 000200 00", new byte[512])).Status);
        Assert.Equal((true, 512), (_device.LastToDevice, _device.LastLength));
    }

    [Fact]
    public async Task ReadOnlyRefusesWhatWritesAndWhatNobodyKnows()
    {
        Open(options: new PassThroughOptions { Path = "/dev/fake", ReadOnly = true, Policy = PassThroughPolicy.All });
        int before = _device.Calls;
        foreach (string cdb in (string[])["2A 00 00000000 00 0001 00", "42 00 00000000 00 0008 00", "3F 00 00000000 00 0200 00", "94 04 0000000000000000 00000000 00 00", "C1 00 00000000 00 0000 00", "1F 00 00 00 00 00"])
            Assert.Equal(Sense.WriteProtected, (await SendAsync(cdb)).Sense);
        Assert.Equal(before, _device.Calls);
        Assert.Equal(ScsiStatus.Good, (await SendAsync("28 00 00000000 00 0001 00", dataIn: 512)).Status);
        Assert.Equal(ScsiStatus.Good, (await SendAsync("95 00 0000000000000000 00000200 00 00", dataIn: 512)).Status);
    }

    [Fact]
    public async Task AnAbortedCommandStaysUntilTheDeviceIsDone()
    {
        var unit = Open(type: 1);
        _device.Gate = new ManualResetEventSlim();
        var running = new ChargedCommand();
        var rewind = SendAsync("01 00 00 00 00 00", command: running);
        Assert.True(SpinWait.SpinUntil(() => _device.Calls == 2, 10_000));
        // A tape does one thing after the other: this one waits for its turn, and can be aborted at once.
        var waiting = new ChargedCommand();
        var read = SendAsync("08 00 000200 00", dataIn: 512, command: waiting);
        unit.TaskManager.AbortTasks(c => c == waiting);
        Assert.Equal(ScsiStatus.TaskAborted, (await read.WaitAsync(TimeSpan.FromSeconds(20), TestContext.Current.CancellationToken)).Status);
        unit.TaskManager.AbortTasks(c => c == running);
        await Task.Delay(50, TestContext.Current.CancellationToken);
        Assert.False(rewind.IsCompleted);
        _device.Gate.Set();
        await rewind;
        // What they held is given back.
        Assert.Equal((0, 0), (running.Charged, waiting.Charged));
        Assert.True(running.Most > 0);
        Assert.Equal(0, waiting.Most);
        Assert.Equal(2, _device.Calls);
    }

    [Fact]
    public async Task TheDeviceIsNotClosedUnderACommand()
    {
        var unit = Open(type: 1);
        _device.Gate = new ManualResetEventSlim();
        var command = new TestCommand();
        var rewind = SendAsync("01 00 00 00 00 00", command: command);
        Assert.True(SpinWait.SpinUntil(() => _device.Calls == 2, 10_000));
        Assert.False(await unit.CloseAsync(TimeSpan.FromMilliseconds(100)));
        Assert.False(_device.IsDisposed);
        _device.Gate.Set();
        await rewind;
        Assert.True(command.IsAborted);
        Assert.True(SpinWait.SpinUntil(() => _device.IsDisposed, 10_000));
        Assert.False(_device.WasUsedAfterDisposal);
    }

    [Fact]
    public void ADeviceThatDoesNotAnswerIsClosed()
    {
        _device.Answer = (_, _, _) => new ScsiDeviceResult(0, 7, 0, 0);
        Assert.Throws<BackstoreException>(() => Open());
        Assert.True(_device.IsDisposed);
    }

    private static readonly byte[] s_attention = [0x70, 0, 6, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x2A, 0x01, 0, 0, 0, 0], s_becomingReady = [0x70, 0, 2, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x04, 0x01, 0, 0, 0, 0],
        s_unreachable = [0x70, 0, 4, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x44, 0, 0, 0, 0, 0];

    private static ScsiDeviceResult Check(ReadOnlySpan<byte> data, Span<byte> sense)
    {
        data.CopyTo(sense);
        return new(2, 0, 0, data.Length);
    }

    /// <summary>What a device says in place of its last flush is not the end of it.</summary>
    [Theory]
    [InlineData("attention")]
    [InlineData("deferred recovered error")]
    [InlineData("busy")]
    [InlineData("task set full")]
    [InlineData("becoming ready")]
    [InlineData("bus busy")]
    [InlineData("no memory")]
    [InlineData("queue full")]
    public async Task TheLastFlushIsRepeated(string first)
    {
        var unit = Open();
        int left = 2, flushes = 0;
        _device.Answer = (cdb, _, sense) =>
        {
            Assert.Equal(0x35, cdb[0]);
            if (left-- <= 0)
            {
                flushes++;
                return default;
            }
            return first switch
            {
                "attention" => Check(s_attention, sense),
                // Of an earlier command: the flush was not carried out.
                "deferred recovered error" => Check([0x71, 0, 1, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x17, 0x01, 0, 0, 0, 0], sense),
                "busy" => new(8, 0, 0, 0),
                "task set full" => new(0x28, 0, 0, 0),
                "becoming ready" => Check(s_becomingReady, sense),
                "bus busy" => new(0, 2, 0, 0),
                "no memory" => throw new LinuxException("write", Errno.ENOMEM),
                _ => throw new LinuxException("write", Errno.EDOM),
            };
        };
        Assert.True(await unit.CloseAsync(TimeSpan.FromSeconds(30)));
        Assert.Equal((1, null), (flushes, unit.ClosingFailure));
    }

    /// <summary>One that never flushes is told, and soon.</summary>
    [Theory]
    [InlineData("attention", 17)]
    [InlineData("hardware", 1)]
    [InlineData("deferred write error", 1)]
    [InlineData("gone", 1)]
    public async Task ALastFlushThatIsNotDoneIsTold(string always, int flushes)
    {
        var unit = Open();
        int calls = 0;
        _device.Answer = (_, _, sense) =>
        {
            calls++;
            if (always == "gone") throw new LinuxException("write", Errno.ENODEV);
            if (always == "deferred write error") return Check([0x71, 0, 3, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x0C, 0, 0, 0, 0, 0], sense);
            return Check(always == "attention" ? s_attention : s_unreachable, sense);
        };
        Assert.True(await unit.CloseAsync(TimeSpan.FromSeconds(30)));
        Assert.Equal(flushes, calls);
        Assert.NotNull(unit.ClosingFailure);
    }

    /// <summary>What the kernel did not take the device has not seen: its medium is not bad.</summary>
    [Theory]
    [InlineData(Errno.ENOMEM, "Busy")]
    [InlineData(Errno.EAGAIN, "Busy")]
    [InlineData(Errno.EDOM, "Busy")]
    [InlineData(Errno.ENODEV, "02/08/00")]
    [InlineData(Errno.ENXIO, "02/08/00")]
    [InlineData(Errno.EIO, "02/08/00")]
    [InlineData(Errno.EPERM, "02/08/00")]
    public async Task WhatTheKernelDoesNotTakeIsNoMediumError(Errno errno, string answer)
    {
        Open();
        _device.Answer = (_, _, _) => throw new LinuxException("write", errno);
        foreach (string cdb in (string[])["2A 00 00000000 00 0001 00", "28 00 00000000 00 0001 00", "35 00 00000000 00 0000 00"])
        {
            var result = await SendAsync(cdb, cdb[0] == '2' && cdb[1] == 'A' ? new byte[512] : null, cdb[1] == '8' ? 512 : 0);
            Assert.Equal(answer, result.Status == ScsiStatus.CheckCondition ? result.Sense.ToString() : result.Status.ToString());
        }
        _device.Answer = null;
    }

    public async ValueTask DisposeAsync()
    {
        _device.Gate?.Set();
        if (_unit is not null) await _unit.DisposeAsync();
    }

    private sealed class ChargedCommand : TestCommand
    {
        private long _charged;
        public long Charged => Volatile.Read(ref _charged);
        public long Most { get; private set; }

        protected internal override void Charge(long bytes) => Most = Math.Max(Most, Interlocked.Add(ref _charged, bytes));
    }

    private sealed class FakeDevice : IScsiDevice
    {
        public delegate ScsiDeviceResult Reply(ReadOnlySpan<byte> cdb, Span<byte> data, Span<byte> sense);

        private int _calls;

        public byte Type { get; set; }
        public Reply? Answer { get; set; }
        public ManualResetEventSlim? Gate { get; set; }
        public int Calls => Volatile.Read(ref _calls);
        public bool LastToDevice { get; private set; }
        public int LastLength { get; private set; }
        public bool IsDisposed { get; private set; }
        public bool WasUsedAfterDisposal { get; private set; }
        public int? MaxTransferBytes => 1 << 20;

        public ScsiDeviceResult Execute(ReadOnlySpan<byte> cdb, Span<byte> data, bool toDevice, Span<byte> sense, TimeSpan timeout)
        {
            Interlocked.Increment(ref _calls);
            (LastToDevice, LastLength) = (toDevice, data.Length);
            if (cdb[0] != 0x12) Gate?.Wait();
            if (IsDisposed) WasUsedAfterDisposal = true;
            if (Answer is not null) return Answer(cdb, data, sense);
            if (cdb[0] == 0x12) data[0] = Type;
            return new ScsiDeviceResult(0, 0, data.Length, 0);
        }

        public void Dispose() => IsDisposed = true;
    }
}
