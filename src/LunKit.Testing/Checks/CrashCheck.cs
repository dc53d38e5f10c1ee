using LunKit.Backstores;

namespace LunKit.Testing.Checks;

/// <summary>
/// A loss of power: what was flushed, and what was written with FORCE UNIT ACCESS, is there afterwards; without a declared volatile cache
/// everything that was acknowledged is. A block that was not may be old or new, but nothing else.
/// </summary>
internal static class CrashCheck
{
    private const int Rounds = 4, Blocks = 64;

    private enum Promise { Flushed, Forced, Acknowledged }

    public static async Task RunAsync(CheckContext context)
    {
        if (context.Options.Crash is not { } crash)
            throw new NotApplicableException("not checked: whether a flush, a forced write or an undeclared cache loses data when the power fails; only you can lose it (ContractOptions.Crash)");
        if (!context.Options.IsPersistent) throw new NotApplicableException("the options say that the backstore is not persistent");
        var random = new Random(context.Options.Seed);
        for (int round = 0; round < Rounds; round++)
        {
            foreach (var promise in Enum.GetValues<Promise>()) await RunAsync(context, crash, promise, random).ConfigureAwait(false);
        }
    }

    private static async Task RunAsync(CheckContext context, Func<Task> crash, Promise promise, Random random)
    {
        var store = await context.OpenWritableAsync().ConfigureAwait(false);
        byte[] old, data;
        bool isKept;
        try
        {
            int block = store.Geometry.BlockSize, length = Math.Min(Blocks * block, context.WorkBytes(store));
            (old, data) = (new byte[length], new byte[length]);
            random.NextBytes(old);
            random.NextBytes(data);
            await store.WriteAsync(0, new DataBuffer((byte[])old.Clone()), WriteOptions.None, context.Stop).ConfigureAwait(false);
            await store.FlushAsync(context.Stop).ConfigureAwait(false);
            await store.WriteAsync(0, new DataBuffer((byte[])data.Clone()), promise == Promise.Forced ? WriteOptions.ForceUnitAccess : WriteOptions.None, context.Stop).ConfigureAwait(false);
            if (promise == Promise.Flushed) await store.FlushAsync(context.Stop).ConfigureAwait(false);
            isKept = promise != Promise.Acknowledged || !store.Has(BackstoreFeatures.VolatileCache);
            await crash().ConfigureAwait(false);
        }
        finally
        {
            await DisposeCrashedAsync(store).ConfigureAwait(false);
        }
        await using var again = await context.OpenAsync().ConfigureAwait(false);
        var read = new byte[data.Length];
        await again.ReadAsync(0, new DataBuffer(read), context.Stop).ConfigureAwait(false);
        for (int at = 0; at < read.Length; at += again.Geometry.BlockSize)
        {
            var now = read.AsSpan(at, again.Geometry.BlockSize);
            if (now.SequenceEqual(data.AsSpan(at, now.Length))) continue;
            Contract.Require(!isKept, $"the block at {at} is lost with the power, though {Why(promise)}");
            Contract.Require(now.SequenceEqual(old.AsSpan(at, now.Length)), $"the block at {at} is neither what was flushed nor what was written after it");
        }
    }

    private static string Why(Promise promise) => promise switch
    {
        Promise.Flushed => "it was flushed",
        Promise.Forced => "it was written with ForceUnitAccess",
        _ => "its write was acknowledged, and no volatile cache (VolatileCache) is declared",
    };

    /// <summary>What lost its medium may fail to close.</summary>
    private static async Task DisposeCrashedAsync(CheckedStore store)
    {
        try
        {
            await store.DisposeAsync().ConfigureAwait(false);
        }
        catch (IOException)
        {
            // As it should.
        }
    }
}
