using LunKit.Backstores;

namespace LunKit.Tests.Backstores.Filters;

/// <summary>What stands between a filter and its inner backstore refuses the calls that the contract forbids.</summary>
public sealed class LayerGuardTests
{
    /// <summary>A filter that does what the test says with its inner backstore.</summary>
    private sealed class Wild(IBackstore inner) : BackstoreFilter(inner, AllFeatures)
    {
        public IBackstore Below => Inner;
    }

    /// <summary>Declares less than it does.</summary>
    private sealed class Modest(IBackstore inner, BackstoreFeatures features) : BackstoreFilter(inner, features);

    private static IBackstore Below(BackstoreFeatures features) => new Wild(new Modest(new MemoryBackstore(1 << 20), features)).Below;

    public static TheoryData<string, BackstoreFeatures> Undeclared => new()
    {
        { "DiscardAsync", BackstoreFeatures.Discard }, { "WriteZeroesAsync", BackstoreFeatures.WriteZeroes }, { "WriteSameAsync", BackstoreFeatures.WriteSame },
        { "CompareAndWriteAsync", BackstoreFeatures.CompareAndWrite }, { "ExtentAsync", BackstoreFeatures.Extents }, { "GrowAsync", BackstoreFeatures.Resize },
        { "TakeLengthAsync", BackstoreFeatures.Resize },
    };

    private static Task Call(IBackstore store, string call)
    {
        var data = new DataBuffer(new byte[512]);
        return call switch
        {
            "DiscardAsync" => store.DiscardAsync(0, 512, default).AsTask(),
            "WriteZeroesAsync" => store.WriteZeroesAsync(0, 512, default, default).AsTask(),
            "WriteSameAsync" => store.WriteSameAsync(0, 512, data, default, default).AsTask(),
            "CompareAndWriteAsync" => store.CompareAndWriteAsync(0, data, data, default, default).AsTask(),
            "ExtentAsync" => store.ExtentAsync(0, 512, default).AsTask(),
            "GrowAsync" => store.GrowAsync(2 << 20, default).AsTask(),
            _ => store.TakeLengthAsync(1 << 20, default).AsTask(),
        };
    }

    [Theory, MemberData(nameof(Undeclared))]
    public async Task WhatIsNotDeclaredIsNotCalled(string call, BackstoreFeatures feature)
    {
        var refusal = await Assert.ThrowsAsync<InvalidOperationException>(() => Call(Below(BackstoreFeatures.Concurrent), call));
        Assert.Contains($"{call} is called, but BackstoreFeatures.{feature} is not declared", refusal.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("DiscardAsync")]
    [InlineData("WriteZeroesAsync")]
    [InlineData("ExtentAsync")]
    public Task WhatIsDeclaredIsCalled(string call) => Call(Below(BackstoreFilter.AllFeatures), call);

    [Theory]
    [InlineData(0, 0)]
    [InlineData(-512, 512)]
    [InlineData(256, 512)]
    [InlineData(0, 100)]
    [InlineData(1 << 20, 512)]
    public async Task RangesOutsideTheMediumAreRefused(long offset, int length)
    {
        var below = Below(BackstoreFilter.AllFeatures);
        await Assert.ThrowsAsync<InvalidOperationException>(async () => await below.ReadAsync(offset, new DataBuffer(new byte[length]), default));
        await Assert.ThrowsAsync<InvalidOperationException>(async () => await below.WriteAsync(offset, new DataBuffer(new byte[length]), default, default));
        await Assert.ThrowsAsync<InvalidOperationException>(async () => await below.DiscardAsync(offset, length, default));
    }

    /// <summary>Also two of different kinds; one after the other is right.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task CallsOverlapOnlyWhereThatIsDeclared(bool isConcurrent)
    {
        var slow = new FaultFilter(new MemoryBackstore(1 << 20), new FaultSettings(new FaultRule { Effect = FaultEffect.Hang, Operations = OperationClasses.Read }));
        var below = new Wild(new Modest(slow, isConcurrent ? BackstoreFilter.AllFeatures : BackstoreFilter.AllFeatures & ~BackstoreFeatures.Concurrent)).Below;
        var first = below.ReadAsync(0, new DataBuffer(new byte[512]), default).AsTask();
        Assert.False(first.IsCompleted);
        var second = below.FlushAsync(default).AsTask();
        if (isConcurrent) await second;
        else Assert.Contains("two calls at once", (await Assert.ThrowsAsync<InvalidOperationException>(() => second)).Message, StringComparison.Ordinal);
        slow.Settings = FaultSettings.Off;
        await first;
        await below.FlushAsync(default);
        await below.DiscardAsync(0, 512, default);
    }
}
