namespace LunKit.Backstores;

/// <summary>
/// Remembers that a flush failed. What was acknowledged before may be gone then (the kernel drops dirty pages that it could not write, a
/// library its cache), and a later success would prove nothing: every flush after it fails as well. Thread safe.
/// </summary>
/// <param name="name">What is flushed, for messages.</param>
public sealed class FlushLatch(string name)
{
    private volatile Exception? _failure;

    /// <summary>Throws <see cref="BackstoreException"/> when a flush has failed before.</summary>
    public void Check()
    {
        if (_failure is { } failure) throw new BackstoreException(BackstoreError.MediumWrite, $"{name}: an earlier flush failed: {failure.Message}", null, failure);
    }

    /// <summary>A flush has failed, or acknowledged writes were lost.</summary>
    public void Fail(Exception failure) => _failure ??= failure;

    /// <summary>Flushes, unless a flush has failed before. Failures are remembered.</summary>
    public void Run(Action flush)
    {
        Check();
        try
        {
            flush();
        }
        catch (IOException e)
        {
            Fail(e);
            throw;
        }
    }
}
