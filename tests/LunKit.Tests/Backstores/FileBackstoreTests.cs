using LunKit.Backstores;
using LunKit.Linux;
using Microsoft.Win32.SafeHandles;

namespace LunKit.Tests.Backstores;

/// <summary>A file backstore on a file system that hangs: its caller's thread never waits, whatever is called.</summary>
public sealed class FileBackstoreTests : IDisposable
{
    private const int Length = 1 << 20;
    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(30);

    private readonly string _path = Path.Combine(Path.GetTempPath(), $"lunkit-file-{Guid.NewGuid():N}.img");

    public void Dispose() => File.Delete(_path);

    /// <summary>Whoever had its lock deletes it at his end: served then, it would have no name, and be gone with its last handle.</summary>
    [Fact]
    public void AnImageThatIsDeletedWhileItIsOpenedIsMadeAnew()
    {
        File.WriteAllBytes(_path, new byte[1 << 20]);
        int opened = 0;
        using var opening = new ImageOpening(new FileBackstoreOptions { Path = _path, SizeBytes = 1 << 20 })
        {
            Opened = () =>
            {
                if (opened++ == 0) File.Delete(_path);
            },
        };
        opening.Run();
        using var image = opening.Take();
        Assert.Equal(2, opened);
        Assert.Equal(_path, opening.Created);
        Assert.False(LunKit.Linux.FileDescriptor.IsDeleted(image));
    }

    /// <summary>An image that has grown since is served by the command line that made it.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task ASizeCreatesAndGrowsAndCutsNothingOff(bool readOnly)
    {
        var options = new FileBackstoreOptions { Path = _path, SizeBytes = 1 << 20 };
        await FileBackstore.Open(options).DisposeAsync();
        using (var image = File.OpenWrite(_path)) image.SetLength(3 << 20);
        await using (var store = FileBackstore.Open(options with { ReadOnly = readOnly })) Assert.Equal(3 << 20, store.Geometry.LengthBytes);
        await using (var store = FileBackstore.Open(options with { SizeBytes = 4 << 20 })) Assert.Equal(4 << 20, store.Geometry.LengthBytes);
        Assert.Equal(4 << 20, new FileInfo(_path).Length);
    }

    /// <summary>Its owner was faster: what he has added is not cut off, whether it is grown to less than that or another length is taken over.</summary>
    [Fact]
    public async Task WhatItsOwnerAddsIsNotCutOff()
    {
        await using var store = new BackstoreGuard(FileBackstore.Open(new FileBackstoreOptions { Path = _path, SizeBytes = 1 << 20 }));
        using (var truncate = System.Diagnostics.Process.Start("truncate", ["-s", "3M", _path])) await truncate.WaitForExitAsync();
        Assert.True(await store.GrowAsync(2 << 20, default));
        Assert.Equal((2 << 20, 3 << 20), (store.Geometry.LengthBytes, await store.MeasureAsync()));
        Assert.True(await store.TakeLengthAsync(1 << 20, default));
        Assert.Equal((1 << 20, 3 << 20), (store.Geometry.LengthBytes, await store.MeasureAsync()));
        Assert.Equal(BackstoreError.Busy, (await Assert.ThrowsAsync<BackstoreException>(async () => await store.TakeLengthAsync(4 << 20, default))).Error);
        Assert.True(await store.GrowAsync(4 << 20, default));
        Assert.Equal((4 << 20, 4 << 20), (store.Geometry.LengthBytes, await store.MeasureAsync()));
        await Assert.ThrowsAsync<InvalidOperationException>(async () => await store.GrowAsync(1 << 20, default));
    }

