using LunKit.Backstores;
using LunKit.Linux;
using LunKit.LogicalUnits;
using LunKit.Tcmu.Devices;
using LunKit.Tcmu.Handler;
using Microsoft.Extensions.Logging.Abstractions;

namespace LunKit.Tests.Tcmu;

/// <summary>A device that is handled, whose ring breaks and is opened again.</summary>
public sealed class HandledDeviceTests
{
    private sealed class Ring : IRingTransport
    {
        private readonly FakeKernel _kernel = new(16 * 1024, 1 << 20);
        private readonly SemaphoreSlim _bell = new(0);

        public Memory<byte> Region => _kernel.Region;

        /// <summary>The head points to nowhere.</summary>
        public void Break()
        {
            _kernel.Set(12, 4);
            Wake();
        }

        public FakeKernel Kernel => _kernel;
        public bool IsDisposed { get; private set; }

        public void Notify() { }
        public void Wake() => _bell.Release();

        public bool Wait(int timeoutMilliseconds)
        {
            _bell.Wait(5);
            return true;
        }

        public void Dispose() => IsDisposed = true;
    }

    private sealed class Access(Func<Ring> open, Action? admit = null) : IDeviceAccess
    {
        public TcmuDeviceName Name { get; } = TcmuDeviceName.Parse("tcm-user/0/disk/test/disk")!;
        public string Path => "of a test";
        public Func<IReadOnlyList<AccessGroup>>? PortGroups => null;
        public bool IsDisposed { get; private set; }

        public bool TryOwn() => true;
        public Task KeepSizeAsync(long sizeBytes) => Task.CompletedTask;
        public DeviceDescription ReadSnapshot() => new(1 << 20, 512, 1 << 20, "", true);
        public IRingTransport OpenRing(bool takesOver) => open();
        public void Admit(bool takesOver) => admit?.Invoke();
        public void Dispose() => IsDisposed = true;
    }

    private static HandledDevice Device(IDeviceAccess access) => new(
        access, (c, _) => ValueTask.FromResult<LogicalUnit>(new BlockUnit(new MemoryBackstore(1 << 20), "disk", new VolatileUnitState(c.Identity.Id))), NullLogger.Instance);

    /// <summary>A device that is closed while its ring is being opened again is closed, and does not go on serving the new ring.</summary>
    [Fact]
    public async Task CloseReachesARingThatIsBeingOpened()
    {
        var first = new Ring();
        using var gate = new ManualResetEventSlim();
        var opens = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        int opened = 0;
        var access = new Access(() =>
        {
            if (opened++ == 0) return first;
            opens.SetResult();
            gate.Wait();
            return new Ring();
        });
        var device = Device(access);
        Assert.Equal(Errno.None, (await device.OpenAsync(false))?.Error);
        first.Break();
        await opens.Task.WaitAsync(TimeSpan.FromSeconds(20));
        var closing = device.CloseAsync(TimeSpan.FromSeconds(5));
        await Task.Delay(200);
        gate.Set();
        await closing;
        Assert.Equal((TcmuDeviceState.Closed, true), (device.Status.State, access.IsDisposed));
    }

    /// <summary>Whatever keeps the ring from being opened again, whoever cares for the device hears of it, and can close it.</summary>
    [Fact]
    public async Task ARingThatCannotBeOpenedAgainIsLost()
    {
        var first = new Ring();
        int opened = 0;
        var access = new Access(() => opened++ == 0 ? first : throw new InsufficientMemoryException("no thread is left"));
        var device = Device(access);
        var lost = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        device.Lost = lost.SetResult;
        Assert.Equal(Errno.None, (await device.OpenAsync(false))?.Error);
        first.Break();
        await lost.Task.WaitAsync(TimeSpan.FromSeconds(20));
        Assert.Equal((TcmuDeviceState.Failed, "no thread is left"), (device.Status.State, device.Status.Error));
        await device.CloseAsync(TimeSpan.FromSeconds(5));
        Assert.True(access.IsDisposed);
    }

    /// <summary>The last step of an opening fails when the ring is served already: nothing of the ring goes on when its device is let go.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task ARingEndsWithTheOpeningThatFailsBehindIt(bool isLater)
    {
        Ring first = new(), second = new(), last = isLater ? second : first;
        bool fails = !isLater, wasServed = false;
        int opened = 0;
        var access = new Access(() => opened++ == 0 ? first : second, () =>
        {
            if (fails) throw new IOException("the kernel does not take '0' for action/block_dev");
            fails = true;
        });
        var device = Device(access);
        var lost = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        device.Lost = () =>
        {
            wasServed = !last.IsDisposed;
            lost.SetResult();
        };
        var reply = await device.OpenAsync(takesOver: true);
        if (isLater)
        {
            first.Break();
            await lost.Task.WaitAsync(TimeSpan.FromSeconds(20));
            Assert.False(wasServed);
            await device.CloseAsync(TimeSpan.FromSeconds(5));
        }
        else
        {
            Assert.Equal(Errno.EIO, reply?.Error);
        }
        Assert.Equal((true, true), (access.IsDisposed, last.IsDisposed));
        last.Kernel.Post([0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], (0, 512));
        last.Wake();
        await Task.Delay(200, TestContext.Current.CancellationToken);
        Assert.Empty(last.Kernel.Consume());
    }
}
