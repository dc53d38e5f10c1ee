using LunKit.Backstores;

namespace LunKit.Tests.Iscsi;

/// <summary>Reads and writes wait until the gate is opened, whether they are cancelled or not: a disk that hangs.</summary>
internal sealed class GatedBackstore : IBackstore
{
    private readonly MemoryBackstore _memory = new(1 << 20);
    private readonly TaskCompletionSource _open = new();
    private readonly TaskCompletionSource _entered = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private int _waiting;

    /// <summary>Completes when the first call waits.</summary>
    public Task Entered => _entered.Task;

    /// <summary>Calls that wait.</summary>
    public int Waiting => Volatile.Read(ref _waiting);

    public BackstoreGeometry Geometry => _memory.Geometry;
    public BackstoreFeatures Features => BackstoreFeatures.Concurrent;

    /// <summary>Lets all calls go on, on the caller's thread.</summary>
    public void Open() => _open.TrySetResult();

    private async ValueTask WaitAsync()
    {
        if (_open.Task.IsCompleted) return;
        Interlocked.Increment(ref _waiting);
        _entered.TrySetResult();
        await _open.Task.ConfigureAwait(false);
        Interlocked.Decrement(ref _waiting);
    }

    public async ValueTask ReadAsync(long offset, DataBuffer data, CancellationToken cancellationToken)
    {
        await WaitAsync().ConfigureAwait(false);
        await _memory.ReadAsync(offset, data, CancellationToken.None).ConfigureAwait(false);
    }

    public async ValueTask WriteAsync(long offset, DataBuffer data, WriteOptions options, CancellationToken cancellationToken)
    {
        await WaitAsync().ConfigureAwait(false);
        await _memory.WriteAsync(offset, data, options, CancellationToken.None).ConfigureAwait(false);
    }

    public ValueTask FlushAsync(CancellationToken cancellationToken) => ValueTask.CompletedTask;

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;
}
