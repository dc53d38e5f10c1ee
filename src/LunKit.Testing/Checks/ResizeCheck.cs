using LunKit.Backstores;

namespace LunKit.Testing.Checks;

/// <summary>Growth: by its owner, noticed or told, or through the backstore.</summary>
internal static class ResizeCheck
{
    private const int GrowthBytes = 1 << 20;

    public static async Task RunAsync(CheckContext context)
    {
        if (!context.Options.MayGrow) throw new NotApplicableException("the options do not allow it");
        await using var store = await context.OpenWritableAsync().ConfigureAwait(false);
        bool resizes = store.Has(BackstoreFeatures.Resize);
        if (!resizes && context.Options.Grow is null) throw new NotApplicableException("it cannot change its size");
        long before = store.Geometry.LengthBytes, after = before + GrowthBytes;
        var mark = new byte[store.Geometry.BlockSize];
        new Random(context.Options.Seed).NextBytes(mark);
        long last = (before / mark.Length - 1) * mark.Length;
        await store.WriteAsync(last, new DataBuffer((byte[])mark.Clone()), WriteOptions.None, context.Stop).ConfigureAwait(false);
        int changes = 0;
        store.GeometryChanged += () => Interlocked.Increment(ref changes);
        if (context.Options.Grow is { } grow) await grow(after).ConfigureAwait(false);
        if (resizes) await ChangeAsync(store, before, after, isLongEnough: context.Options.Grow is not null, context).ConfigureAwait(false);
        else await Contract.UntilAsync(() => Volatile.Read(ref changes) > 0 && store.Geometry.LengthBytes == after, "noticing the growth", context.Stop).ConfigureAwait(false);
        Contract.Require(store.Geometry.LengthBytes == after, $"it has {store.Geometry.LengthBytes} bytes after growing to {after}");
        var read = new byte[GrowthBytes];
        await store.ReadAsync(before, new DataBuffer(read), context.Stop).ConfigureAwait(false);
        Contract.Require(!read.AsSpan().ContainsAnyExcept((byte)0), "what a growth adds does not read as zeroes");
        await store.ReadAsync(last, new DataBuffer(read.AsMemory(0, mark.Length)), context.Stop).ConfigureAwait(false);
        Contract.Require(read.AsSpan(0, mark.Length).SequenceEqual(mark), "the last block before the growth has changed");
        await store.WriteAsync(after - mark.Length, new DataBuffer((byte[])mark.Clone()), WriteOptions.ForceUnitAccess, context.Stop).ConfigureAwait(false);
    }

    private static async Task ChangeAsync(CheckedStore store, long before, long after, bool isLongEnough, CheckContext context)
    {
        if (!isLongEnough)
        {
            Contract.Require(await store.GrowAsync(after, context.Stop).ConfigureAwait(false), "it declares Resize and does not grow");
            Contract.Require(await store.MeasureAsync().ConfigureAwait(false) >= after, "what is behind it has not grown with it");
            return;
        }
        // Its owner was faster: to grow to less than there is must cut nothing, and to take over a length changes nothing, either way.
        long between = before + GrowthBytes / 2;
        Contract.Require(await store.GrowAsync(between, context.Stop).ConfigureAwait(false), "it declares Resize and does not grow");
        Contract.Require(store.Geometry.LengthBytes == between, $"it has {store.Geometry.LengthBytes} bytes after growing to {between}");
        await RequireAsync("growing to less than that").ConfigureAwait(false);
        foreach (long length in (long[])[before, after])
        {
            Contract.Require(await store.TakeLengthAsync(length, context.Stop).ConfigureAwait(false), "it declares Resize and takes no length over");
            Contract.Require(store.Geometry.LengthBytes == length, $"it has {store.Geometry.LengthBytes} bytes after taking over {length}");
            await RequireAsync($"taking over {length}").ConfigureAwait(false);
        }

        async Task RequireAsync(string what)
        {
            long now = await store.MeasureAsync().ConfigureAwait(false);
            Contract.Require(now == after, $"what is behind it was given {after} bytes and has {now} after {what}");
        }
    }
}
