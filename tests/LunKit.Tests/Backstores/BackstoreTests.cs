using FsCheck;
using FsCheck.Fluent;
using LunKit.Backstores;

namespace LunKit.Tests.Backstores;

public class BackstoreTests
{
    [Fact]
    public void DataBufferSlicesAcrossSegments()
    {
        byte[] source = [.. Enumerable.Range(0, 100).Select(i => (byte)i)];
        Memory<byte>[] segments = [source.AsMemory(0, 10), source.AsMemory(10, 1), source.AsMemory(11, 60), source.AsMemory(71, 29)];
        var buffer = new DataBuffer(segments, 4);
        Prop.ForAll(Gen.Choose(0, 100).Two().ToArbitrary(), pair =>
        {
            var (a, b) = (Math.Min(pair.Item1, pair.Item2), Math.Max(pair.Item1, pair.Item2));
            var slice = buffer.Slice(a, b - a);
            return slice.ToArray().AsSpan().SequenceEqual(source.AsSpan(a, b - a)) && slice.Slice(0, (b - a) / 2).Length == (b - a) / 2;
        }).QuickCheckThrowOnFailure();
    }

    /// <summary>Memory and file against a byte array: any mixture of writes, zeroes, discards and reads.</summary>
    [Theory]
    [InlineData("memory", 1)]
    [InlineData("memory", 2)]
    [InlineData("file", 3)]
    [InlineData("file", 4)]
    [InlineData("direct", 5)]
    [InlineData("direct", 6)]
    public async Task BehavesLikeAnArray(string kind, int seed)
    {
        const int length = 1 << 20;
        string path = Path.GetTempFileName();
        try
        {
            IBackstore store = kind == "memory" ? new MemoryBackstore(length) : FileBackstore.Open(new() { Path = path, SizeBytes = length, Direct = kind == "direct" });
            await using var guard = new BackstoreGuard(store);
            var model = new byte[length];
            var random = new Random(seed);
            for (int step = 0; step < 2000; step++)
            {
                // Pages as well as blocks: direct I/O takes the ones, the page cache the others, and each must see what the other did.
                int unit = random.Next(2) == 0 ? 512 : 4096;
                int offset = random.Next(length / unit) * unit, count = Math.Min(length - offset, random.Next(1, 150_000 / unit) * unit);
                switch (random.Next(5))
                {
                    case 0:
                        await guard.DiscardAsync(offset, count, default);
                        model.AsSpan(offset, count).Clear();
                        break;
                    case 1:
                        await guard.WriteZeroesAsync(offset, count, WriteOptions.None, default);
                        model.AsSpan(offset, count).Clear();
                        break;
                    case 2:
                        random.NextBytes(model.AsSpan(offset, count));
                        var options = random.Next(10) == 0 ? WriteOptions.ForceUnitAccess : WriteOptions.None;
                        await guard.WriteAsync(offset, Split(model.AsSpan(offset, count).ToArray(), random), options, default);
                        break;
                    default:
                        var data = new byte[count];
                        await guard.ReadAsync(offset, Split(data, random), default);
                        Assert.True(data.AsSpan().SequenceEqual(model.AsSpan(offset, count)), $"step {step} of seed {seed}: wrong bytes at {offset}+{count}");
                        var extent = await guard.ExtentAsync(offset, count, default);
                        if (!extent.Allocated) Assert.False(model.AsSpan(offset, (int)extent.LengthBytes).ContainsAnyExcept((byte)0));
                        break;
                }
            }
            await guard.FlushAsync(default);
        }
        finally
        {
            File.Delete(path);
        }
    }

    private static DataBuffer Split(byte[] bytes, Random random)
    {
        int cut = random.Next(0, bytes.Length);
        return cut == 0 ? new DataBuffer(bytes) : new DataBuffer([bytes.AsMemory(0, cut), bytes.AsMemory(cut)], 2);
    }

