namespace LunKit.Backstores;

/// <summary>The length, and what its owner does to what is behind the backstore.</summary>
public sealed partial class BackstoreGuard
{
    /// <summary>The length that what is behind the backstore has now.</summary>
    public async ValueTask<long> MeasureAsync()
    {
        using var call = new Call(this);
        using var turn = await TakeTurnAsync(CancellationToken.None).ConfigureAwait(false);
        return await _backstore.MeasureAsync().ConfigureAwait(false);
    }

    /// <summary>Makes the backstore longer; false when it cannot. Nothing is ever cut.</summary>
    public async ValueTask<bool> GrowAsync(long lengthBytes, CancellationToken cancellationToken)
    {
        if (lengthBytes < Geometry.LengthBytes) throw new InvalidOperationException($"{lengthBytes} bytes are fewer than {Geometry.LengthBytes}");
        if (!Has(BackstoreFeatures.Resize)) return false;
        using var call = new Call(this);
        using var turn = await TakeTurnAsync(cancellationToken).ConfigureAwait(false);
        await _backstore.GrowAsync(lengthBytes, cancellationToken).ConfigureAwait(false);
        return true;
    }

    /// <summary>Takes over a length that <see cref="MeasureAsync"/> has told; false when the backstore cannot. What is behind it stays as it is.</summary>
    public async ValueTask<bool> TakeLengthAsync(long lengthBytes, CancellationToken cancellationToken)
    {
        if (!Has(BackstoreFeatures.Resize)) return false;
        using var call = new Call(this);
        using var turn = await TakeTurnAsync(cancellationToken).ConfigureAwait(false);
        await _backstore.TakeLengthAsync(lengthBytes, cancellationToken).ConfigureAwait(false);
        return true;
    }

    /// <summary>Whether its owner has deleted what is behind it.</summary>
    public async ValueTask<bool> IsDeletedAsync()
    {
        using var call = new Call(this);
        using var turn = await TakeTurnAsync(CancellationToken.None).ConfigureAwait(false);
        return await _backstore.IsDeletedAsync().ConfigureAwait(false);
    }
}
