using LunKit.Backstores;
using LunKit.Linux;
using LunKit.LogicalUnits;
using LunKit.Tcmu.Devices;
using LunKit.Tcmu.Handler;
using Microsoft.Extensions.Logging.Abstractions;

namespace LunKit.Tests.Tcmu;

/// <summary>The devices of a handler, and what whoever offers them is answered: every event exactly once, or by the process that has the device.</summary>
public sealed class HandledDevicesTests
{
    private const string Key = "user_0/disk@0";

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
        public int BlockSize { get; init; } = 512;
        public bool WaitsForReplies { get; init; } = true;
        public int Touched { get; private set; }
        public long? Kept { get; private set; }
        public Exception? Unknown { get; init; }
        public bool TryOwn() => Unknown is { } e ? throw e : isOwn;

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
            return new(1 << 20, BlockSize, 1 << 20, "", true) { WaitsForReplies = WaitsForReplies };
        }

        public IRingTransport OpenRing(bool takesOver)
        {
            Touched++;
            return new Ring();
        }

        public void Admit(bool takesOver) => Touched++;
        public void Dispose() { }
    }

    private readonly List<bool> _mustExist = [];
    private Exception? _fault;

    private HandledDevices Devices() => new(new Dictionary<string, TcmuUnitFactory>
    {
        ["test"] = (config, _) =>
        {
            _mustExist.Add(config.MustExist);
            if (_fault is { } fault) throw fault;
            return ValueTask.FromResult<LogicalUnit>(new BlockUnit(new MemoryBackstore(new BackstoreGeometry(1 << 20) { BlockSize = config.BlockSize }), "disk", new VolatileUnitState(config.Identity.Id)));
        },
    }, NullLogger.Instance);

    private static readonly TcmuEvent s_change = new(TcmuEventKind.Reconfigured, "tcm-user/0/disk/test/disk", 0, 1);

    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(30);

    /// <summary>The kernel forgets a device that it was refused, and gives its number to the next: that is another device.</summary>
    [Fact]
    public async Task WhatWasRefusedCanBeAddedAgain()
    {
        var devices = Devices();
        _fault = new IOException("not now");
        Assert.Equal(Errno.EIO, (await devices.AddAsync(Key, new Access(), takesOver: false))?.Error);
        Assert.False(devices.Contains(Key));
        // It is seen all the same, until it is gone.
        Assert.Equal((TcmuDeviceState.Failed, "not now"), Assert.Single(devices.Statuses) is var status ? (status.State, status.Error) : default);
        _fault = null;
        Assert.Equal(DeviceReply.Done, await devices.AddAsync(Key, new Access(), takesOver: false));
        Assert.Equal(TcmuDeviceState.Serving, Assert.Single(devices.Statuses).State);
        Assert.Equal([false, false], _mustExist);
        await devices.CloseAsync();
    }

    /// <summary>It was found before its event was read.</summary>
    [Fact]
    public async Task AnEventOfADeviceThatIsKnownIsAnswered()
    {
        var devices = Devices();
        var opening = devices.AddAsync(Key, new Access(), takesOver: true);
        Assert.Equal(DeviceReply.Done, await devices.IsAddedAsync(Key));
        await opening;
        // What is taken over was there before: nothing new in its place.
        Assert.Equal([true], _mustExist);
        await devices.CloseAsync();
    }

    [Fact]
    public async Task WhatAnotherProcessHasIsNotTouchedAndNotAnsweredFor()
    {
        var devices = Devices();
        var access = new Access(isOwn: false);
        var opening = devices.AddAsync(Key, access, takesOver: false);
        Assert.Null(await devices.IsAddedAsync(Key));
        Assert.Null(await opening);
        Assert.Equal((0, 0), (access.Touched, _mustExist.Count));
        Assert.Equal(TcmuDeviceState.Elsewhere, Assert.Single(devices.Statuses).State);
        Assert.Null(await devices.ReconfigureAsync(Key, s_change with { SizeBytes = 4096 }));
        Assert.Null(await devices.RemoveAsync(Key));
        Assert.Empty(devices.Statuses);
    }

    /// <summary>Where no descriptor is left, nobody knows whether another process has the device: it is not answered for, in no way.</summary>
    [Fact]
    public async Task WhatCouldNotEvenBeTriedIsNotAnsweredFor()
    {
        var devices = Devices();
        var access = new Access { Unknown = new LinuxException("open", Errno.EMFILE) };
        var opening = devices.AddAsync(Key, access, takesOver: false);
        Assert.Null(await devices.IsAddedAsync(Key));
        Assert.Null(await opening);
        Assert.Equal(TcmuDeviceState.Failed, Assert.Single(devices.Statuses).State);
        opening = devices.AddAsync(Key, access, takesOver: true);
        Assert.Null(await devices.ReconfigureAsync(Key, s_change with { SizeBytes = 4096 }));
        Assert.Null(await opening);
    }

    /// <summary>A look has just begun to find out whether another process has the device, when its removal is told.</summary>
    [Fact]
    public async Task ARemovalIsNotAnsweredWhileALookFindsThatAnotherProcessHasTheDevice()
    {
        var devices = Devices();
        var opening = devices.AddAsync(Key, new Access(isOwn: false), takesOver: true);
        Assert.Null(await devices.RemoveAsync(Key));
        Assert.Null(await opening);
    }

    /// <summary>Whoever removes a device holds its folder until the removal is answered, and the opening waits for the folder.</summary>
    [Fact]
    public async Task ARemovalDoesNotWaitForAnOpeningThatWaitsForIt()
    {
        var devices = Devices();
        var access = new Access();
        access.Folder.Reset();
        var opening = devices.AddAsync(Key, access, takesOver: true);
        Assert.Equal(DeviceReply.Done, await devices.RemoveAsync(Key).WaitAsync(s_limit));
        Assert.False(opening.IsCompleted);
        access.Folder.Set();
        await devices.CloseAsync();
        // Nothing was opened for a device that is gone.
        Assert.Empty(_mustExist);
    }

    public static TheoryData<Exception, Errno> Faults => new()
    {
        { new TcmuException("no such option"), Errno.EINVAL },
        { new BackstoreException(BackstoreError.Internal, "it is a folder"), Errno.EINVAL },
        { new BackstoreException(BackstoreError.Internal, "cannot be opened", null, new IOException("Read-only file system", (int)Errno.EROFS)), Errno.EROFS },
        { new BackstoreException(BackstoreError.Internal, "cannot be opened", null, new UnauthorizedAccessException()), Errno.EACCES },
        { new TcmuException("in words", new BackstoreException(BackstoreError.InUse, "locked")), Errno.EBUSY },
        { new TcmuException("in words", new FileNotFoundException()), Errno.ENOENT },
        { new LinuxException("open", Errno.ENXIO), Errno.ENXIO },
        { new InvalidCastException(), Errno.EIO },
    };

    /// <summary>The writer of <c>enable</c> gets what is at the bottom of a refusal.</summary>
    [Theory]
    [MemberData(nameof(Faults))]
    public async Task ARefusalSaysWhichErrorItIs(Exception fault, Errno error)
    {
        _fault = fault;
        Assert.Equal(error, (await Devices().AddAsync(Key, new Access(), takesOver: false))?.Error);
    }

    [Fact]
    public async Task WhoWaitsForNoReplyIsSentNone()
    {
        var devices = Devices();
        Assert.Equal(DeviceReply.Done with { IsUnasked = true }, await devices.AddAsync(Key, new Access { WaitsForReplies = false }, takesOver: false));
        Assert.Equal(DeviceReply.Done with { IsUnasked = true }, await devices.RemoveAsync(Key));
        await devices.CloseAsync();
    }

    [Fact]
    public async Task BlocksThatInitiatorsDoNotKnowAreRefused()
    {
        Assert.Equal(Errno.EINVAL, (await Devices().AddAsync(Key, new Access { BlockSize = 1024 }, takesOver: false))?.Error);
    }

    [Fact]
    public async Task ADiskInUseIsNotCutOff()
    {
        var devices = Devices();
        var access = new Access();
        Assert.Equal(DeviceReply.Done, await devices.AddAsync(Key, access, takesOver: false));
        foreach (ulong size in (ulong[])[1 << 19, 1000, (1 << 20) + 1, 0, ulong.MaxValue])
        {
            Assert.Equal(Errno.EINVAL, (await devices.ReconfigureAsync(Key, s_change with { SizeBytes = size }))?.Error);
            Assert.Equal(1 << 20, access.Kept);
        }
        Assert.Equal(DeviceReply.Done, await devices.ReconfigureAsync(Key, s_change with { SizeBytes = 1 << 20 }));
        await devices.CloseAsync();
    }

    [Theory]
    [InlineData("test/disk", Errno.None)]
    [InlineData("test/disk\n", Errno.None)]
    [InlineData("test/other", Errno.EOPNOTSUPP)]
    public async Task TheSameConfigurationIsTaken(string config, Errno error)
    {
        var devices = Devices();
        Assert.Equal(DeviceReply.Done, await devices.AddAsync(Key, new Access(), takesOver: false));
        Assert.Equal(error, (await devices.ReconfigureAsync(Key, s_change with { Config = config }))?.Error);
        await devices.CloseAsync();
    }
}
