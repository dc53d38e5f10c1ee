using LunKit.Backstores;

namespace LunKit.Testing;

/// <summary>How thorough a <see cref="BackstoreContract"/> is, and what it may do.</summary>
public sealed record ContractOptions
{
    /// <summary>Bytes from the start that it works on, and overwrites; a smaller backstore is used whole.</summary>
    public int WorkBytes { get; init; } = 8 << 20;

    /// <summary>Random operations one after the other, and about as many again at once.</summary>
    public int Steps { get; init; } = 400;

    /// <summary>Operations at once.</summary>
    public int Concurrency { get; init; } = 16;

    /// <summary>Longest transfer of one operation in bytes.</summary>
    public int MaxTransferBytes { get; init; } = 512 * 1024;

    /// <summary>Seed of what is random: the same seed does the same.</summary>
    public int Seed { get; init; } = 1;

    /// <summary>Whether what was flushed is there when the backstore is opened again.</summary>
    public bool IsPersistent { get; init; } = true;

    /// <summary>
    /// Gives what is behind the backstore so many bytes, as its owner would (<c>rbd resize</c>, <c>truncate</c>); the backstore is then to notice by
    /// itself, or to take the new length when it is told. Null: a backstore with <see cref="BackstoreFeatures.Resize"/> is grown through it.
    /// </summary>
    public Func<long, Task>? Grow { get; init; }

    /// <summary>Whether the backstore may be grown, by 1 MiB.</summary>
    public bool MayGrow { get; init; }

    /// <summary>
    /// Breaks what is behind the backstore (true), and mends it (false), as the world would: a server is stopped, a disk is full. Null: failures are
    /// not checked.
    /// </summary>
    public Func<bool, Task>? Break { get; init; }

    /// <summary>
    /// Cuts the open backstore off its medium and loses all that is not durable, as a loss of power would: nothing that the backstore, or its
    /// disposal, does afterwards reaches the medium. It is opened again then. Only its author can do that (a volatile layer below it that is
    /// thrown away, a virtual machine that is killed); null: whether flushes, forced writes and an undeclared cache lose data is not checked.
    /// </summary>
    public Func<Task>? Crash { get; init; }

    /// <summary>Longest time for a call to end while nothing is broken; one that takes longer fails its check by name.</summary>
    public TimeSpan CallLimit { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>Longest time for an operation to end while it is broken, done or not.</summary>
    public TimeSpan FailureLimit { get; init; } = TimeSpan.FromSeconds(60);
}
