using LunKit.Backstores;
using LunKit.LogicalUnits;
using LunKit.Tcmu.Devices;
using LunKit.Tcmu.Handler;
using Microsoft.Extensions.Logging.Abstractions;

namespace LunKit.Tests.Tcmu;

/// <summary>The devices of a handler, and what whoever offers them is answered: every event exactly once, or by the process that has the device.</summary>
public sealed class HandledDevicesTests
{
    private const string Key = "user_0/disk@0";

    private sealed class Source : IDeviceSource
    {
        public List<(TcmuEventKind Kind, int? Status)> Answers { get; } = [];
        public void Start(HandledDevices devices) { }
        public ValueTask StopAsync() => ValueTask.CompletedTask;
        public ValueTask DisposeAsync() => ValueTask.CompletedTask;

        public void Reply(TcmuEvent e, DeviceReply reply)
        {
            lock (Answers) Answers.Add((e.Kind, reply.Status));
        }

        public void LeaveToOthers(TcmuEvent e)
        {
            lock (Answers) Answers.Add((e.Kind, null));
        }

        public async Task<(TcmuEventKind Kind, int? Status)> TakeAsync()
        {
            for (int i = 0; i < 1000; i++)
            {
                lock (Answers)
                {
                    if (Answers.Count > 0)
                    {
                        var answer = Answers[0];
                        Answers.RemoveAt(0);
                        return answer;
                    }
                }
                await Task.Delay(10, TestContext.Current.CancellationToken);
            }
            throw new TimeoutException("no answer");
        }
    }

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

    private sealed class Access(bool isOwn = true) : IDeviceAccess
    {
        public TcmuDeviceName Name { get; } = TcmuDeviceName.Parse("tcm-user/0/disk/test/disk")!;
        public string Path => "of a test";
        public Func<IReadOnlyList<AccessGroup>>? PortGroups => null;
        public int Touched { get; private set; }
        public long? Kept { get; private set; }
        public bool TryOwn() => isOwn;

        public Task KeepSizeAsync(long sizeBytes)
        {
            Kept = sizeBytes;
            return Task.CompletedTask;
        }

        public ManualResetEventSlim Folder { get; } = new(true);

        public DeviceDescription ReadSnapshot()
        {
            Folder.Wait(TimeSpan.FromSeconds(30));
            Touched++;
            return new(1 << 20, 512, 1 << 20, "", true);
        }

        public IRingTransport OpenRing(bool takesOver)
        {
            Touched++;
            return new Ring();
        }

        public void Admit(bool takesOver) => Touched++;
        public void Dispose() { }
    }

    private readonly Source _source = new();
    private readonly List<bool> _mustExist = [];
    private Exception? _fault;

    private HandledDevices Devices() => new(new Dictionary<string, TcmuUnitFactory>
    {
        ["test"] = (config, _) =>
        {
            _mustExist.Add(config.MustExist);
            if (_fault is { } fault) throw fault;
            return ValueTask.FromResult<LogicalUnit>(new BlockUnit(new MemoryBackstore(1 << 20), "disk", new VolatileUnitState(config.Identity.Id)));
        },
    }, _source, NullLogger.Instance);

    private static TcmuEvent Event(TcmuEventKind kind) => new(kind, "tcm-user/0/disk/test/disk", 0, 1);

    /// <summary>The kernel forgets a device that it was refused, and gives its number to the next: that is another device.</summary>
    [Fact]
    public async Task WhatWasRefusedCanBeAddedAgain()
    {
        var devices = Devices();
        _fault = new IOException("not now");
        devices.Add(Key, new Access(), Event(TcmuEventKind.Added), takesOver: false);
        Assert.Equal((TcmuEventKind.Added, -5), await _source.TakeAsync());
        Assert.False(devices.Contains(Key));
        // It is seen all the same, until it is gone.
        Assert.Equal((TcmuDeviceState.Failed, "not now"), Assert.Single(devices.Statuses) is var status ? (status.State, status.Error) : default);
        _fault = null;
        devices.Add(Key, new Access(), Event(TcmuEventKind.Added), takesOver: false);
        Assert.Equal((TcmuEventKind.Added, 0), await _source.TakeAsync());
        Assert.Equal(TcmuDeviceState.Serving, Assert.Single(devices.Statuses).State);
        Assert.Equal([false, false], _mustExist);
        await devices.CloseAsync();
    }

