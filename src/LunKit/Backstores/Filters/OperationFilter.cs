using System.Runtime.CompilerServices;

namespace LunKit.Backstores;

/// <summary>
/// A filter that treats all operations alike: it does something before each, or after it, and leaves the data as it is. Overlapping calls stay
/// overlapping calls.
/// </summary>
/// <param name="inner">The inner backstore; the filter owns it from now on.</param>
public abstract class OperationFilter(IBackstore inner) : CallFilter(inner)
{
    /// <summary>
    /// Called before each operation, which begins when the task has completed. The filter does not touch the operation's memory here, so a cancellation
    /// may end it at once. An exception refuses the operation; <see cref="End"/> is not called then.
    /// </summary>
    /// <returns>What <see cref="End"/> is to know of the beginning.</returns>
    protected abstract ValueTask<long> BeginAsync(BackstoreCall call, CancellationToken cancellationToken);

    /// <summary>Called when an operation has ended. Must not wait, and must not throw.</summary>
    /// <param name="call">The operation.</param>
    /// <param name="begun">What <see cref="BeginAsync"/> has returned.</param>
    /// <param name="failure">Why it failed; null when it did not.</param>
    /// <param name="difference">The result of a compare and write: -1 when it has written, else the first byte that differs. -1 for the others.</param>
    protected virtual void End(BackstoreCall call, long begun, Exception? failure, long difference)
    {
    }

    /// <inheritdoc/>
    public override async ValueTask<long> CompareAndWriteAsync(
        long offset, DataBuffer compare, DataBuffer data, WriteOptions options, CancellationToken cancellationToken)
    {
        var call = new BackstoreCall(BackstoreOperation.CompareAndWrite, offset, data.Length, options);
        long begun = await BeginAsync(call, cancellationToken).ConfigureAwait(false), difference = -1;
        try
        {
            difference = await Inner.CompareAndWriteAsync(offset, compare, data, options, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            End(call, begun, e, -1);
            throw;
        }
        End(call, begun, null, difference);
        return difference;
    }

    /// <inheritdoc/>
    public override async ValueTask<BackstoreExtent> ExtentAsync(long offset, long length, CancellationToken cancellationToken)
    {
        var call = new BackstoreCall(BackstoreOperation.Extent, offset, length);
        long begun = await BeginAsync(call, cancellationToken).ConfigureAwait(false);
        BackstoreExtent extent;
        try
        {
            extent = await Inner.ExtentAsync(offset, length, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            End(call, begun, e, -1);
            throw;
        }
        End(call, begun, null, -1);
        return extent;
    }

    // Pooled: every read and write that waits comes here.
    /// <inheritdoc/>
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder))]
    protected override async ValueTask RunAsync(BackstoreCall call, DataBuffer data, CancellationToken cancellationToken)
    {
        long begun = await BeginAsync(call, cancellationToken).ConfigureAwait(false);
        try
        {
            await call.MakeAsync(Inner, data, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            End(call, begun, e, -1);
            throw;
        }
        End(call, begun, null, -1);
    }
}
