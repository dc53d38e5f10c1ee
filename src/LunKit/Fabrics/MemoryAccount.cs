namespace LunKit.Fabrics;

/// <summary>
/// Bytes that the commands of a connection hold, counted for it and for all connections together. Thread safe.
/// </summary>
internal sealed class MemoryAccount(long limitBytes, MemoryAccount? total = null)
{
    private long _bytes;
    private volatile bool _closed;

    public long Bytes => Volatile.Read(ref _bytes);

    /// <summary>
    /// Whether nothing more should be begun: here, or in total. Who holds nothing may always begin, so that hoarders do not starve others.
    /// </summary>
    public bool IsExhausted => Bytes > limitBytes || Bytes > 0 && total is { IsExhausted: true };

    public void Charge(long bytes)
    {
        // A command that ends after its connection has nothing to give back: it was taken out at the end.
        if (_closed) return;
        Interlocked.Add(ref _bytes, bytes);
        total?.Charge(bytes);
    }

    public void Refund(long bytes) => Charge(-bytes);

    /// <summary>Takes what is left out of the total: the connection has ended.</summary>
    public void Close()
    {
        Refund(Bytes);
        _closed = true;
    }
}
