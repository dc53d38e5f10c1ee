namespace LunKit.Backstores;

/// <summary>The operations of a backstore that filters see.</summary>
public enum BackstoreOperation
{
    /// <summary><see cref="IBackstore.ReadAsync"/>.</summary>
    Read,
    /// <summary><see cref="IBackstore.WriteAsync"/>.</summary>
    Write,
    /// <summary><see cref="IBackstore.FlushAsync"/>.</summary>
    Flush,
    /// <summary><see cref="IBackstore.DiscardAsync"/>.</summary>
    Discard,
    /// <summary><see cref="IBackstore.WriteZeroesAsync"/>.</summary>
    WriteZeroes,
    /// <summary><see cref="IBackstore.WriteSameAsync"/>.</summary>
    WriteSame,
    /// <summary><see cref="IBackstore.CompareAndWriteAsync"/>.</summary>
    CompareAndWrite,
    /// <summary><see cref="IBackstore.ExtentAsync"/>.</summary>
    Extent,
}

/// <summary>Classes of operations, as the settings of filters name them.</summary>
[Flags]
public enum OperationClasses
{
    /// <summary>No operation.</summary>
    None = 0,
    /// <summary>Reads, and questions for allocated extents.</summary>
    Read = 1,
    /// <summary>Writes of every kind: of data, of zeroes, of a pattern, and compare and write.</summary>
    Write = 2,
    /// <summary>Flushes.</summary>
    Flush = 4,
    /// <summary>Discards.</summary>
    Discard = 8,
    /// <summary>All operations. Resizing and measuring belong to no class: no filter of LunKit holds them up.</summary>
    All = Read | Write | Flush | Discard,
}

/// <summary>One operation of a backstore, as a filter sees it. What <see cref="BackstoreGuard"/> emulates is seen as what it is emulated by.</summary>
/// <param name="Operation">Which operation.</param>
/// <param name="Offset">First byte; 0 for a flush.</param>
/// <param name="Length">Bytes; 0 for a flush.</param>
/// <param name="Options">How a write is to be done.</param>
public readonly record struct BackstoreCall(BackstoreOperation Operation, long Offset, long Length, WriteOptions Options = WriteOptions.None)
{
    /// <summary>The class that the operation belongs to.</summary>
    public OperationClasses Class => Operation switch
    {
        BackstoreOperation.Read or BackstoreOperation.Extent => OperationClasses.Read,
        BackstoreOperation.Flush => OperationClasses.Flush,
        BackstoreOperation.Discard => OperationClasses.Discard,
        _ => OperationClasses.Write,
    };

    /// <summary>Makes the call. Not for the two that return something.</summary>
    /// <param name="store">What is called.</param>
    /// <param name="data">The data, at least as long as the call; the pattern of <see cref="BackstoreOperation.WriteSame"/>.</param>
    /// <param name="cancellationToken">Cancels the call.</param>
    internal ValueTask MakeAsync(IBackstore store, DataBuffer data, CancellationToken cancellationToken) => Operation switch
    {
        BackstoreOperation.Read => store.ReadAsync(Offset, data.Slice(0, (int)Length), cancellationToken),
        BackstoreOperation.Write => store.WriteAsync(Offset, data.Slice(0, (int)Length), Options, cancellationToken),
        BackstoreOperation.Flush => store.FlushAsync(cancellationToken),
        BackstoreOperation.Discard => store.DiscardAsync(Offset, Length, cancellationToken),
        BackstoreOperation.WriteZeroes => store.WriteZeroesAsync(Offset, Length, Options, cancellationToken),
        BackstoreOperation.WriteSame => store.WriteSameAsync(Offset, Length, data, Options, cancellationToken),
        _ => throw new InvalidOperationException($"{Operation} returns something"),
    };

    /// <inheritdoc/>
    public override string ToString() => Operation == BackstoreOperation.Flush ? "flush" : $"{TraceRecord.NameOf(Operation)} {Offset}+{Length}";
}