    /// <summary>Whoever adds to a file while it is grown loses nothing, whichever comes first.</summary>
    [Fact]
    public async Task GrowthAndAppendingMeet()
    {
        const int pages = 2000;
        using var file = File.OpenHandle(_path, FileMode.Create, FileAccess.ReadWrite, FileShare.ReadWrite);
        var page = Enumerable.Repeat((byte)7, 4096).ToArray();
        var appending = Task.Run(() =>
        {
            for (int i = 0; i < pages; i++) RandomAccess.Write(file, page, i * 4096L);
        }, TestContext.Current.CancellationToken);
        while (!appending.IsCompleted) FileDescriptor.Grow(file, RandomAccess.GetLength(file) + 1);
        await appending;
        var all = new byte[pages * 4096];
        Assert.Equal(all.Length, RandomAccess.Read(file, all, 0));
        Assert.False(all.AsSpan().ContainsAnyExcept((byte)7));
    }

    /// <summary>What somebody has cut off is lost, and not zeroes. The rest is read as before.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task WhatIsCutOffIsNotReadAsZeroes(bool direct)
    {
        await using var store = new BackstoreGuard(FileBackstore.Open(new FileBackstoreOptions { Path = _path, SizeBytes = 1 << 20, Direct = direct }));
        await store.WriteAsync(0, new DataBuffer(Enumerable.Repeat((byte)7, 1 << 20).ToArray()), default, CancellationToken.None);
        // .NET would ask for the lock first.
        using (var truncate = System.Diagnostics.Process.Start("truncate", ["-s", "512K", _path])) await truncate.WaitForExitAsync();
        var data = new byte[64 << 10];
        await store.ReadAsync(448 << 10, new DataBuffer(data), CancellationToken.None);
        Assert.All(data, b => Assert.Equal(7, b));
        foreach (var pieces in (DataBuffer[])[new DataBuffer(data), new DataBuffer([data.AsMemory(0, 4096), data.AsMemory(4096)], 2)])
        {
            var error = await Assert.ThrowsAsync<LinuxException>(async () => await store.ReadAsync(480 << 10, pieces, CancellationToken.None));
            Assert.Equal(Errno.ENODATA, error.Errno);
            Assert.Contains("somebody has truncated it", error.Message, StringComparison.Ordinal);
        }
    }

    /// <summary>An image whose calls, but those that never wait, hang until the file system goes on.</summary>
    private sealed class HungImage(SafeFileHandle file) : ImageFile(file)
    {
        private readonly ManualResetEventSlim _goesOn = new(true);

        public int Inside;

        public void Hang() => _goesOn.Reset();
        public void GoOn() => _goesOn.Set();

        private void Wait()
        {
            Interlocked.Increment(ref Inside);
            Assert.True(_goesOn.Wait(s_limit));
        }

        public override bool ReadNow(long offset, DataBuffer data) => false;

        public override void Read(long offset, DataBuffer data)
        {
            Wait();
            base.Read(offset, data);
        }

        public override void Write(long offset, DataBuffer data)
        {
            Wait();
            base.Write(offset, data);
        }

        public override void Flush()
        {
            Wait();
            base.Flush();
        }

        public override bool PunchHole(long offset, long length)
        {
            Wait();
            return base.PunchHole(offset, length);
        }

        public override bool ZeroRange(long offset, long length)
        {
            Wait();
            return base.ZeroRange(offset, length);
        }

        public override (bool IsData, long End) Extent(long offset, long limit)
        {
            Wait();
            return base.Extent(offset, limit);
        }

        public override long ReadLength()
        {
            Wait();
            return base.ReadLength();
        }

        public override bool IsDeleted()
        {
            Wait();
            return base.IsDeleted();
        }

        public override void Grow(long length)
        {
            Wait();
            base.Grow(length);
        }

        public override long? ReadAvailable()
        {
            Wait();
            return 12345;
        }

        public override void Dispose()
        {
            Wait();
            base.Dispose();
            _goesOn.Dispose();
        }
    }

    private (FileBackstore Store, HungImage Image) Open()
    {
        var file = File.OpenHandle(_path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.ReadWrite);
        RandomAccess.SetLength(file, Length);
        var image = new HungImage(file);
        return (new FileBackstore(image, _path, new BackstoreGeometry(Length), direct: null, isInMemory: false), image);
    }

