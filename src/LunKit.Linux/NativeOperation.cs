using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using System.Runtime.Versioning;
using System.Threading.Tasks.Sources;

namespace LunKit.Linux;

/// <summary>
/// An operation that a C library completes by a callback on a thread of its own: the handle that it carries, the memory that it works on, and
/// the task that waits for it. Pooled: awaiting its task gives it back. What waits goes on elsewhere, so the library's thread is never held up.
/// </summary>
[SupportedOSPlatform("linux")]
public sealed class NativeOperation : IValueTaskSource<long>
{
    private readonly NativeOperations _pool;
    private GCHandle _handle;
    private ManualResetValueTaskSourceCore<long> _core = new() { RunContinuationsAsynchronously = true };

    internal NativeOperation(NativeOperations pool)
    {
        _pool = pool;
        _handle = GCHandle.Alloc(this);
    }

    /// <summary>What the callback is given.</summary>
    public nint Handle => GCHandle.ToIntPtr(_handle);

    /// <summary>The memory of the transfer.</summary>
    public IoVector Vector { get; } = new();

    /// <summary>The operation of a callback's argument.</summary>
    public static NativeOperation Of(nint handle) => (NativeOperation)GCHandle.FromIntPtr(handle).Target!;

    /// <summary>Completes with the library's result; await it once.</summary>
    public ValueTask<long> Task => new(this, _core.Version);

    /// <summary>Called by the callback, once.</summary>
    public void Complete(long result) => _core.SetResult(result);

    /// <summary>The library did not take it: there is no callback.</summary>
    public void Abandon()
    {
        Vector.Clear();
        _pool.Return(this);
    }

    internal void Free()
    {
        Vector.Dispose();
        _handle.Free();
    }

    long IValueTaskSource<long>.GetResult(short token)
    {
        long result = _core.GetResult(token);
        _core.Reset();
        Abandon();
        return result;
    }

    ValueTaskSourceStatus IValueTaskSource<long>.GetStatus(short token) => _core.GetStatus(token);
    void IValueTaskSource<long>.OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
        _core.OnCompleted(continuation, state, token, flags);
}

/// <summary>The operations of one backstore. Disposed when none is out. Thread safe.</summary>
[SupportedOSPlatform("linux")]
public sealed class NativeOperations : IDisposable
{
    private readonly ConcurrentBag<NativeOperation> _free = [];

    /// <summary>An operation with an empty vector.</summary>
    public NativeOperation Rent() => _free.TryTake(out var operation) ? operation : new NativeOperation(this);

    internal void Return(NativeOperation operation) => _free.Add(operation);

    /// <inheritdoc/>
    public void Dispose()
    {
        while (_free.TryTake(out var operation)) operation.Free();
    }
}
