using LunKit.Backstores;

namespace LunKit.Testing.Checks;

/// <summary>What a check works with.</summary>
internal sealed record CheckContext(Func<ValueTask<IBackstore>> Open, ContractOptions Options, CancellationToken Stop)
{
    /// <summary>What is to be said of a check that has passed.</summary>
    public string Note { get; set; } = "";

    /// <summary>Opens the backstore behind the guard that a unit puts before it.</summary>
    public async Task<BackstoreGuard> OpenAsync() => new(await Open().ConfigureAwait(false));

    /// <summary>Opens it to write.</summary>
    public async Task<BackstoreGuard> OpenWritableAsync()
    {
        var store = await OpenAsync().ConfigureAwait(false);
        if (!store.Geometry.ReadOnly) return store;
        await store.DisposeAsync().ConfigureAwait(false);
        throw new NotApplicableException("the backstore is read-only");
    }

    /// <summary>Bytes that are worked on: whole blocks.</summary>
    public int WorkBytes(BackstoreGuard store) => (int)(Math.Min(Options.WorkBytes, store.Geometry.LengthBytes) / store.Geometry.BlockSize * store.Geometry.BlockSize);
}
