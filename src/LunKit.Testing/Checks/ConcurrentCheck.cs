namespace LunKit.Testing.Checks;

/// <summary>Random operations at once, each worker in a range of its own that touches its neighbours'.</summary>
internal static class ConcurrentCheck
{
    public static async Task RunAsync(CheckContext context)
    {
        await using var store = await context.OpenWritableAsync().ConfigureAwait(false);
        int block = store.Geometry.BlockSize, workers = context.Options.Concurrency, share = context.WorkBytes(store) / workers / block * block;
        if (share < block) throw new NotApplicableException($"{context.WorkBytes(store)} bytes are too few for {workers} at once");
        await Task.WhenAll(Enumerable.Range(0, workers).Select(async i =>
        {
            // On the thread pool, one beside the other, also where the backstore never waits.
            await Task.CompletedTask.ConfigureAwait(ConfigureAwaitOptions.ForceYielding);
            var model = new Model(store, (long)i * share, share, context.Options, context.Options.Seed * 1000 + i);
            await model.FillAsync(context.Stop).ConfigureAwait(false);
            for (int step = 0; step < context.Options.Steps / workers + 1; step++) await model.StepAsync(context.Stop).ConfigureAwait(false);
            await model.CheckAllAsync(context.Stop).ConfigureAwait(false);
        })).ConfigureAwait(false);
    }
}
