using LunKit.Backstores;
using LunKit.Linux;
using LunKit.LogicalUnits;
using LunKit.Tcmu.Devices;
using LunKit.Tcmu.Handler;
using LunKit.Tcmu.Kernel;
using LunKit.Tests.Tcmu.Target;
using Microsoft.Extensions.Logging.Abstractions;

namespace LunKit.Tests.Tcmu;

/// <summary>Who answers the kernel's events: every one once, whatever runs out, and nobody for a device that another has.</summary>
public sealed class KernelEventsTests : IAsyncDisposable
{
    private static readonly IOException s_noDescriptor = new("Too many open files", (int)Errno.EMFILE);

    private sealed class Ring : IRingTransport
    {
        private readonly FakeKernel _kernel = new(16 * 1024, 1 << 20);
        private readonly SemaphoreSlim _bell = new(0);
        public Memory<byte> Region => _kernel.Region;
        public void Notify() { }
        public void Wake() => _bell.Release();
        public bool Wait(int timeoutMilliseconds) => _bell.Wait(5) || true;
        public void Dispose() { }
    }

    /// <summary>A device of the kernel, and who has it open.</summary>
    private sealed class Access(TcmuDeviceName name, bool mustBeEnabled, KernelEventsTests test) : IDeviceAccess
    {
        public TcmuDeviceName Name => name;
        public string Path => "of a test";
        public Func<IReadOnlyList<AccessGroup>>? PortGroups => null;

        public bool TryOwn()
        {
            test._owning?.Wait(TimeSpan.FromSeconds(30));
            if (test._view.IsHeldElsewhere || mustBeEnabled && !test._view.IsEnabled) return false;
            test._view.IsOurs = true;
            return true;
        }

        public Task KeepSizeAsync(long sizeBytes) => Task.CompletedTask;
        public DeviceDescription ReadSnapshot() => new(1 << 20, 512, 1 << 20, "", true);
        public IRingTransport OpenRing(bool takesOver) => new Ring();
        public void Admit(bool takesOver) { }
        public void Dispose() => test._view.IsOurs = false;
    }

    private sealed class View(KernelEventsTests test) : IKernelView
    {
        public UioDevice? Device { get; set; } = new(0, TcmuDeviceName.Parse("tcm-user/0/disk/test/disk")!, 4096);
        public volatile bool IsHeldElsewhere, IsOurs, IsEnabled, OthersListen, HasNoDescriptors;
        public int Looks, TakenUp;
        public ulong SizeBytes = 1 << 20;

        public IReadOnlyList<UioDevice> Devices()
        {
            Interlocked.Increment(ref Looks);
            if (HasNoDescriptors) throw s_noDescriptor;
            return Device is { } device ? [device] : [];
        }

        public IDeviceAccess Access(UioDevice device, bool mustBeEnabled)
        {
            TakenUp++;
            return new Access(device.Name, mustBeEnabled, test);
        }

        public bool? IsHeld(UioDevice device) => HasNoDescriptors ? null : IsHeldElsewhere || IsOurs;
        public bool IsInForce(TcmuEvent e) => HasNoDescriptors ? throw s_noDescriptor : e.Kind == TcmuEventKind.Added ? IsEnabled : e.SizeBytes == SizeBytes;
        public bool MayOthersAnswer() => OthersListen;
    }

    /// <summary>Holds up the last step of the unit's closing.</summary>
    private sealed class Slow(IBackstore inner, Task gate) : BackstoreFilter(inner, AllFeatures)
    {
        public override BackstoreFeatures Features => Inner.Features | BackstoreFeatures.VolatileCache;
        public override async ValueTask FlushAsync(CancellationToken cancellationToken) => await gate;
    }

    private readonly SteppedClock _clock = new();
    private readonly View _view;
    private readonly HandledDevices _devices;
    private readonly KernelEvents _events;
    private readonly List<(TcmuEventKind Kind, Errno Error)> _replies = [];
    private readonly TaskCompletionSource _flushes = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private ManualResetEventSlim? _owning;

    public KernelEventsTests()
    {
        _view = new(this);
        _devices = new(new Dictionary<string, TcmuUnitFactory>
        {
            ["test"] = (config, _) => ValueTask.FromResult<LogicalUnit>(new BlockUnit(new Slow(new MemoryBackstore(1 << 20), _flushes.Task), "disk", new VolatileUnitState(config.Identity.Id))),
        }, NullLogger.Instance);
        _events = new(_devices, _view, replies: true, () => _clock.Now, (e, reply) =>
        {
            lock (_replies) _replies.Add((e.Kind, reply.Error));
        }, NullLogger.Instance);
    }

    public async ValueTask DisposeAsync()
    {
        _flushes.TrySetResult();
        await _devices.CloseAsync();
        _owning?.Dispose();
    }

