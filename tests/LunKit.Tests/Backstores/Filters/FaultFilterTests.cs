using LunKit.Backstores;

namespace LunKit.Tests.Backstores.Filters;

public sealed class FaultFilterTests
{
    private const int Length = 1 << 20, Block = 512;

    private readonly MemoryBackstore _memory = new(Length);

    private FaultFilter Over(params FaultRule[] rules) => new(_memory, new FaultSettings(rules));

    private static byte[] Bytes(byte value, int length) => [.. Enumerable.Repeat(value, length)];

    private static Task Write(IBackstore store, long offset, byte value, int length = Block, CancellationToken stop = default) =>
        store.WriteAsync(offset, new DataBuffer(Bytes(value, length)), default, stop).AsTask();

    private static async Task<byte[]> ReadAsync(IBackstore store, long offset, int length = Block)
    {
        var data = new byte[length];
        await store.ReadAsync(offset, new DataBuffer(data), default);
        return data;
    }

    /// <summary>Waits until it has ended, well or not.</summary>
    private static async Task EndOfAsync(Task call) => await call.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);

    private static async Task<BackstoreException> FailureOfAsync(Task call) => await Assert.ThrowsAsync<BackstoreException>(() => call);

    [Fact]
    public async Task AnErrorHitsItsClassesAndNothingIsDone()
    {
        var filter = Over(new FaultRule { Effect = FaultEffect.Error, Operations = OperationClasses.Write | OperationClasses.Flush });
        var write = await FailureOfAsync(Write(filter, 1024, 7));
        Assert.Equal((BackstoreError.MediumWrite, 1024L), (write.Error, write.Offset));
        Assert.Equal(BackstoreError.MediumWrite, (await FailureOfAsync(filter.FlushAsync(default).AsTask())).Error);
        await FailureOfAsync(filter.WriteZeroesAsync(0, Block, default, default).AsTask());
        await FailureOfAsync(filter.WriteSameAsync(0, Block, new DataBuffer(new byte[Block]), default, default).AsTask());
        await FailureOfAsync(filter.CompareAndWriteAsync(0, new DataBuffer(new byte[Block]), new DataBuffer(new byte[Block]), default, default).AsTask());
        Assert.Equal(0, (await ReadAsync(filter, 1024))[0]);
        await filter.DiscardAsync(0, Block, default);
        Assert.Equal([5], filter.Hits);
    }

    [Theory]
    [InlineData(BackstoreError.NoSpace)]
    [InlineData(BackstoreError.Unreachable)]
    [InlineData(null)]
    public async Task TheErrorIsTheRules(BackstoreError? error)
    {
        var filter = Over(new FaultRule { Effect = FaultEffect.Error, Error = error });
        Assert.Equal(error ?? BackstoreError.MediumRead, (await FailureOfAsync(ReadAsync(filter, 0))).Error);
        await FailureOfAsync(filter.ExtentAsync(0, Block, default).AsTask());
    }

    /// <summary>An operation that reaches into the range fails at its first byte.</summary>
    [Theory]
    [InlineData(0, 2, -1)]
    [InlineData(0, 3, 1024)]
    [InlineData(3, 4, 1536)]
    [InlineData(4, 1, -1)]
    public async Task ARangeIsHitWhereItIsTouched(int block, int blocks, long at)
    {
        var filter = Over(new FaultRule { Effect = FaultEffect.Error, Start = 1024, End = 2048 });
        var read = ReadAsync(filter, block * Block, blocks * Block);
        if (at < 0) await read;
        else Assert.Equal(at, (await FailureOfAsync(read)).Offset);
    }

    [Fact]
    public async Task RulesCount()
    {
        var filter = Over(new FaultRule { Effect = FaultEffect.Error, After = 2, Count = 3, Operations = OperationClasses.Read });
        var outcomes = new List<bool>();
        for (int i = 0; i < 8; i++)
        {
            await Write(filter, 0, 1);
            var read = ReadAsync(filter, 0);
            await EndOfAsync(read);
            outcomes.Add(read.IsCompletedSuccessfully);
        }
        Assert.Equal([true, true, false, false, false, true, true, true], outcomes);
        // The rule is the same one: it goes on counting.
        filter.Settings = filter.Settings with { Rules = [.. filter.Settings.Rules, new FaultRule { Effect = FaultEffect.Error, Operations = OperationClasses.Discard }] };
        await ReadAsync(filter, 0);
        Assert.Equal([3, 0], filter.Hits);
    }

    [Fact]
    public async Task ChanceHasASeed()
    {
        async Task<List<bool>> RunAsync(int seed)
        {
            var filter = Over(new FaultRule { Effect = FaultEffect.Error, Probability = 0.25, Seed = seed });
            var hits = new List<bool>();
            for (int i = 0; i < 400; i++)
            {
                long before = filter.Hits[0];
                await EndOfAsync(ReadAsync(filter, 0));
                hits.Add(filter.Hits[0] > before);
            }
            return hits;
        }
        var first = await RunAsync(1);
        Assert.InRange(first.Count(h => h), 60, 140);
        Assert.Equal(first, await RunAsync(1));
        Assert.NotEqual(first, await RunAsync(2));
    }

    [Fact]
    public async Task AHangEndsWithItsRule()
    {
        var rule = new FaultRule { Effect = FaultEffect.Hang, Operations = OperationClasses.Write };
        var filter = Over(rule);
        var write = Write(filter, 0, 7);
        await filter.WhenHangingAsync(1).WaitAsync(TimeSpan.FromSeconds(10), TestContext.Current.CancellationToken);
        Assert.Equal((1, false), (filter.Hanging, write.IsCompleted));
        Assert.Equal(0, (await ReadAsync(filter, 0))[0]);
        // A rule that stays holds what hangs in it.
        filter.Settings = new(new FaultRule { Effect = FaultEffect.Error, Operations = OperationClasses.Discard }, rule);
        Assert.False(write.IsCompleted);
        filter.Settings = FaultSettings.Off;
        Assert.Equal((0, true), (filter.Hanging, write.IsCompletedSuccessfully));
        Assert.Equal(7, (await ReadAsync(filter, 0))[0]);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task ThoseThatHangGoOnInTheirOrder(bool heeds)
    {
        var filter = Over(new FaultRule { Effect = FaultEffect.Hang, HeedsCancellation = heeds });
        var ended = new List<int>();
        async Task ReadAsync(int i)
        {
            await filter.ReadAsync(0, new DataBuffer(new byte[Block]), default).ConfigureAwait(false);
            ended.Add(i);
        }
        var reads = Enumerable.Range(0, 20).Select(ReadAsync).ToList();
        Assert.Equal(20, filter.Hanging);
        filter.Settings = FaultSettings.Off;
        Assert.Equal(Enumerable.Range(0, 20), ended);
        await Task.WhenAll(reads);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task ACancellationEndsAHangThatHeedsIt(bool heeds)
    {
        var filter = Over(new FaultRule { Effect = FaultEffect.Hang, HeedsCancellation = heeds });
        using var stop = new CancellationTokenSource();
        var write = Write(filter, 0, 7, stop: stop.Token);
        await stop.CancelAsync();
        Assert.Equal(heeds, write.IsCanceled);
        filter.Settings = FaultSettings.Off;
        await EndOfAsync(write);
        Assert.Equal(heeds ? 0 : 7, (await ReadAsync(filter, 0))[0]);
    }

    [Theory]
    [InlineData(FaultEffect.Short)]
    [InlineData(FaultEffect.Torn)]
    public async Task AWriteIsDoneInPart(FaultEffect effect)
    {
        await Write(_memory, 0, 1, 8 * Block);
        var filter = Over(new FaultRule { Effect = effect, Operations = OperationClasses.Write });
        var failure = await FailureOfAsync(Write(filter, 0, 2, 6 * Block));
        Assert.Equal((BackstoreError.MediumWrite, 3L * Block), (failure.Error, failure.Offset));
        await FailureOfAsync(filter.WriteZeroesAsync(6 * Block, 2 * Block, default, default).AsTask());
        int half = effect == FaultEffect.Torn ? Block / 2 : 0;
        byte[] expected =
        [
            .. Bytes(2, 3 * Block + half), .. Bytes(1, 3 * Block - half), .. Bytes(0, Block + half), .. Bytes(1, Block - half),
        ];
        Assert.Equal(expected, await ReadAsync(_memory, 0, 8 * Block));
    }

    [Fact]
    public async Task APatternIsTornToo()
    {
        await using var filter = new FaultFilter(new SameStore(_memory), new(new FaultRule { Effect = FaultEffect.Torn, Operations = OperationClasses.Write }));
        await FailureOfAsync(filter.WriteSameAsync(0, 4 * Block, new DataBuffer(Bytes(3, Block)), default, default).AsTask());
        Assert.Equal((byte[])[.. Bytes(3, 2 * Block + Block / 2), .. Bytes(0, 2 * Block - Block / 2)], await ReadAsync(_memory, 0, 4 * Block));
    }

    /// <summary>Memory that writes a pattern, and compares and writes, itself.</summary>
    private sealed class SameStore(IBackstore inner) : BackstoreFilter(inner, AllFeatures)
    {
        public override BackstoreFeatures Features => Inner.Features | BackstoreFeatures.WriteSame | BackstoreFeatures.CompareAndWrite;

        public override async ValueTask WriteSameAsync(long offset, long length, DataBuffer pattern, WriteOptions options, CancellationToken cancellationToken)
        {
            for (long done = 0; done < length; done += pattern.Length) await Inner.WriteAsync(offset + done, pattern, options, cancellationToken);
        }

        public override async ValueTask<long> CompareAndWriteAsync(long offset, DataBuffer compare, DataBuffer data, WriteOptions options, CancellationToken cancellationToken)
        {
            var there = new byte[data.Length];
            await Inner.ReadAsync(offset, new DataBuffer(there), cancellationToken);
            int at = compare.FirstDifference(there);
            if (at < 0) await Inner.WriteAsync(offset, data, options, cancellationToken);
            return at;
        }
    }

    [Fact]
    public async Task ACompareAndWriteIsNeverDoneInPart()
    {
        await using var filter = new FaultFilter(new SameStore(_memory), new(new FaultRule { Effect = FaultEffect.Torn }));
        await FailureOfAsync(filter.CompareAndWriteAsync(0, new DataBuffer(new byte[2 * Block]), new DataBuffer(Bytes(5, 2 * Block)), default, default).AsTask());
        Assert.Equal(new byte[2 * Block], await ReadAsync(_memory, 0, 2 * Block));
    }

    [Fact]
    public async Task AShortReadFillsThePart()
    {
        await Write(_memory, 0, 1, 4 * Block);
        var filter = Over(new FaultRule { Effect = FaultEffect.Short });
        var data = new byte[4 * Block];
        var failure = await FailureOfAsync(filter.ReadAsync(0, new DataBuffer(data), default).AsTask());
        Assert.Equal((BackstoreError.MediumRead, 2L * Block), (failure.Error, failure.Offset));
        Assert.Equal((byte[])[.. Bytes(1, 2 * Block), .. Bytes(0, 2 * Block)], data);
    }

    private static int WrongBits(byte[] data, byte[] right) => data.Zip(right).Sum(p => int.PopCount(p.First ^ p.Second));

    [Theory]
    [InlineData("read")]
    [InlineData("write")]
    [InlineData("same")]
    [InlineData("zeroes")]
    [InlineData("compare")]
    public async Task BitsAreWrongInsideTheRange(string call)
    {
        byte[] right = Bytes((byte)(call == "zeroes" ? 0 : 7), 8 * Block);
        await Write(_memory, 0, (byte)(call == "read" ? 7 : 0), 8 * Block);
        var rule = new FaultRule { Effect = FaultEffect.Corrupt, Start = 5 * Block, End = 6 * Block };
        await using var filter = new FaultFilter(new SameStore(_memory), new(rule));
        var given = new DataBuffer(Bytes(7, 8 * Block));
        var data = new byte[8 * Block];
        switch (call)
        {
            case "write":
                await filter.WriteAsync(0, given, default, default);
                break;
            case "same":
                await filter.WriteSameAsync(0, 8 * Block, given.Slice(0, Block), default, default);
                break;
            case "zeroes":
                await filter.WriteZeroesAsync(0, 8 * Block, default, default);
                break;
            case "compare":
                Assert.Equal(-1, await filter.CompareAndWriteAsync(0, new DataBuffer(new byte[8 * Block]), given, default, default));
                break;
            default:
                await filter.ReadAsync(0, new DataBuffer([data.AsMemory(0, 2700), data.AsMemory(2700)], 2), default);
                break;
        }
        // The caller's data is its own.
        Assert.Equal(Bytes(7, 8 * Block), given.ToArray());
        if (call != "read") data = await ReadAsync(_memory, 0, 8 * Block);
        else Assert.Equal(right, await ReadAsync(_memory, 0, 8 * Block));
        Assert.Equal(1, WrongBits(data, right));
        Assert.Equal(1, WrongBits(data[(5 * Block)..(6 * Block)], right[(5 * Block)..(6 * Block)]));
    }

    [Fact]
    public void RulesThatHitNothingAreRefused()
    {
        FaultRule[] wrong =
        [
            new() { Effect = FaultEffect.Torn, Operations = OperationClasses.Read }, new() { Effect = FaultEffect.Corrupt, Operations = OperationClasses.Flush },
            new() { Effect = FaultEffect.Error, Start = 512, End = 512 }, new() { Effect = FaultEffect.Error, Probability = 0 },
            new() { Effect = FaultEffect.Error, Probability = 1.5 }, new() { Effect = FaultEffect.Error, Count = -1 }, new() { Effect = FaultEffect.Corrupt, Bits = 0 },
        ];
        var filter = Over();
        Assert.All(wrong, rule => Assert.Throws<ArgumentException>(() => filter.Settings = new(rule)));
        Assert.Empty(filter.Settings.Rules);
    }
}
