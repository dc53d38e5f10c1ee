using LunKit.Backstores;

namespace LunKit.Testing.Checks;

/// <summary>What a check works with.</summary>
internal sealed record CheckContext(Func<ValueTask<IBackstore>> Open, ContractOptions Options, CancellationToken Stop)
{
    /// <summary>What is to be said of a check that has passed.</summary>
    public string Note { get; set; } = "";

    /// <summary>The call that hangs; null while none does. After it the backstore is not fit for other checks.</summary>
    public string? Hangs { get; set; }

    /// <summary>Opens the backstore behind the guard that a unit puts before it.</summary>
    public Task<CheckedStore> OpenAsync() => CheckedStore.OpenAsync(this);

    /// <summary>Opens it to write.</summary>
    public async Task<CheckedStore> OpenWritableAsync()
    {
        var store = await OpenAsync().ConfigureAwait(false);
        if (!store.Geometry.ReadOnly) return store;
        await store.DisposeAsync().ConfigureAwait(false);
        throw new NotApplicableException("the backstore is read-only");
    }

    /// <summary>Bytes that are worked on: whole blocks.</summary>
    public int WorkBytes(CheckedStore store) => (int)(Math.Min(Options.WorkBytes, store.Geometry.LengthBytes) / store.Geometry.BlockSize * store.Geometry.BlockSize);
}
