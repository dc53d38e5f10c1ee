using LunKit.Backstores;

namespace LunKit.Testing.Checks;

/// <summary>What is opened read-only does not take writes, whoever asks.</summary>
internal static class ReadOnlyCheck
{
    public static async Task RunAsync(CheckContext context)
    {
        await using var store = await context.OpenAsync().ConfigureAwait(false);
        if (!store.Geometry.ReadOnly) throw new NotApplicableException("the backstore is writable");
        byte[] before = new byte[store.Geometry.BlockSize], after = new byte[store.Geometry.BlockSize];
        await store.ReadAsync(0, new DataBuffer(before), context.Stop).ConfigureAwait(false);
        try
        {
            await store.WriteAsync(0, new DataBuffer(before.Select(b => (byte)~b).ToArray()), WriteOptions.ForceUnitAccess, context.Stop).ConfigureAwait(false);
            throw new ContractException("a write to a read-only backstore succeeds");
        }
        catch (IOException)
        {
            await store.ReadAsync(0, new DataBuffer(after), context.Stop).ConfigureAwait(false);
            Contract.Require(after.AsSpan().SequenceEqual(before), "a refused write has changed the medium");
        }
    }
}
