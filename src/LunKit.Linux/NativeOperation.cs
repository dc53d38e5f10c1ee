using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using System.Runtime.Versioning;
using System.Threading.Tasks.Sources;

namespace LunKit.Linux;

/// <summary>
/// An operation that a C library completes by a callback on a thread of its own: the handle that it carries, the memory that it works on, and
/// the task that waits for it. Pooled: awaiting its task gives it back. What waits goes on on the thread of its pool, so the library's is never
/// held up.
/// </summary>
[SupportedOSPlatform("linux")]
public sealed class NativeOperation : IValueTaskSource<long>
{
    private readonly NativeOperations _pool;
    private GCHandle _handle;
    private ManualResetValueTaskSourceCore<long> _core;
    private long _result;

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
    public void Complete(long result)
    {
        _result = result;
        _pool.Completed(this);
    }

    internal void GoOn() => _core.SetResult(_result);

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

/// <summary>
/// The operations of one backstore, and the thread on which those that wait for them go on: cheaper than a pool's, for under load it finds the
/// next completion without sleeping. Disposed when no operation is out. Thread safe.
/// </summary>
[SupportedOSPlatform("linux")]
public sealed class NativeOperations : IDisposable
{
    private const int IdleMilliseconds = 10_000;

    private readonly ConcurrentBag<NativeOperation> _free = [];
    private readonly ConcurrentQueue<NativeOperation> _completed = new();
    private readonly EventFd _wake = new();
    private readonly Thread _thread;
    private int _sleeping;
    private volatile bool _disposed;

    /// <summary>Starts the thread. Throws as <see cref="Thread.Start()"/> does when there is none.</summary>
    /// <param name="name">Its name.</param>
    public NativeOperations(string name)
    {
        _thread = new Thread(Run, maxStackSize: 512 * 1024) { IsBackground = true, Name = name };
        try
        {
            _thread.Start();
        }
        catch
        {
            _wake.Dispose();
            throw;
        }
    }

    /// <summary>An operation with an empty vector.</summary>
    public NativeOperation Rent() => _free.TryTake(out var operation) ? operation : new NativeOperation(this);

    internal void Return(NativeOperation operation) => _free.Add(operation);

    internal void Completed(NativeOperation operation)
    {
        _completed.Enqueue(operation);
        // The queue before the flag, as the thread has them the other way round: one of both sees the other.
        if (Interlocked.Exchange(ref _sleeping, 0) == 1) _wake.Signal();
    }

    private void Run()
    {
        while (!_disposed)
        {
            while (_completed.TryDequeue(out var operation)) operation.GoOn();
            Interlocked.Exchange(ref _sleeping, 1);
            if (_completed.IsEmpty && !_disposed) _wake.Wait(IdleMilliseconds);
            Interlocked.Exchange(ref _sleeping, 0);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _disposed = true;
        _wake.Signal();
        // The last operation's waiter may be who disposes: then this is the thread itself.
        if (Thread.CurrentThread != _thread) _thread.Join();
        while (_free.TryTake(out var operation)) operation.Free();
        _wake.Dispose();
    }
}
