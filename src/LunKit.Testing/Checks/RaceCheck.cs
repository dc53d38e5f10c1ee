using System.Buffers.Binary;
using LunKit.Backstores;

namespace LunKit.Testing.Checks;

/// <summary>Operations at once on the same blocks: whichever comes last, no block is a mixture, and no compare and write is lost.</summary>
internal static class RaceCheck
{
    private const int Rounds = 20, Writers = 8, Blocks = 8;

    public static async Task WritesAsync(CheckContext context)
    {
        await using var store = await context.OpenWritableAsync().ConfigureAwait(false);
        int block = store.Geometry.BlockSize, length = Math.Min(Blocks, context.WorkBytes(store) / block) * block;
        for (int round = 0; round < Rounds; round++)
        {
            await Task.WhenAll(Enumerable.Range(0, Writers).Select(async i =>
            {
                await Task.CompletedTask.ConfigureAwait(ConfigureAwaitOptions.ForceYielding);
                var data = new byte[length];
                data.AsSpan().Fill((byte)(i + 1));
                await store.WriteAsync(0, new DataBuffer(data), WriteOptions.None, context.Stop).ConfigureAwait(false);
            })).ConfigureAwait(false);
            var read = new byte[length];
            await store.ReadAsync(0, new DataBuffer(read), context.Stop).ConfigureAwait(false);
            for (int at = 0; at < length; at += block)
                Contract.Require(read[at] is >= 1 and <= Writers && !read.AsSpan(at, block).ContainsAnyExcept(read[at]), $"round {round}: the block at {at} is a mixture of writes");
        }
    }

    public static async Task CompareAndWritesAsync(CheckContext context)
    {
        await using var store = await context.OpenWritableAsync().ConfigureAwait(false);
        if (!store.Has(BackstoreFeatures.CompareAndWrite)) throw new NotApplicableException("it does not compare and write by itself");
        int block = store.Geometry.BlockSize;
        await store.WriteZeroesAsync(0, block, WriteOptions.None, context.Stop).ConfigureAwait(false);
        await Task.WhenAll(Enumerable.Range(0, Writers).Select(async _ =>
        {
            await Task.CompletedTask.ConfigureAwait(ConfigureAwaitOptions.ForceYielding);
            for (int i = 0; i < Rounds; i++) await IncrementAsync(store, block, context.Stop).ConfigureAwait(false);
        })).ConfigureAwait(false);
        var counter = new byte[block];
        await store.ReadAsync(0, new DataBuffer(counter), context.Stop).ConfigureAwait(false);
        long count = BinaryPrimitives.ReadInt64LittleEndian(counter);
        Contract.Require(count == Writers * Rounds, $"{Writers * Rounds} increments by compare and write make {count}");
    }

    private static async Task IncrementAsync(CheckedStore store, int block, CancellationToken stop)
    {
        while (true)
        {
            byte[] old = new byte[block];
            await store.ReadAsync(0, new DataBuffer(old), stop).ConfigureAwait(false);
            var next = (byte[])old.Clone();
            BinaryPrimitives.WriteInt64LittleEndian(next, BinaryPrimitives.ReadInt64LittleEndian(old) + 1);
            if (await store.CompareAndWriteAsync(0, new DataBuffer(old), new DataBuffer(next), WriteOptions.None, stop).ConfigureAwait(false) < 0) return;
        }
    }
}
