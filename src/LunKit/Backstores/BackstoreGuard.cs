using System.Buffers;
using System.Runtime.CompilerServices;

namespace LunKit.Backstores;

/// <summary>
/// The one caller of an <see cref="IBackstore"/>: states its contract, emulates what it does not declare, keeps calls apart where it does not
/// support several at once, and disposes it only after the last call has ended, also one whose caller has cancelled. Thread safe.
/// </summary>
public sealed partial class BackstoreGuard : IAsyncDisposable
{
    private const int ZeroChunkBytes = 1 << 20, RepeatChunkBytes = 1 << 20, CompareChunkBytes = 256 * 1024;
    private static readonly byte[] s_zeroes = GC.AllocateArray<byte>(ZeroChunkBytes, pinned: true);

    private readonly IBackstore _backstore;
    private readonly BackstoreFeatures _features;
    private readonly SemaphoreSlim? _turn;
    private readonly TaskCompletionSource _idle = new(TaskCreationOptions.RunContinuationsAsynchronously);
    // Calls in progress; from the disposal on counted from int.MinValue.
    private int _calls;
    private int _isDisposed;

    /// <summary>Takes over <paramref name="backstore"/>: it is disposed with the guard.</summary>
    public BackstoreGuard(IBackstore backstore)
    {
        _backstore = backstore;
        _features = backstore.Features;
        _turn = Has(BackstoreFeatures.Concurrent) ? null : new SemaphoreSlim(1, 1);
        var geometry = backstore.Geometry;
        int block = geometry.BlockSize, physical = geometry.PhysicalBlockSize;
        if (block is < 512 or > 65536 || !int.IsPow2(block))
            throw new ArgumentException($"block size {block} is not a power of two from 512 to 65536", nameof(backstore));
        if (physical < block || !int.IsPow2(physical))
            throw new ArgumentException($"physical block size {physical} is not a power-of-two multiple of {block}", nameof(backstore));
        if (geometry.BlockCount < 1)
            throw new ArgumentException($"a backstore of {geometry.LengthBytes} bytes holds no block of {block} bytes", nameof(backstore));
    }

    /// <summary>The current geometry.</summary>
    public BackstoreGeometry Geometry => _backstore.Geometry;

    /// <summary>Raised when the geometry changed without a call here.</summary>
    public event Action GeometryChanged
    {
        add => _backstore.GeometryChanged += value;
        remove => _backstore.GeometryChanged -= value;
    }

    /// <summary>What the backstore itself declares.</summary>
    public BackstoreFeatures Features => _features;

    /// <summary>Why the backstore is temporarily unavailable; null when it serves.</summary>
    public string? Unavailable => _backstore.Unavailable;

    /// <summary>Bytes that can still be allocated, or null when not known.</summary>
    public long? AvailableBytes => _backstore.AvailableBytes;

    /// <summary>Whether <paramref name="feature"/> is declared.</summary>
    public bool Has(BackstoreFeatures feature) => (_features & feature) != 0;

    /// <summary>Reads whole blocks at a block boundary.</summary>
    public ValueTask ReadAsync(long offset, DataBuffer data, CancellationToken cancellationToken)
    {
        AssertRange(offset, data.Length);
        if (data.IsEmpty) return ValueTask.CompletedTask;
        Enter();
        ValueTask running;
        try
        {
            running = ReadCoreAsync(offset, data, cancellationToken);
        }
        catch
        {
            Exit();
            throw;
        }
        return ExitAfter(running);
    }

