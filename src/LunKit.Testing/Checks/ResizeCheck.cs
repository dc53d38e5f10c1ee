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
        if (resizes) Contract.Require(await store.ResizeAsync(after, context.Stop).ConfigureAwait(false), "it declares Resize and does not resize");
        else await Contract.UntilAsync(() => Volatile.Read(ref changes) > 0 && store.Geometry.LengthBytes == after, "noticing the growth", context.Stop).ConfigureAwait(false);
        Contract.Require(store.Geometry.LengthBytes == after, $"it has {store.Geometry.LengthBytes} bytes after growing to {after}");
        var read = new byte[GrowthBytes];
        await store.ReadAsync(before, new DataBuffer(read), context.Stop).ConfigureAwait(false);
        Contract.Require(!read.AsSpan().ContainsAnyExcept((byte)0), "what a growth adds does not read as zeroes");
        await store.ReadAsync(last, new DataBuffer(read.AsMemory(0, mark.Length)), context.Stop).ConfigureAwait(false);
        Contract.Require(read.AsSpan(0, mark.Length).SequenceEqual(mark), "the last block before the growth has changed");
        await store.WriteAsync(after - mark.Length, new DataBuffer((byte[])mark.Clone()), WriteOptions.ForceUnitAccess, context.Stop).ConfigureAwait(false);
    }
}