    [Fact]
    public async Task HugeMemoryCostsNothingUntilItIsWritten()
    {
        long before = GC.GetTotalMemory(true);
        await using IBackstore store = new MemoryBackstore(1L << 40);
        var block = new byte[512];
        await store.ReadAsync((1L << 40) - 512, new DataBuffer(block), default);
        await store.WriteAsync(1L << 39, new DataBuffer(block), WriteOptions.None, default);
        await store.DiscardAsync(0, 1L << 40, default);
        Assert.InRange(GC.GetTotalMemory(true) - before, long.MinValue, 256L << 20);
    }

    [Fact]
    public async Task TwoCannotServeOneImage()
    {
        string path = Path.GetTempFileName();
        try
        {
            await using IBackstore first = FileBackstore.Open(new() { Path = path, SizeBytes = 1 << 20 });
            var refusal = Assert.Throws<BackstoreException>(() => FileBackstore.Open(new() { Path = path }));
            Assert.Contains("in use by another process", refusal.Message, StringComparison.Ordinal);
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Theory]
    [InlineData("/nowhere/at/all.img", null, "does not exist; give a size")]
    [InlineData("/tmp", null, "is a folder")]
    [InlineData("/nowhere/at/all.img", 1048576L, "cannot be opened")]
    public void OpenSaysWhatIsWrong(string path, long? size, string message) =>
        Assert.Contains(message, Assert.Throws<BackstoreException>(() => FileBackstore.Open(new() { Path = path, SizeBytes = size })).Message, StringComparison.Ordinal);

    [Fact]
    public async Task GuardKeepsCallsApartAndFlushesForFua()
    {
        var store = new SerialBackstore();
        await using var guard = new BackstoreGuard(store);
        await Task.WhenAll(Enumerable.Range(0, 50).Select(async i =>
        {
            await guard.WriteAsync(i * 512, new DataBuffer(new byte[512]), WriteOptions.ForceUnitAccess, default);
            await guard.ReadAsync(i * 512, new DataBuffer(new byte[512]), default);
            await guard.MeasureAsync();
            await guard.GrowAsync(1 << 20, default);
        }));
        Assert.Equal(1, store.MostAtOnce);
        Assert.Equal(50, store.Flushes);
        await Assert.ThrowsAsync<InvalidOperationException>(async () => await guard.ReadAsync(100, new DataBuffer(new byte[512]), default));
    }

    /// <summary>What an earlier process wrote is flushed by the first SYNCHRONIZE CACHE of this one.</summary>
    [Fact]
    public async Task FlushReachesABackstoreThatWasNotWritten()
    {
        var store = new SerialBackstore();
        await using var guard = new BackstoreGuard(store);
        await guard.FlushAsync(default);
        Assert.Equal(1, store.Flushes);
    }

    private sealed class SerialBackstore : IBackstore
    {
        private int _now;
        public int MostAtOnce { get; private set; }
        public int Flushes { get; private set; }
        public BackstoreGeometry Geometry { get; } = new(1 << 20);
        public BackstoreFeatures Features => BackstoreFeatures.Resize;

        private async ValueTask Work()
        {
            MostAtOnce = Math.Max(MostAtOnce, Interlocked.Increment(ref _now));
            await Task.Yield();
            Interlocked.Decrement(ref _now);
        }

        public ValueTask ReadAsync(long offset, DataBuffer data, CancellationToken cancellationToken) => Work();
        public ValueTask WriteAsync(long offset, DataBuffer data, WriteOptions options, CancellationToken cancellationToken) => Work();
        public ValueTask FlushAsync(CancellationToken cancellationToken)
        {
            Flushes++;
            return Work();
        }
        public ValueTask GrowAsync(long lengthBytes, CancellationToken cancellationToken) => Work();
        public async ValueTask<long> MeasureAsync()
        {
            await Work();
            return Geometry.LengthBytes;
        }
    }
}
