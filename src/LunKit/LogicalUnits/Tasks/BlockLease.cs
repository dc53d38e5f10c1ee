namespace LunKit.LogicalUnits;

/// <summary>A run of blocks, <paramref name="Start"/> included, <paramref name="End"/> not.</summary>
internal readonly record struct BlockRange(long Start, long End)
{
    public bool IsEmpty => End <= Start;

    // An empty one overlaps none, wherever it lies.
    public bool Overlaps(BlockRange other) => Math.Max(Start, other.Start) < Math.Min(End, other.End);
}

/// <summary>The blocks that a command works on, and how it stands to others that work on the same ones.</summary>
/// <param name="Range">All of its blocks lie in it; empty for a command that touches none.</param>
/// <param name="Exclusive">No other command touches its blocks while it runs.</param>
/// <param name="ChangesMedium">It may write them, so that nobody may write them before it has really ended.</param>
internal readonly record struct BlockLease(BlockRange Range, bool Exclusive = false, bool ChangesMedium = false)
{
    /// <summary>Every block, whatever the capacity is or will be.</summary>
    public static readonly BlockRange All = new(0, long.MaxValue);

    /// <summary>Some runs of blocks; none of them may be there.</summary>
    public static BlockLease OfParts(BlockRange[] parts, bool exclusive, bool changes) => parts.Length == 0
        ? new(default, ChangesMedium: changes)
        : new(new(parts.Min(p => p.Start), parts.Max(p => p.End)), exclusive, changes) { Parts = parts };

    /// <summary>The exact runs, where a command names several; null: all of <see cref="Range"/>.</summary>
    public BlockRange[]? Parts { get; init; }

    public bool Overlaps(in BlockLease other)
    {
        if (!Range.Overlaps(other.Range)) return false;
        if (Parts is null && other.Parts is null) return true;
        return Parts is null ? other.OverlapsParts(Range) : other.Parts is null ? OverlapsParts(other.Range) : Array.Exists(Parts, other.OverlapsParts);
    }

    private bool OverlapsParts(BlockRange range)
    {
        if (Parts is null) return Range.Overlaps(range);
        foreach (var part in Parts)
            if (part.Overlaps(range)) return true;
        return false;
    }
}