    private static TcmuEvent Event(TcmuEventKind kind, string subtype = "test") => new(kind, $"tcm-user/0/disk/{subtype}/disk", 0, 1);

    /// <summary>The kernel has a device of that subtype, and tells something of it.</summary>
    private void Tell(TcmuEventKind kind, string subtype, ulong? sizeBytes = null)
    {
        _view.Device = new(0, TcmuDeviceName.Parse($"tcm-user/0/disk/{subtype}/disk")!, 4096);
        _events.Told(Event(kind, subtype) with { SizeBytes = sizeBytes });
    }

    private int Replies
    {
        get { lock (_replies) return _replies.Count; }
    }

    /// <summary>Time goes by, and the events that are left are looked at as the source's thread does.</summary>
    private async Task PassAsync(int seconds)
    {
        for (int i = 0; i < seconds; i++)
        {
            _clock.Pass(TimeSpan.FromSeconds(1));
            // Some looks are on other threads.
            for (int turn = 0; turn < 5; turn++)
            {
                _events.LookAtLeft();
                await Task.Delay(5, TestContext.Current.CancellationToken);
            }
        }
    }

    private async Task ServeAsync()
    {
        _events.Told(Event(TcmuEventKind.Added));
        await UserBench.UntilAsync(() => Replies == 1, "the answer");
        Assert.Equal((TcmuEventKind.Added, Errno.None), _replies[0]);
        _view.IsEnabled = true;
        _replies.Clear();
    }

    /// <summary>
    /// Whoever restores a configuration writes what is there. That the device is so is no sign then that its handler has answered before it died, and its writer waits
    /// without a limit.
    /// </summary>
    [Theory]
    [InlineData(1 << 20, Errno.None)]
    [InlineData(2 << 20, Errno.ENOENT)]
    public async Task AChangeOfNothingIsAnsweredForAHandlerThatDied(int sizeBytes, Errno error)
    {
        Tell(TcmuEventKind.Reconfigured, "other", (ulong)sizeBytes);
        await PassAsync(12);
        Assert.Equal([(TcmuEventKind.Reconfigured, error)], _replies);
        await PassAsync(30);
        Assert.Single(_replies);
    }

    /// <summary>Its handler has made the change, and died: it has answered.</summary>
    [Fact]
    public async Task AChangeThatWasMadeIsAnswered()
    {
        Tell(TcmuEventKind.Reconfigured, "other", 2 << 20);
        await PassAsync(2);
        _view.SizeBytes = 2 << 20;
        await PassAsync(30);
        Assert.Empty(_replies);
    }

    /// <summary>Events that others did not answer are taken out of their queue to be looked at: one that cannot be looked at is looked at again.</summary>
    [Theory]
    [InlineData(TcmuEventKind.Added, Errno.ENOENT)]
    [InlineData(TcmuEventKind.Reconfigured, Errno.ENOENT)]
    [InlineData(TcmuEventKind.Removed, Errno.None)]
    public async Task WithoutDescriptorsAnEventIsLookedAtAgain(object kind, Errno error)
    {
        _view.HasNoDescriptors = true;
        Tell((TcmuEventKind)kind, "other");
        await PassAsync(30);
        Assert.Empty(_replies);
        _view.HasNoDescriptors = false;
        await PassAsync(12);
        Assert.Equal([((TcmuEventKind)kind, error)], _replies);
    }

    /// <summary>It is another handler's, and this one cannot see that for want of a descriptor.</summary>
    [Theory]
    [InlineData(TcmuEventKind.Added, "test")]
    [InlineData(TcmuEventKind.Removed, "test")]
    [InlineData(TcmuEventKind.Removed, "other")]
    public async Task WithoutDescriptorsNothingIsAnsweredForOthers(object kind, string subtype)
    {
        (_view.HasNoDescriptors, _view.IsHeldElsewhere) = (true, true);
        Tell((TcmuEventKind)kind, subtype);
        await PassAsync(20);
        _view.HasNoDescriptors = false;
        await PassAsync(20);
        Assert.Empty(_replies);
        // Whoever has it answers.
        (_view.IsEnabled, _view.Device) = (true, null);
        await PassAsync(12);
        Assert.Empty(_replies);
        Assert.False(_events.IsAnswering);
    }

    /// <summary>A look without descriptors does not take devices for gone.</summary>
    [Fact]
    public async Task WithoutDescriptorsADeviceIsNotLetGo()
    {
        await ServeAsync();
        _view.HasNoDescriptors = true;
        Assert.Throws<IOException>(() => _events.Look());
        Assert.True(_devices.IsOwn("user_0/disk@0"));
    }

