namespace LunKit.Backstores;

/// <summary>What a backstore does itself. What it does not declare, <see cref="BackstoreGuard"/> emulates or the device server refuses.</summary>
[Flags]
public enum BackstoreFeatures
{
    /// <summary>Reads, writes and flushes only, one call at a time.</summary>
    None = 0,
    /// <summary>Calls may overlap. Without it the guard makes them one after the other.</summary>
    Concurrent = 1,
    /// <summary><see cref="IBackstore.DiscardAsync"/> frees space, and a discarded range reads as zeroes.</summary>
    Discard = 2,
    /// <summary><see cref="IBackstore.WriteZeroesAsync"/> is cheaper than writing zeroes.</summary>
    WriteZeroes = 4,
    /// <summary><see cref="WriteOptions.ForceUnitAccess"/> is honoured. Without it the guard flushes after the write.</summary>
    ForceUnitAccess = 8,
    /// <summary><see cref="IBackstore.ExtentAsync"/> knows which ranges are allocated.</summary>
    Extents = 16,
    /// <summary>An acknowledged write may be lost in a crash until the next flush: the unit reports a write cache.</summary>
    VolatileCache = 32,
    /// <summary><see cref="IBackstore.GrowAsync"/> and <see cref="IBackstore.TakeLengthAsync"/> work.</summary>
    Resize = 64,
    /// <summary><see cref="IBackstore.CompareAndWriteAsync"/> is atomic toward everybody who writes the same bytes, in other processes too.</summary>
    CompareAndWrite = 128,
    /// <summary><see cref="IBackstore.WriteSameAsync"/> is cheaper than writing the pattern over and over.</summary>
    WriteSame = 256,
    /// <summary>
    /// What a write has acknowledged outlives this process, however that ends: it is with the system (its page cache), with another process, or on the
    /// medium. Without it a write is lost with the process until a flush has ended well.
    /// </summary>
    SurvivesProcess = 512,
    /// <summary>
    /// Nothing outlives this object, what was flushed neither: the data is in its memory only. A backstore has this rather than does it.
    /// </summary>
    Ephemeral = 1024,
}

/// <summary>How a write is to be done.</summary>
[Flags]
public enum WriteOptions
{
    /// <summary>The write may stay in a cache until the next flush.</summary>
    None = 0,
    /// <summary>The data is on the medium before the call completes.</summary>
    ForceUnitAccess = 1,
}

/// <summary>A run of bytes of equal allocation state, from the asked offset on.</summary>
/// <param name="LengthBytes">At least 1.</param>
/// <param name="Allocated">False: the range has no space of its own and reads as zeroes.</param>
public readonly record struct BackstoreExtent(long LengthBytes, bool Allocated);