    public static TheoryData<string> Calls => ["read", "write", "forced write", "flush", "discard", "zeroes", "extent", "measure", "deleted", "grow", "take", "dispose"];

    private static async Task CallAsync(FileBackstore store, BackstoreGuard guard, string call)
    {
        var data = new DataBuffer(new byte[4096]);
        switch (call)
        {
            case "read": await guard.ReadAsync(0, data, default); break;
            case "write": await guard.WriteAsync(0, data, WriteOptions.None, default); break;
            case "forced write": await guard.WriteAsync(0, data, WriteOptions.ForceUnitAccess, default); break;
            case "flush": await guard.FlushAsync(default); break;
            case "discard": await guard.DiscardAsync(0, 4096, default); break;
            case "zeroes": await guard.WriteZeroesAsync(0, 4096, WriteOptions.None, default); break;
            case "extent": await guard.ExtentAsync(0, 4096, default); break;
            case "measure": Assert.Equal(Length, await guard.MeasureAsync()); break;
            case "deleted": Assert.False(await guard.IsDeletedAsync()); break;
            case "grow": await guard.GrowAsync(2 * Length, default); break;
            case "take": await guard.TakeLengthAsync(Length, default); break;
            default: await store.DisposeAsync(); break;
        }
    }

    // Where a path begins says nothing of where the file is: calls on a medium do not belong on the caller's thread.
    [Fact]
    public async Task AFileIsWhereItIsNotWhereItsLinkIs()
    {
        string link = $"/dev/shm/{Path.GetFileName(_path)}";
        await File.WriteAllBytesAsync(_path, new byte[Length], TestContext.Current.CancellationToken);
        using (var file = File.OpenHandle(_path)) Assert.SkipWhen(FileDescriptor.FileSystem(file) is not { IsInMemory: false }, "no folder with a medium");
        File.CreateSymbolicLink(link, _path);
        try
        {
            await using var store = FileBackstore.Open(new FileBackstoreOptions { Path = link });
            int waited = 0;
            for (int i = 0; i < 50; i++)
            {
                var write = store.WriteAsync(0, new DataBuffer(new byte[Length]), WriteOptions.None, default);
                if (!write.IsCompleted) waited++;
                await write;
            }
            Assert.NotEqual(0, waited);
        }
        finally
        {
            File.Delete(link);
        }
    }

    /// <summary>Were the call made on this thread it would hang here.</summary>
    [Theory, MemberData(nameof(Calls))]
    public async Task NoCallWaitsOnItsCallersThread(string call)
    {
        var (store, image) = Open();
        var guard = new BackstoreGuard(store);
        image.Hang();
        int before = image.Inside;
        var running = CallAsync(store, guard, call);
        Assert.False(running.IsCompleted);
        await UntilAsync(() => Volatile.Read(ref image.Inside) > before);
        image.GoOn();
        await running.WaitAsync(s_limit, TestContext.Current.CancellationToken);
        if (call != "dispose") await guard.DisposeAsync();
    }

    [Fact]
    public async Task TheFreeSpaceIsToldWithoutWaiting()
    {
        var (store, image) = Open();
        image.Hang();
        await Task.Delay(1100, TestContext.Current.CancellationToken);
        // What was measured last; a new measurement hangs now, once.
        int before = image.Inside;
        Assert.Equal(12345, store.AvailableBytes);
        Assert.Equal(12345, store.AvailableBytes);
        await UntilAsync(() => Volatile.Read(ref image.Inside) == before + 1);
        image.GoOn();
        await store.DisposeAsync();
    }

    private static async Task UntilAsync(Func<bool> holds)
    {
        for (int i = 0; i < 3000 && !holds(); i++) await Task.Delay(10, TestContext.Current.CancellationToken);
        Assert.True(holds());
    }
}