    /// <summary>It was found before its event was read.</summary>
    [Fact]
    public async Task AnEventOfADeviceThatIsKnownIsAnswered()
    {
        var devices = Devices();
        devices.Add(Key, new Access(), null, takesOver: true);
        devices.AnswerAdded(Key, Event(TcmuEventKind.Added));
        Assert.Equal((TcmuEventKind.Added, 0), await _source.TakeAsync());
        // What is taken over was there before: nothing new in its place.
        Assert.Equal([true], _mustExist);
        await devices.CloseAsync();
    }

    [Fact]
    public async Task WhatAnotherProcessHasIsNotTouchedAndNotAnsweredFor()
    {
        var devices = Devices();
        var access = new Access(isOwn: false);
        devices.Add(Key, access, Event(TcmuEventKind.Added), takesOver: false);
        Assert.Equal((TcmuEventKind.Added, null), await _source.TakeAsync());
        Assert.Equal((0, 0), (access.Touched, _mustExist.Count));
        Assert.Equal(TcmuDeviceState.Elsewhere, Assert.Single(devices.Statuses).State);
        devices.Reconfigure(Key, Event(TcmuEventKind.Reconfigured) with { SizeBytes = 4096 });
        Assert.Equal((TcmuEventKind.Reconfigured, null), await _source.TakeAsync());
        devices.Remove(Key, Event(TcmuEventKind.Removed));
        Assert.Equal((TcmuEventKind.Removed, null), await _source.TakeAsync());
        Assert.Empty(devices.Statuses);
    }

    /// <summary>Whoever removes a device holds its folder until the removal is answered, and the opening waits for the folder.</summary>
    [Fact]
    public async Task ARemovalDoesNotWaitForAnOpeningThatWaitsForIt()
    {
        var devices = Devices();
        var access = new Access();
        access.Folder.Reset();
        devices.Add(Key, access, null, takesOver: true);
        devices.Remove(Key, Event(TcmuEventKind.Removed));
        Assert.Equal((TcmuEventKind.Removed, 0), await _source.TakeAsync());
        access.Folder.Set();
        await devices.CloseAsync();
        // Nothing was opened for a device that is gone.
        Assert.Empty(_mustExist);
        Assert.Empty(_source.Answers);
    }

    [Fact]
    public async Task ADiskInUseIsNotCutOff()
    {
        var devices = Devices();
        var access = new Access();
        devices.Add(Key, access, Event(TcmuEventKind.Added), takesOver: false);
        Assert.Equal((TcmuEventKind.Added, 0), await _source.TakeAsync());
        foreach (ulong size in (ulong[])[1 << 19, 1000, (1 << 20) + 1, 0, ulong.MaxValue])
        {
            devices.Reconfigure(Key, Event(TcmuEventKind.Reconfigured) with { SizeBytes = size });
            Assert.Equal((TcmuEventKind.Reconfigured, -22), await _source.TakeAsync());
            Assert.Equal(1 << 20, access.Kept);
        }
        devices.Reconfigure(Key, Event(TcmuEventKind.Reconfigured) with { SizeBytes = 1 << 20 });
        Assert.Equal((TcmuEventKind.Reconfigured, 0), await _source.TakeAsync());
        await devices.CloseAsync();
    }

    [Theory]
    [InlineData("test/disk", 0)]
    [InlineData("test/disk\n", 0)]
    [InlineData("test/other", -95)]
    public async Task TheSameConfigurationIsTaken(string config, int status)
    {
        var devices = Devices();
        devices.Add(Key, new Access(), Event(TcmuEventKind.Added), takesOver: false);
        Assert.Equal((TcmuEventKind.Added, 0), await _source.TakeAsync());
        devices.Reconfigure(Key, Event(TcmuEventKind.Reconfigured) with { Config = config });
        Assert.Equal((TcmuEventKind.Reconfigured, status), await _source.TakeAsync());
        await devices.CloseAsync();
    }
}
