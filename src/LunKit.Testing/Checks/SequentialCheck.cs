namespace LunKit.Testing.Checks;

/// <summary>Random operations, one after the other.</summary>
internal static class SequentialCheck
{
    public static async Task RunAsync(CheckContext context)
    {
        await using var store = await context.OpenWritableAsync().ConfigureAwait(false);
        var model = new Model(store, 0, context.WorkBytes(store), context.Options, context.Options.Seed);
        await model.FillAsync(context.Stop).ConfigureAwait(false);
        for (int i = 0; i < context.Options.Steps; i++) await model.StepAsync(context.Stop).ConfigureAwait(false);
        await model.CheckAllAsync(context.Stop).ConfigureAwait(false);
    }
}