    /// <summary>A last flush that takes longer than looks are apart.</summary>
    [Fact]
    public async Task ADeviceIsNotTakenUpAgainWhileItIsRemoved()
    {
        await ServeAsync();
        _events.Look();
        _events.Told(Event(TcmuEventKind.Removed));
        for (int i = 0; i < 5; i++) _events.Look();
        _flushes.SetResult();
        await UserBench.UntilAsync(() => Replies == 1, "the answer");
        Assert.Equal((TcmuEventKind.Removed, Errno.None), _replies[0]);
        // The kernel takes its time, too.
        for (int i = 0; i < 5; i++) _events.Look();
        Assert.Equal(1, _view.TakenUp);
        // The next one of that name and number is another device, whether a look has found the gap or not.
        _events.Told(Event(TcmuEventKind.Added));
        await UserBench.UntilAsync(() => Replies == 2, "the answer");
        Assert.Equal((2, true), (_view.TakenUp, _devices.IsOwn("user_0/disk@0")));
    }

    [Fact]
    public async Task ADeviceThatCameAgainUnheardIsTakenUp()
    {
        await ServeAsync();
        _flushes.SetResult();
        _events.Told(Event(TcmuEventKind.Removed));
        await UserBench.UntilAsync(() => Replies == 1, "the answer");
        _events.Look();
        Assert.Equal(1, _view.TakenUp);
        _events.Look(wasLost: true);
        Assert.Equal(2, _view.TakenUp);
    }

    /// <summary>Whoever lets a device go to answer its removal has not answered at that moment.</summary>
    [Fact]
    public async Task ARemovalIsItsWhoHadTheDevice()
    {
        _view.OthersListen = _view.IsHeldElsewhere = true;
        _events.Told(Event(TcmuEventKind.Removed));
        await PassAsync(9);
        _view.IsHeldElsewhere = false;
        await PassAsync(1);
        Assert.Empty(_replies);
        // It has answered.
        _view.Device = null;
        await PassAsync(12);
        Assert.Empty(_replies);
        Assert.False(_events.IsAnswering);
    }

    /// <summary>Its owner has let it go, and dies before it answers.</summary>
    [Fact]
    public async Task ARemovalThatNobodyAnswersIsAnswered()
    {
        _view.OthersListen = _view.IsHeldElsewhere = true;
        _events.Told(Event(TcmuEventKind.Removed));
        await PassAsync(9);
        _view.IsHeldElsewhere = false;
        await PassAsync(12);
        Assert.Equal([(TcmuEventKind.Removed, Errno.None)], _replies);
    }

    /// <summary>No other handler was told: a removal holds all of the target, and is not held up.</summary>
    [Fact]
    public async Task ARemovalThatNobodyElseWasToldIsAnsweredAtOnce()
    {
        Tell(TcmuEventKind.Removed, "other");
        _events.LookAtLeft();
        await UserBench.UntilAsync(() => Replies == 1, "the answer");
        Assert.Equal((TcmuEventKind.Removed, Errno.None), _replies[0]);
    }

    /// <summary>A look has begun to find out whether the device can be taken over, and another process has it.</summary>
    [Theory]
    [InlineData(TcmuEventKind.Added)]
    [InlineData(TcmuEventKind.Removed)]
    [InlineData(TcmuEventKind.Reconfigured)]
    public async Task WhatIsBeingLookedAtIsNotOurs(object kind)
    {
        _view.OthersListen = _view.IsHeldElsewhere = true;
        _owning = new(false);
        _events.Look();
        _events.Told(Event((TcmuEventKind)kind));
        _events.Look();
        await PassAsync(12);
        _owning.Set();
        await PassAsync(12);
        Assert.Empty(_replies);
    }

    /// <summary>Its opening was another's, who died: it is taken over here, and whoever enables it goes on.</summary>
    [Fact]
    public async Task AnOpeningOfWhoDiedIsAnsweredByWhoTakesOver()
    {
        _view.OthersListen = _view.IsHeldElsewhere = true;
        _events.Told(Event(TcmuEventKind.Added));
        await PassAsync(20);
        Assert.Empty(_replies);
        _view.IsHeldElsewhere = false;
        _events.Look();
        _events.Look();
        await PassAsync(6);
        Assert.Equal([(TcmuEventKind.Added, Errno.None)], _replies);
    }

    /// <summary>Another handler was told of it before this one was there, and is late: who enables the device waits for that one.</summary>
    [Fact]
    public async Task ADeviceThatIsBeingEnabledIsWhoWasTold()
    {
        _view.OthersListen = true;
        for (int i = 0; i < 4; i++) _events.Look();
        await UserBench.UntilAsync(() => !_devices.Contains("user_0/disk@0"), "the end of the look");
        Assert.Equal(TcmuDeviceState.Elsewhere, Assert.Single(_devices.Statuses).State);
        _view.IsEnabled = true;
        await UserBench.UntilAsync(() =>
        {
            _events.Look();
            return _devices.Statuses is [{ State: TcmuDeviceState.Serving }];
        }, "taking over");
    }
}