    private ValueTask ReadCoreAsync(long offset, DataBuffer data, CancellationToken cancellationToken)
    {
        return _turn is null ? _backstore.ReadAsync(offset, data, cancellationToken) : InTurnAsync(offset, data, cancellationToken);

        async ValueTask InTurnAsync(long offset, DataBuffer data, CancellationToken cancellationToken)
        {
            using var turn = await TakeTurnAsync(cancellationToken).ConfigureAwait(false);
            await _backstore.ReadAsync(offset, data, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Writes whole blocks at a block boundary.</summary>
    public ValueTask WriteAsync(long offset, DataBuffer data, WriteOptions options, CancellationToken cancellationToken)
    {
        AssertRange(offset, data.Length);
        if (data.IsEmpty) return ValueTask.CompletedTask;
        Enter();
        ValueTask running;
        try
        {
            running = WriteCoreAsync(offset, data, options, cancellationToken);
        }
        catch
        {
            Exit();
            throw;
        }
        return ExitAfter(running);
    }

    private ValueTask WriteCoreAsync(long offset, DataBuffer data, WriteOptions options, CancellationToken cancellationToken)
    {
        return _turn is null && !NeedsFlush(options) ? _backstore.WriteAsync(offset, data, options, cancellationToken) : InTurnAsync(offset, data, options, cancellationToken);

        async ValueTask InTurnAsync(long offset, DataBuffer data, WriteOptions options, CancellationToken cancellationToken)
        {
            using var turn = await TakeTurnAsync(cancellationToken).ConfigureAwait(false);
            await _backstore.WriteAsync(offset, data, options, cancellationToken).ConfigureAwait(false);
            if (NeedsFlush(options)) await _backstore.FlushAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>
    /// Makes completed writes durable, those of an earlier process too: after a crash they may still be in the page cache, and the
    /// initiator that reconnects flushes what it wrote before.
    /// </summary>
    public async ValueTask FlushAsync(CancellationToken cancellationToken)
    {
        using var call = new Call(this);
        using var turn = await TakeTurnAsync(cancellationToken).ConfigureAwait(false);
        await _backstore.FlushAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Frees a range where the backstore can; the range reads as zeroes afterwards in every case.</summary>
    public async ValueTask DiscardAsync(long offset, long length, CancellationToken cancellationToken)
    {
        AssertRange(offset, length);
        if (length == 0) return;
        using var call = new Call(this);
        if (!Has(BackstoreFeatures.Discard))
        {
            await WriteZeroesCoreAsync(offset, length, WriteOptions.None, cancellationToken).ConfigureAwait(false);
            return;
        }
        using var turn = await TakeTurnAsync(cancellationToken).ConfigureAwait(false);
        await _backstore.DiscardAsync(offset, length, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Makes a range read as zeroes.</summary>
    public async ValueTask WriteZeroesAsync(long offset, long length, WriteOptions options, CancellationToken cancellationToken)
    {
        AssertRange(offset, length);
        if (length == 0) return;
        using var call = new Call(this);
        await WriteZeroesCoreAsync(offset, length, options, cancellationToken).ConfigureAwait(false);
    }

    private async ValueTask WriteZeroesCoreAsync(long offset, long length, WriteOptions options, CancellationToken cancellationToken)
    {
        if (!Has(BackstoreFeatures.WriteZeroes))
        {
            for (long done = 0; done < length; done += ZeroChunkBytes)
            {
                cancellationToken.ThrowIfCancellationRequested();
                int chunk = (int)Math.Min(ZeroChunkBytes, length - done);
                await WriteCoreAsync(offset + done, new DataBuffer(s_zeroes.AsMemory(0, chunk)), OfPart(options, done + chunk == length), cancellationToken).ConfigureAwait(false);
            }
            return;
        }
        using var turn = await TakeTurnAsync(cancellationToken).ConfigureAwait(false);
        await _backstore.WriteZeroesAsync(offset, length, options, cancellationToken).ConfigureAwait(false);
        if (NeedsFlush(options)) await _backstore.FlushAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Writes a pattern, a whole number of times, over and over.</summary>
    public async ValueTask WriteSameAsync(long offset, long length, DataBuffer pattern, WriteOptions options, CancellationToken cancellationToken)
    {
        AssertRange(offset, length);
        if (length % pattern.Length != 0) throw new InvalidOperationException($"{length} bytes are no multiple of a pattern of {pattern.Length}");
        if (length == 0) return;
        using var call = new Call(this);
        if (!Has(BackstoreFeatures.WriteSame))
        {
            var scratch = ArrayPool<byte>.Shared.Rent(RepeatLength(pattern.Length, length));
            try
            {
                await RepeatAsync(offset, length, pattern, options, scratch, cancellationToken).ConfigureAwait(false);
            }
            finally
            {
                ArrayPool<byte>.Shared.Return(scratch);
            }
            return;
        }
        using var turn = await TakeTurnAsync(cancellationToken).ConfigureAwait(false);
        await _backstore.WriteSameAsync(offset, length, pattern, options, cancellationToken).ConfigureAwait(false);
        if (NeedsFlush(options)) await _backstore.FlushAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <summary>
    /// The bytes that <see cref="WriteSameAsync(long, long, DataBuffer, WriteOptions, Memory{byte}, CancellationToken)"/> can use where the
    /// backstore does not repeat a pattern itself; 0 where it does.
    /// </summary>
    public int ScratchOfWriteSame(int patternLength, long length) => Has(BackstoreFeatures.WriteSame) ? 0 : RepeatLength(patternLength, length);

    /// <summary>The same, in memory of the caller that is at least as long as the pattern.</summary>
    public async ValueTask WriteSameAsync(
        long offset, long length, DataBuffer pattern, WriteOptions options, Memory<byte> scratch, CancellationToken cancellationToken)
    {
        AssertRange(offset, length);
        if (Has(BackstoreFeatures.WriteSame))
        {
            await WriteSameAsync(offset, length, pattern, options, cancellationToken).ConfigureAwait(false);
            return;
        }
        using var call = new Call(this);
        await RepeatAsync(offset, length, pattern, options, scratch, cancellationToken).ConfigureAwait(false);
    }

    private static int RepeatLength(int patternLength, long length) =>
        Math.Max(patternLength, (int)Math.Min(RepeatChunkBytes / patternLength * patternLength, length));

    private async ValueTask RepeatAsync(
        long offset, long length, DataBuffer pattern, WriteOptions options, Memory<byte> scratch, CancellationToken cancellationToken)
    {
        int chunk = (int)Math.Min(scratch.Length / pattern.Length * pattern.Length, length);
        for (int at = 0; at < chunk; at += pattern.Length) pattern.CopyTo(scratch.Span[at..]);
        for (long done = 0; done < length; done += chunk)
        {
            cancellationToken.ThrowIfCancellationRequested();
            var data = new DataBuffer(scratch[..(int)Math.Min(chunk, length - done)]);
            await WriteCoreAsync(offset + done, data, OfPart(options, done + data.Length == length), cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>
    /// Writes if the bytes there are the expected ones; -1 when it has, else the index of the first that differs. Where the backstore does not
    /// do it as one step, or not so many bytes, the caller keeps others away from the range.
    /// </summary>
    public async ValueTask<long> CompareAndWriteAsync(long offset, DataBuffer compare, DataBuffer data, WriteOptions options, CancellationToken cancellationToken)
    {
        var scratch = ArrayPool<byte>.Shared.Rent(Math.Max(Geometry.BlockSize, Math.Min(CompareChunkBytes, data.Length)));
        try
        {
            return await CompareAndWriteAsync(offset, compare, data, options, scratch, cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(scratch);
        }
    }

    /// <summary>The same, comparing in memory of the caller that holds at least one block.</summary>
    public async ValueTask<long> CompareAndWriteAsync(
        long offset, DataBuffer compare, DataBuffer data, WriteOptions options, Memory<byte> scratch, CancellationToken cancellationToken)
    {
        AssertRange(offset, data.Length);
        if (compare.Length != data.Length) throw new InvalidOperationException($"{compare.Length} bytes cannot be compared for {data.Length}");
        if (data.IsEmpty) return -1;
        using var call = new Call(this);
        bool isTooLong = Geometry.CompareAndWriteBytes is > 0 and var limit && data.Length > limit;
        if (!Has(BackstoreFeatures.CompareAndWrite) || isTooLong)
            return await ReadCompareWriteAsync(offset, compare, data, options, scratch, cancellationToken).ConfigureAwait(false);
        using var turn = await TakeTurnAsync(cancellationToken).ConfigureAwait(false);
        long at = await _backstore.CompareAndWriteAsync(offset, compare, data, options, cancellationToken).ConfigureAwait(false);
        if (at < 0 && NeedsFlush(options)) await _backstore.FlushAsync(cancellationToken).ConfigureAwait(false);
        return at;
    }

    private async ValueTask<long> ReadCompareWriteAsync(
        long offset, DataBuffer compare, DataBuffer data, WriteOptions options, Memory<byte> scratch, CancellationToken cancellationToken)
    {
        int step = scratch.Length / Geometry.BlockSize * Geometry.BlockSize;
        for (int done = 0; done < data.Length; done += step)
        {
            var memory = scratch[..Math.Min(step, data.Length - done)];
            await ReadCoreAsync(offset + done, new DataBuffer(memory), cancellationToken).ConfigureAwait(false);
            int at = compare.Slice(done, memory.Length).FirstDifference(memory.Span);
            if (at >= 0) return done + at;
        }
        // From here on it is carried out to its end: a cancellation between the two halves would tell nobody which it was.
        await WriteCoreAsync(offset, data, options, CancellationToken.None).ConfigureAwait(false);
        return -1;
    }

    /// <summary>The allocation state from <paramref name="offset"/> on; all is allocated where the backstore does not know.</summary>
    public async ValueTask<BackstoreExtent> ExtentAsync(long offset, long length, CancellationToken cancellationToken)
    {
        AssertRange(offset, length);
        if (!Has(BackstoreFeatures.Extents)) return new BackstoreExtent(length, true);
        using var call = new Call(this);
        using var turn = await TakeTurnAsync(cancellationToken).ConfigureAwait(false);
        var extent = await _backstore.ExtentAsync(offset, length, cancellationToken).ConfigureAwait(false);
        if (extent.LengthBytes < 1) throw new BackstoreException(BackstoreError.Internal, "an extent of no bytes", offset);
        return extent with { LengthBytes = Math.Min(extent.LengthBytes, length) };
    }

    /// <summary>
    /// Disposes the backstore when the calls that are in progress have ended: takes as long as the slowest of them. Calls that come from here on
    /// are refused.
    /// </summary>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _isDisposed, 1) != 0) return;
        if (Interlocked.Add(ref _calls, int.MinValue) != int.MinValue) await _idle.Task.ConfigureAwait(false);
        await _backstore.DisposeAsync().ConfigureAwait(false);
        _turn?.Dispose();
    }

    private void Enter()
    {
        if (Interlocked.Increment(ref _calls) > 0) return;
        Exit();
        throw new BackstoreException(BackstoreError.Internal, "the backstore is closed");
    }

    private void Exit()
    {
        if (Interlocked.Decrement(ref _calls) == int.MinValue) _idle.TrySetResult();
    }

    private ValueTask ExitAfter(ValueTask running)
    {
        if (!running.IsCompleted) return WaitAsync(running);
        Exit();
        return running;

        // Pooled: a backstore that waits comes here with every read and write.
        [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder))]
        async ValueTask WaitAsync(ValueTask running)
        {
            try
            {
                await running.ConfigureAwait(false);
            }
            finally
            {
                Exit();
            }
        }
    }

    /// <summary>A call in progress, until its disposal.</summary>
    private readonly struct Call : IDisposable
    {
        private readonly BackstoreGuard _guard;

        public Call(BackstoreGuard guard)
        {
            guard.Enter();
            _guard = guard;
        }

        public void Dispose() => _guard.Exit();
    }

    /// <summary>Whether a write with these options has to be followed by a flush: the backstore does not do itself what is asked.</summary>
    private bool NeedsFlush(WriteOptions options) => (options & WriteOptions.ForceUnitAccess) != 0 && !Has(BackstoreFeatures.ForceUnitAccess);

    /// <summary>The options of a part of what is written in parts: one flush, behind the last, is enough for all.</summary>
    private WriteOptions OfPart(WriteOptions options, bool isLast) => isLast || !NeedsFlush(options) ? options : WriteOptions.None;

    private ValueTask<BackstoreTurn> TakeTurnAsync(CancellationToken cancellationToken) => BackstoreTurn.TakeAsync(_turn, cancellationToken);

    private void AssertRange(long offset, long length) => _backstore.Geometry.RequireRange(offset, length);
}
