namespace LunKit.Testing.Checks;

/// <summary>What was flushed is there when the backstore is opened again.</summary>
internal static class DurabilityCheck
{
    public static async Task RunAsync(CheckContext context)
    {
        if (!context.Options.IsPersistent) throw new NotApplicableException("the options say that the backstore is not persistent");
        var store = await context.OpenWritableAsync().ConfigureAwait(false);
        byte[] expected;
        int length;
        try
        {
            length = context.WorkBytes(store);
            var model = new Model(store, 0, length, context.Options, context.Options.Seed + 1);
            await model.FillAsync(context.Stop).ConfigureAwait(false);
            for (int i = 0; i < context.Options.Steps / 10; i++) await model.StepAsync(context.Stop).ConfigureAwait(false);
            await store.FlushAsync(context.Stop).ConfigureAwait(false);
            expected = model.Bytes.ToArray();
        }
        finally
        {
            await store.DisposeAsync().ConfigureAwait(false);
        }
        await using var again = await context.OpenAsync().ConfigureAwait(false);
        var read = new byte[length];
        await again.ReadAsync(0, new Backstores.DataBuffer(read), context.Stop).ConfigureAwait(false);
        int at = read.AsSpan().CommonPrefixLength(expected);
        Contract.Require(at == length, $"after opening again byte {at} is another than was flushed; is the data in memory only (ContractOptions.IsPersistent = false)?");
    }
}
