namespace LunKit.Backstores;

/// <summary>
/// Flushes one after the other: whoever asks while one runs shares the next, which begins when that one has ended. What failed to reach the
/// medium behind a cache is told once (by the kernel to one fsync of a file, by a library to one flush), so two flushes at once would let one of
/// them succeed falsely. And remembers that one failed: what was acknowledged before may be gone then (the kernel drops dirty pages that it could
/// not write, a library its cache), and a later success would prove nothing, so every flush after it fails as well. Thread safe.
/// </summary>
/// <param name="name">What is flushed, for messages.</param>
/// <param name="flush">Flushes; never called while it runs. It must not ask for a flush itself.</param>
/// <param name="loses">Whether acknowledged writes may be gone when it fails with this; null: always.</param>
public sealed class GroupedFlush(string name, Func<ValueTask> flush, Func<IOException, bool>? loses = null) : IAsyncDisposable
{
    private readonly Lock _gate = new();
    private Task _running = Task.CompletedTask;
    // Those that wait until the one that runs has ended.
    private Task? _next;
    private volatile Exception? _failure;

    /// <summary>
    /// Everything that was written before is flushed when this completes. Fails with the <see cref="IOException"/> of the flush, or with a
    /// <see cref="BackstoreException"/> when an earlier one has lost something. Cancellation ends the wait, not the flush.
    /// </summary>
    public ValueTask RunAsync(CancellationToken cancellationToken = default)
    {
        lock (_gate)
        {
            if (_next is null)
            {
                if (_running.IsCompleted) return new((_running = OnceAsync()).WaitAsync(cancellationToken));
                _next = AfterAsync(_running);
            }
            return new(_next.WaitAsync(cancellationToken));
        }
    }

    private async Task AfterAsync(Task before)
    {
        // Yielding, so that this is known as the next one when it goes on.
        await before.ConfigureAwait(ConfigureAwaitOptions.ForceYielding | ConfigureAwaitOptions.SuppressThrowing);
        Task once;
        lock (_gate)
        {
            // Who comes from here on may have written what this one misses.
            _next = null;
            _running = once = OnceAsync();
        }
        await once.ConfigureAwait(false);
    }

    private async Task OnceAsync()
    {
        if (_failure is { } earlier) throw new BackstoreException(BackstoreError.MediumWrite, $"{name}: an earlier flush failed: {earlier.Message}", null, earlier);
        try
        {
            await flush().ConfigureAwait(false);
        }
        catch (IOException e) when (!IsUnbegun(e) && (loses?.Invoke(e) ?? true))
        {
            Fail(e);
            throw;
        }
    }

    /// <summary>The flush was refused before it was begun: what is to be flushed is where it was.</summary>
    private static bool IsUnbegun(IOException e) => e is BackstoreException { Error: BackstoreError.Busy or BackstoreError.Connecting };

    /// <summary>Acknowledged writes were lost: every flush fails from here on.</summary>
    public void Fail(Exception failure) => _failure ??= failure;

    /// <summary>Waits for what those who cancelled have left behind: what is flushed may be closed then. Nobody asks any more.</summary>
    public async ValueTask DisposeAsync()
    {
        Task last;
        lock (_gate) last = _next ?? _running;
        await last.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }
}
