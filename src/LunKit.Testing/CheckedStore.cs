using LunKit.Backstores;
using LunKit.Testing.Checks;

namespace LunKit.Testing;

/// <summary>
/// A backstore behind its guard, as checks use it: every call is made on a thread of its own and has a time limit, so that one that hangs fails
/// its check by name, whether it blocks its caller or only never completes. Thread safe.
/// </summary>
internal sealed class CheckedStore : IAsyncDisposable
{
    // After this a call that hangs, or one whose check was cancelled, is left behind.
    private static readonly TimeSpan s_abandoned = TimeSpan.FromSeconds(1);

    private readonly BackstoreGuard _guard;
    private readonly FileWorkers _callers;
    private readonly CheckContext _context;
    private bool _isDisposed;

    private CheckedStore(IBackstore backstore, FileWorkers callers, CheckContext context) =>
        (_guard, _callers, _context, Limit) = (new BackstoreGuard(backstore), callers, context, context.Options.CallLimit);

    /// <summary>Opens the backstore.</summary>
    public static async Task<CheckedStore> OpenAsync(CheckContext context)
    {
        // The code that is called is not ours, and opening a cluster's library takes much stack: callers have what every thread has.
        var callers = new FileWorkers(maxThreads: 64, stackBytes: 0);
        var opening = callers.RunAsync(static c => c.Open().AsTask(), context).AsTask().Unwrap();
        return new CheckedStore(await LimitedAsync(opening, "opening the backstore", context.Options.CallLimit, context).ConfigureAwait(false), callers, context);
    }

    /// <summary>The longest that a call may take.</summary>
    public TimeSpan Limit { get; set; }

    public BackstoreGeometry Geometry => _guard.Geometry;

    public BackstoreFeatures Features => _guard.Features;

    public long? AvailableBytes => _guard.AvailableBytes;

    public event Action GeometryChanged
    {
        add => _guard.GeometryChanged += value;
        remove => _guard.GeometryChanged -= value;
    }

    public bool Has(BackstoreFeatures feature) => _guard.Has(feature);

    public Task ReadAsync(long offset, DataBuffer data, CancellationToken stop) =>
        CallAsync($"ReadAsync({offset}+{data.Length})", () => _guard.ReadAsync(offset, data, stop).AsTask());

    public Task WriteAsync(long offset, DataBuffer data, WriteOptions options, CancellationToken stop) =>
        CallAsync($"WriteAsync({offset}+{data.Length}, {options})", () => _guard.WriteAsync(offset, data, options, stop).AsTask());

    public Task FlushAsync(CancellationToken stop) => CallAsync("FlushAsync", () => _guard.FlushAsync(stop).AsTask());

    public Task DiscardAsync(long offset, long length, CancellationToken stop) =>
        CallAsync($"DiscardAsync({offset}+{length})", () => _guard.DiscardAsync(offset, length, stop).AsTask());

    public Task WriteZeroesAsync(long offset, long length, WriteOptions options, CancellationToken stop) =>
        CallAsync($"WriteZeroesAsync({offset}+{length}, {options})", () => _guard.WriteZeroesAsync(offset, length, options, stop).AsTask());

    public Task WriteSameAsync(long offset, long length, DataBuffer pattern, WriteOptions options, CancellationToken stop) =>
        CallAsync($"WriteSameAsync({offset}+{length}, {options})", () => _guard.WriteSameAsync(offset, length, pattern, options, stop).AsTask());

    public Task<long> CompareAndWriteAsync(long offset, DataBuffer compare, DataBuffer data, WriteOptions options, CancellationToken stop) =>
        CallAsync($"CompareAndWriteAsync({offset}+{data.Length}, {options})", () => _guard.CompareAndWriteAsync(offset, compare, data, options, stop).AsTask());

    public Task<BackstoreExtent> ExtentAsync(long offset, long length, CancellationToken stop) =>
        CallAsync($"ExtentAsync({offset}+{length})", () => _guard.ExtentAsync(offset, length, stop).AsTask());

    public Task<bool> GrowAsync(long length, CancellationToken stop) => CallAsync($"GrowAsync({length})", () => _guard.GrowAsync(length, stop).AsTask());

    public Task<bool> TakeLengthAsync(long length, CancellationToken stop) => CallAsync($"TakeLengthAsync({length})", () => _guard.TakeLengthAsync(length, stop).AsTask());

    public Task<long> MeasureAsync() => CallAsync("MeasureAsync", () => _guard.MeasureAsync().AsTask());

    private Task CallAsync(string name, Func<Task> call) =>
        LimitedAsync(DoneAsync(_callers.RunAsync(static c => c(), call).AsTask().Unwrap()), name, Limit, _context);

    private static async Task<bool> DoneAsync(Task task)
    {
        await task.ConfigureAwait(false);
        return true;
    }

    private Task<T> CallAsync<T>(string name, Func<Task<T>> call) => LimitedAsync(_callers.RunAsync(static c => c(), call).AsTask().Unwrap(), name, Limit, _context);

    private static async Task<T> LimitedAsync<T>(Task<T> running, string name, TimeSpan limit, CheckContext context)
    {
        try
        {
            return await running.WaitAsync(limit, context.Stop).ConfigureAwait(false);
        }
        catch (TimeoutException) when (!running.IsCompleted)
        {
            context.Hangs = name;
            throw new ContractException($"{name} has not ended after {limit.TotalSeconds} s");
        }
    }

    /// <summary>Closes it; once a call hangs, or when the check is cancelled, without waiting for what is still in progress.</summary>
    public async ValueTask DisposeAsync()
    {
        if (_isDisposed) return;
        _isDisposed = true;
        var closing = DoneAsync(_callers.RunAsync(static g => g.DisposeAsync().AsTask(), _guard).AsTask().Unwrap());
        if (_context.Hangs is not null || _context.Stop.IsCancellationRequested)
            await ((Task)closing.WaitAsync(s_abandoned)).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        else
            await LimitedAsync(closing, "DisposeAsync", Limit, _context).ConfigureAwait(false);
    }
}
