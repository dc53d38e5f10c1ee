namespace LunKit.Backstores;

/// <summary>What a <see cref="FaultRule"/> does to an operation.</summary>
public enum FaultEffect
{
    /// <summary>It fails, and nothing of it is done. For all operations.</summary>
    Error,
    /// <summary>It does not begin until the rule is taken away or it is cancelled. Then it is carried out, or ends cancelled. For all operations.</summary>
    Hang,
    /// <summary>
    /// The first half of its blocks is done, then it fails at the block that follows. For reads, writes and discards; a compare and write fails and
    /// writes nothing.
    /// </summary>
    Short,
    /// <summary>
    /// As <see cref="Short"/>, and the block that it fails at is half new and half old: what a disk does that loses its power. For writes; a compare and
    /// write fails and writes nothing.
    /// </summary>
    Torn,
    /// <summary>It succeeds with wrong bits: in the memory of a read, on the medium after a write. For reads and writes.</summary>
    Corrupt,
}

/// <summary>A fault that a <see cref="FaultFilter"/> causes: which operations it hits, when, and what it does to them.</summary>
public sealed record FaultRule
{
    /// <summary>What it does.</summary>
    public required FaultEffect Effect { get; init; }

    /// <summary>The classes of operations that it hits, of those that <see cref="Effect"/> is for.</summary>
    public OperationClasses Operations { get; init; } = OperationClasses.All;

    /// <summary>The error of <see cref="FaultEffect.Error"/>, Short and Torn; null for a medium error of the operation's direction.</summary>
    public BackstoreError? Error { get; init; }

    /// <summary>First byte of the range that it lies in. A flush is hit wherever the range lies.</summary>
    public long Start { get; init; }

    /// <summary>The byte behind the range.</summary>
    public long End { get; init; } = long.MaxValue;

    /// <summary>Operations in the range that it lets pass before the first that it may hit.</summary>
    public long After { get; init; }

    /// <summary>How many operations it hits, then no more; 0 for all.</summary>
    public long Count { get; init; }

    /// <summary>How likely it hits an operation that it may hit: more than 0, up to 1.</summary>
    public double Probability { get; init; } = 1;

    /// <summary>Wrong bits of <see cref="FaultEffect.Corrupt"/>, at random places of the operation inside the range: 1 to 4096.</summary>
    public int Bits { get; init; } = 1;

    /// <summary>
    /// Whether a cancellation ends <see cref="FaultEffect.Hang"/>. Without it only taking the rule away does, as with a disk that has lost its firmware:
    /// a unit is then not closed in order before that.
    /// </summary>
    public bool HeedsCancellation { get; init; } = true;

    /// <summary>Seed of probabilities and bits: the same seed does the same to the same operations.</summary>
    public int Seed { get; init; } = 1;

    /// <summary>The classes that an effect is for.</summary>
    internal static OperationClasses ClassesOf(FaultEffect effect) => effect switch
    {
        FaultEffect.Short => OperationClasses.Read | OperationClasses.Write | OperationClasses.Discard,
        FaultEffect.Torn => OperationClasses.Write,
        FaultEffect.Corrupt => OperationClasses.Read | OperationClasses.Write,
        _ => OperationClasses.All,
    };

    /// <summary>Throws <see cref="ArgumentException"/> for a rule that could hit nothing.</summary>
    internal FaultRule Checked()
    {
        if ((Operations & ClassesOf(Effect)) == 0) throw new ArgumentException($"{Effect} is for {ClassesOf(Effect)}, not for {Operations}");
        if (Start < 0 || End <= Start) throw new ArgumentException($"the range from {Start} to {End} has no byte");
        if (!(Probability is > 0 and <= 1)) throw new ArgumentException($"a probability of {Probability} is not more than 0 and up to 1");
        if (After < 0 || Count < 0) throw new ArgumentException($"after {After}, count {Count}: neither may be negative");
        if (Bits is < 1 or > 4096) throw new ArgumentException($"{Bits} bits are not 1 to 4096");
        return this;
    }
}

/// <summary>What a <see cref="FaultFilter"/> does; the first rule that hits an operation decides.</summary>
/// <param name="Rules">The rules, in order.</param>
public sealed record FaultSettings(params IReadOnlyList<FaultRule> Rules)
{
    /// <summary>No fault.</summary>
    public static FaultSettings Off { get; } = new();
}
