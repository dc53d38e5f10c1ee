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
}
