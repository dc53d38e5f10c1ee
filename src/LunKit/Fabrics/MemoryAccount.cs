namespace LunKit.Fabrics;

/// <summary>
/// Bytes that the commands of a connection hold, counted for it and for all connections together; those of commands that outlive their
/// connection stay counted until they end. Thread safe.
/// </summary>
internal sealed class MemoryAccount(long limitBytes, MemoryAccount? total = null)
{
    private long _bytes;

    public long Bytes => Volatile.Read(ref _bytes);

    /// <summary>
    /// Whether nothing more should be begun: here, or in total. Who holds nothing may always begin, so that hoarders do not starve others.
    /// </summary>
    public bool IsExhausted => Bytes > limitBytes || Bytes > 0 && total is { IsExhausted: true };

    public void Charge(long bytes)
    {
        Interlocked.Add(ref _bytes, bytes);
        total?.Charge(bytes);
    }

    public void Refund(long bytes) => Charge(-bytes);
}
