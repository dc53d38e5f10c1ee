using LunKit.Backstores;

namespace LunKit.Testing.Checks;

/// <summary>The ends of the medium, and the longest transfer that a unit makes.</summary>
internal static class BoundaryCheck
{
    private const int LongestTransfer = 16 << 20;

    public static async Task RunAsync(CheckContext context)
    {
        await using var store = await context.OpenWritableAsync().ConfigureAwait(false);
        int block = store.Geometry.BlockSize;
        long end = store.Geometry.BlockCount * block;
        var random = new Random(context.Options.Seed);
        // The last blocks may be outside of what the options give: they are put back.
        long[] offsets = [0, end - block, Math.Max(0, end - 3 * block)];
        foreach (long offset in offsets)
        {
            int length = (int)Math.Min(3 * block, end - offset);
            byte[] before = new byte[length], data = new byte[length], read = new byte[length];
            await store.ReadAsync(offset, new DataBuffer(before), context.Stop).ConfigureAwait(false);
            random.NextBytes(data);
            await store.WriteAsync(offset, new DataBuffer((byte[])data.Clone()), WriteOptions.ForceUnitAccess, context.Stop).ConfigureAwait(false);
            await store.ReadAsync(offset, new DataBuffer(read), context.Stop).ConfigureAwait(false);
            Contract.Require(read.AsSpan().SequenceEqual(data), $"what was written at {offset}+{length} is not what is read (the medium ends at {end})");
            await store.WriteAsync(offset, new DataBuffer(before), WriteOptions.None, context.Stop).ConfigureAwait(false);
        }
        int most = Math.Min(context.WorkBytes(store), LongestTransfer);
        byte[] all = new byte[most], back = new byte[most];
        random.NextBytes(all);
        await store.WriteAsync(0, new DataBuffer((byte[])all.Clone()), WriteOptions.None, context.Stop).ConfigureAwait(false);
        await store.ReadAsync(0, new DataBuffer(back), context.Stop).ConfigureAwait(false);
        Contract.Require(back.AsSpan().SequenceEqual(all), $"one transfer of {most} bytes does not come back as it was written");
    }
}
