namespace LunKit.Backstores;

/// <summary>
/// What stores the bytes of a logical unit. It has never heard of SCSI: three methods and a property make a disk.
/// <para>
/// Contract: <see cref="BackstoreGuard"/> is the only caller. Offsets and lengths are inside the geometry, multiples of the
/// block size, and lengths are positive. Calls overlap only if <see cref="BackstoreFeatures.Concurrent"/> is declared. The
/// memory of a <see cref="DataBuffer"/> is valid until the returned task completes. A call that can complete without waiting
/// should do so synchronously; one that may wait for a medium must not do so on its caller's thread, which serves other units, too. A call that was
/// cancelled completes only when it no longer uses the memory and the medium. Failures are exceptions: <see cref="BackstoreException"/> or any
/// <see cref="IOException"/>.
/// </para>
/// <para>A backstore over another one is a <see cref="BackstoreFilter"/>: members with a default here are easily forgotten.</para>
/// </summary>
public interface IBackstore : IAsyncDisposable
{
    /// <summary>Length, block sizes, read-only. Read often: return a stored object.</summary>
    BackstoreGeometry Geometry { get; }

    /// <summary>What the backstore does itself; constant for its life.</summary>
    BackstoreFeatures Features => BackstoreFeatures.None;

    /// <summary>Fills <paramref name="data"/> from byte <paramref name="offset"/>.</summary>
    ValueTask ReadAsync(long offset, DataBuffer data, CancellationToken cancellationToken);

    /// <summary>
    /// Stores <paramref name="data"/> at byte <paramref name="offset"/>. The data is the caller's and is not to be changed: a write may be carried out again
    /// from the same memory, also by a successor of the process.
    /// </summary>
    ValueTask WriteAsync(long offset, DataBuffer data, WriteOptions options, CancellationToken cancellationToken);

    /// <summary>
    /// Makes every write that completed before this call survive a crash and a power loss. Where what is behind tells a failure only once, as
    /// fsync does, <see cref="GroupedFlush"/> tells it to everybody.
    /// </summary>
    ValueTask FlushAsync(CancellationToken cancellationToken);

    /// <summary>Frees the space of a range, which then reads as zeroes. Called only if <see cref="BackstoreFeatures.Discard"/>.</summary>
    ValueTask DiscardAsync(long offset, long length, CancellationToken cancellationToken) => throw new NotSupportedException();

    /// <summary>Makes a range read as zeroes and keeps its space. Called only if <see cref="BackstoreFeatures.WriteZeroes"/>.</summary>
    ValueTask WriteZeroesAsync(long offset, long length, WriteOptions options, CancellationToken cancellationToken) =>
        throw new NotSupportedException();

    /// <summary>Writes <paramref name="pattern"/> over and over. Called only if <see cref="BackstoreFeatures.WriteSame"/>.</summary>
    ValueTask WriteSameAsync(long offset, long length, DataBuffer pattern, WriteOptions options, CancellationToken cancellationToken) =>
        throw new NotSupportedException();

    /// <summary>
    /// Writes <paramref name="data"/> if the bytes there are those of <paramref name="compare"/>, as one step. Returns -1 when it has written,
    /// else the index of the first byte that differs. Called only if <see cref="BackstoreFeatures.CompareAndWrite"/>.
    /// </summary>
    ValueTask<long> CompareAndWriteAsync(long offset, DataBuffer compare, DataBuffer data, WriteOptions options, CancellationToken cancellationToken) =>
        throw new NotSupportedException();

    /// <summary>
    /// The allocation state from <paramref name="offset"/> on, a run of at most <paramref name="length"/> bytes.
    /// Called only if <see cref="BackstoreFeatures.Extents"/>.
    /// </summary>
    ValueTask<BackstoreExtent> ExtentAsync(long offset, long length, CancellationToken cancellationToken) =>
        ValueTask.FromResult(new BackstoreExtent(length, true));

    /// <summary>
    /// Makes the backstore longer: the geometry has this length when the task completes. What is behind it is made at least as long, with bytes that read
    /// as zeroes, and is never cut, also when its owner makes it longer at the same moment. Not called with less than the geometry has. Called only if
    /// <see cref="BackstoreFeatures.Resize"/>.
    /// </summary>
    ValueTask GrowAsync(long lengthBytes, CancellationToken cancellationToken) => throw new NotSupportedException();

    /// <summary>
    /// Takes over a length that <see cref="MeasureAsync"/> has told, a smaller one too: the geometry has it when the task completes. What is behind is
    /// not changed; where it is shorter than that by now, the call fails. Called only if <see cref="BackstoreFeatures.Resize"/>.
    /// </summary>
    ValueTask TakeLengthAsync(long lengthBytes, CancellationToken cancellationToken) => throw new NotSupportedException();

    /// <summary>
    /// Raised after <see cref="Geometry"/> has become another by itself, because somebody else has changed the size of what is behind it.
    /// Any thread, but none that a call waits for.
    /// </summary>
    event Action GeometryChanged
    {
        add { }
        remove { }
    }

    /// <summary>The length that what is behind it has now, in bytes: its owner may have changed it, and the geometry not noticed.</summary>
    ValueTask<long> MeasureAsync() => ValueTask.FromResult(Geometry.LengthBytes);

    /// <summary>Whether its owner has deleted what is behind it, so that all of it goes when the backstore is closed.</summary>
    ValueTask<bool> IsDeletedAsync() => ValueTask.FromResult(false);

    /// <summary>Why the backstore is temporarily unavailable, in words ("connecting: ..."); null when it serves.</summary>
    string? Unavailable => null;

    /// <summary>Bytes that can still be allocated, as they were measured last, or null when that is not known. Never waits.</summary>
    long? AvailableBytes => null;

    /// <summary>Releases what the backstore holds. Called once, when no call is in progress.</summary>
    ValueTask IAsyncDisposable.DisposeAsync()
    {
        GC.SuppressFinalize(this);
        return ValueTask.CompletedTask;
    }
}
