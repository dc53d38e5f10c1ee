using LunKit.App.Serve;
using LunKit.Backstores;
using LunKit.LogicalUnits;
using LunKit.Tests.Tcmu;

namespace LunKit.Tests.App;

/// <summary>SIGHUP: what fails there must not end the process, which has writes that are not flushed.</summary>
public sealed class RefreshTests
{
    private sealed class Odd(Exception failure) : BackstoreFilter(new MemoryBackstore(1 << 20), BackstoreFeatures.None)
    {
        public override ValueTask<long> MeasureAsync() => throw failure;
    }

    [Theory]
    [InlineData(typeof(IOException))]
    [InlineData(typeof(OperationCanceledException))]
    [InlineData(typeof(InvalidOperationException))]
    public async Task WhateverFailsIsLogged(Type failure)
    {
        await using var unit = new BlockUnit(new Odd((Exception)Activator.CreateInstance(failure, "odd")!), "odd unit", new VolatileUnitState(Guid.NewGuid()));
        var log = new ListLog();
        await Server.RefreshSizeAsync(unit, log);
        Assert.Contains(log.Lines, l => l.Contains("keeps its size: odd", StringComparison.Ordinal));
    }

    /// <summary>Two signals while an image is made longer, and the first is slow: what is written on the blocks that the second one has told of stays.</summary>
    [Fact]
    public async Task NothingOfAGrowingImageIsCutOff()
    {
        string path = Path.Combine(Path.GetTempPath(), $"lunkit-refresh-{Guid.NewGuid():N}.img");
        try
        {
            var store = new SlowToMeasure(FileBackstore.Open(new FileBackstoreOptions { Path = path, SizeBytes = 1 << 20 }));
            await using var unit = new BlockUnit(store, "disk", new VolatileUnitState(Guid.NewGuid()));
            var log = new ListLog();
            await TruncateAsync(path, "2M");
            var first = Server.RefreshSizeAsync(unit, log);
            await store.Measured.Task;
            await TruncateAsync(path, "3M");
            var second = Server.RefreshSizeAsync(unit, log);
            store.GoesOn.SetResult();
            await first;
            await second;
            Assert.Equal((3 << 20, 3 << 20), (unit.Store.Geometry.LengthBytes, new FileInfo(path).Length));
            // A size between the unit's and the file's, as the kernel's dev_size may be.
            await TruncateAsync(path, "5M");
            await unit.ResizeAsync(4 << 20);
            Assert.Equal((4 << 20, 5 << 20), (unit.Store.Geometry.LengthBytes, new FileInfo(path).Length));
            Assert.Empty(log.Lines);
        }
        finally
        {
            File.Delete(path);
        }
    }

    /// <summary>A name less is no deletion, as long as there is another.</summary>
    [Fact]
    public async Task ADeletedImageIsNamed()
    {
        string path = Path.Combine(Path.GetTempPath(), $"lunkit-refresh-{Guid.NewGuid():N}.img"), other = path + ".moved";
        await using var unit = new BlockUnit(FileBackstore.Open(new FileBackstoreOptions { Path = path, SizeBytes = 1 << 20 }), "lost disk", new VolatileUnitState(Guid.NewGuid()));
        var log = new ListLog();
        File.Move(path, other);
        await Server.RefreshSizeAsync(unit, log);
        Assert.Empty(log.Lines);
        File.Delete(other);
        await Server.RefreshSizeAsync(unit, log);
        Assert.Contains("lost disk: its image has been deleted", Assert.Single(log.Lines), StringComparison.Ordinal);
    }

    // .NET would ask for the lock first.
    private static async Task TruncateAsync(string path, string size)
    {
        using var truncate = System.Diagnostics.Process.Start("truncate", ["-s", size, path]);
        await truncate.WaitForExitAsync();
    }

    /// <summary>The first measure is told late.</summary>
    private sealed class SlowToMeasure(IBackstore inner) : BackstoreFilter(inner, AllFeatures)
    {
        public TaskCompletionSource Measured { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
        public TaskCompletionSource GoesOn { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public override async ValueTask<long> MeasureAsync()
        {
            long length = await base.MeasureAsync();
            Measured.TrySetResult();
            await GoesOn.Task;
            return length;
        }
    }
}
