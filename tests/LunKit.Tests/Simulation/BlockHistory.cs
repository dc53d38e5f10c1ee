namespace LunKit.Tests.Simulation;

/// <summary>A write as its initiator sees it. Its effect on each block lies between <see cref="Start"/> and <see cref="End"/>, if it has one.</summary>
internal sealed class SeenWrite
{
    public required string Who { get; init; }
    public required ulong Id { get; init; }
    public required int First { get; init; }
    public required int Count { get; init; }
    public required long Start { get; init; }

    /// <summary>When it was answered, or when something answered that says it cannot take effect any more.</summary>
    public long End { get; set; } = long.MaxValue;

    /// <summary>It was acknowledged: it has taken effect.</summary>
    public bool IsDone { get; set; }

    public bool IsZero { get; init; }

    /// <summary>A flush that began after its acknowledgement has succeeded.</summary>
    public bool IsFlushed { get; set; }

    /// <summary>It was refused for what it found: it has no effect.</summary>
    public bool IsRefused { get; set; }

    public override string ToString() => $"write {Id:x} by {Who} of [{First},{First + Count}) at {Start} to {(End == long.MaxValue ? "?" : End)}{(IsDone ? "" : " (not acknowledged)")}";
}

/// <summary>
/// What initiators have seen of a disk, and whether one disk can have shown it: per block, every read returns a write that had begun, and that
/// nothing acknowledged has replaced before the read began. A write that was fenced (aborted, reset, preempted, its session replaced) ends with
/// the answer to the fence: if it shows up on what was written later, it landed late.
/// </summary>
internal sealed class BlockHistory
{
    private readonly record struct SeenRead(string Who, int Block, ulong Value, long Start, long End, string What, SeenWrite? Knows, bool IsOfMedium)
    {
        /// <summary>Whether what is lost at a time was still there for it: a flush promises what was there when it began.</summary>
        public bool IsBefore(long loss) => (IsOfMedium ? Start : End) < loss;
    }

    private readonly List<SeenWrite> _writes = [];
    private readonly List<SeenRead> _reads = [];
    private readonly Dictionary<(SeenWrite Write, int Block), long> _lost = [];

    public SeenWrite BeginWrite(string who, ulong id, int first, int count, long now, bool isZero = false)
    {
        var write = new SeenWrite { Who = who, Id = id, First = first, Count = count, Start = now, IsZero = isZero };
        _writes.Add(write);
        return write;
    }

    /// <summary>Takes in a write that has begun.</summary>
    public void Add(SeenWrite write) => _writes.Add(write);

    /// <summary>
    /// What was written to these blocks and has not reached the medium is lost, and older writes may be read again. Returns whose acknowledged
    /// writes are among that.
    /// </summary>
    /// <param name="blocks">The blocks, and what is there now.</param>
    /// <param name="now">The time.</param>
    public IReadOnlyCollection<string> Lose(IReadOnlyCollection<(int Block, ulong Value)> blocks, long now)
    {
        var deceived = new HashSet<string>();
        foreach (var (block, value) in blocks)
        {
            var writes = _writes.Where(w => block >= w.First && block < w.First + w.Count).ToList();
            var there = value == 0 ? null : writes.Find(w => Value(w, block) == value);
            // Which of several zeroes it is cannot be told.
            bool isClear = there is not null || value == 0 && !writes.Exists(w => w.IsZero);
            foreach (var write in writes)
            {
                if (there is not null && (write == there || write.End < there.Start)) continue;
                // Those that were lost before are not lost again.
                if (_lost.TryAdd((write, block), now) && isClear && write is { IsDone: true, IsFlushed: false } && write.Start > (there?.End ?? 0)) deceived.Add(write.Who);
            }
        }
        return deceived;
    }

    /// <summary>A flush that began at a time has succeeded.</summary>
    public void Flushed(long start)
    {
        foreach (var write in _writes)
            if (write.IsDone && write.End < start) write.IsFlushed = true;
    }

    /// <param name="who">Who has read it.</param>
    /// <param name="block">What was read.</param>
    /// <param name="value">What it was.</param>
    /// <param name="start">Everything acknowledged before this is known to the read.</param>
    /// <param name="end">It returned then.</param>
    /// <param name="what">For messages.</param>
    public void Read(string who, int block, ulong value, long start, long end, string what = "read") =>
        _reads.Add(new(who, block, value, start, end, what, null, IsOfMedium: false));

    /// <param name="block">A block.</param>
    /// <param name="value">What a power loss would leave there.</param>
    /// <param name="start">Everything acknowledged before this is on the medium.</param>
    /// <param name="now">The time.</param>
    /// <param name="what">Who says so.</param>
    /// <param name="knows">A write that is on the medium as well.</param>
    public void ReadMedium(int block, ulong value, long start, long now, string what, SeenWrite? knows) =>
        _reads.Add(new("the medium", block, value, start, now, $"{what}: what is on the medium", knows, IsOfMedium: true));

    /// <summary>The value of a block in a write, different for each.</summary>
    public static ulong Value(SeenWrite write, int block) => write.IsZero ? 0 : write.Id << 16 | (uint)block;

    public static ulong Value(ulong id, int block) => id << 16 | (uint)block;

    public void Check()
    {
        foreach (var group in _reads.GroupBy(r => r.Block))
        {
            int block = group.Key;
            var writes = _writes.Where(w => block >= w.First && block < w.First + w.Count).OrderBy(w => w.Start).ToList();
            // A write that was read has taken effect by then.
            var effective = writes.ToDictionary(w => w, w => w.IsDone ? w.End : long.MaxValue);
            foreach (var read in group.OrderBy(r => r.End))
            {
                var candidates = writes.Where(w => Value(w, block) == read.Value && w.Start < read.End).ToList();
                if (candidates.Find(w => w.IsRefused) is { } refused)
                    throw new SimulationException($"{read.What} of block {block} by {read.Who} at {read.Start} to {read.End} returns {refused}, which was answered with MISCOMPARE");
                bool isInitial = read.Value == 0;
                if (candidates.Count == 0 && !isInitial)
                    throw new SimulationException($"{read.What} of block {block} by {read.Who} at {read.Start} to {read.End} returns {read.Value:x}, which nobody had written there");
                bool IsThere(SeenWrite w) => !_lost.TryGetValue((w, block), out long loss) || read.IsBefore(loss);
                bool IsKnown(SeenWrite w) => effective[w] < read.Start && IsThere(w) || w == read.Knows;
                SeenWrite? replaced = null;
                var good = candidates.Find(c => (replaced = writes.Find(w => w.Start > c.End && IsKnown(w))) is null);
                if (good is null && isInitial && (replaced = writes.Find(IsKnown)) is null) continue;
                if (good is null)
                    throw new SimulationException($"{read.What} of block {block} by {read.Who} at {read.Start} to {read.End} returns {(candidates.Count > 0 ? candidates[^1] : "the initial zeroes")}, which {replaced} has replaced");
                if (candidates.Count == 1 && !isInitial) effective[good] = Math.Min(effective[good], read.End);
            }
        }
    }
}
