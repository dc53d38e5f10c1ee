using LunKit.App.Serve;
using LunKit.Backstores;

namespace LunKit.App.Backstores;

/// <summary>All kinds of filters: what <c>filter=</c> takes, and what <c>lunkit backstores</c> shows.</summary>
internal static class FilterKinds
{
    private static readonly (string Name, BackstoreError? Error)[] s_errors =
    [
        ("medium", null), ("nospace", BackstoreError.NoSpace), ("readonly", BackstoreError.ReadOnly), ("unreachable", BackstoreError.Unreachable),
        ("connecting", BackstoreError.Connecting), ("busy", BackstoreError.Busy), ("internal", BackstoreError.Internal),
    ];

    private static readonly (string Name, OperationClasses Class)[] s_classes =
    [
        ("read", OperationClasses.Read), ("write", OperationClasses.Write), ("flush", OperationClasses.Flush), ("discard", OperationClasses.Discard), ("all", OperationClasses.All),
    ];

    private static readonly (string Name, FaultEffect Effect)[] s_effects =
    [
        ("error", FaultEffect.Error), ("hang", FaultEffect.Hang), ("short", FaultEffect.Short), ("torn", FaultEffect.Torn), ("corrupt", FaultEffect.Corrupt),
    ];

    private static string ErrorNames => string.Join('|', s_errors.Select(e => e.Name));

    public static IReadOnlyList<FilterKind> All { get; } =
    [
        new("readonly", "", "refuses everything that changes data", "readonly", [], ReadReadOnly),
        new("delay", "TIME", "delays each operation before it begins: by TIME, or a time for each class", "delay:5ms",
        [
            new("read", "TIME", "delay of reads (TIME)"),
            new("write", "TIME", "delay of writes (TIME)"),
            new("flush", "TIME", "delay of flushes (TIME)"),
            new("discard", "TIME", "delay of discards (TIME)"),
        ], ReadDelay),
        new("rate", "", "limits operations and bytes per second; those that wait keep their order", "rate:iops=100:bytes=10M",
        [
            new("iops", "N", "operations per second (no limit)"),
            new("bytes", "SIZE", "bytes per second that are read and written (no limit)"),
            new("burst", "TIME", "what may come at once after a pause: as much as the rate gives in TIME (100ms)"),
        ], ReadRate),
        new("fault", "", "operations fail on demand: name classes, one effect, and conditions", "fault:read:error=medium:range=1M-2M:count=3",
        [
            new("read", "", "hits reads (all classes, where none is named)"),
            new("write", "", "hits writes, of zeroes and patterns too"),
            new("flush", "", "hits flushes"),
            new("discard", "", "hits discards"),
            new("all", "", "hits all of them"),
            new("error", ErrorNames, "effect: fails with this error, and nothing is done; beside short or torn: their error (medium)"),
            new("hang", "", "effect: does not begin until the filter is changed, or the command is aborted"),
            new("short", "", "effect: the first half of the blocks is done, then it fails"),
            new("torn", "", "effect: as short, and the next block is half new and half old (writes)"),
            new("corrupt", "", "effect: succeeds with wrong bits (reads and writes)"),
            new("range", "FROM-TO", "bytes of the disk that it lies in, without TO itself (all)"),
            new("after", "N", "lets the first N pass (0)"),
            new("count", "N", "hits so many and no more (no limit)"),
            new("probability", "P", "how likely it hits: 0.01 or 1% (1)"),
            new("bits", "N", "wrong bits of corrupt, in each operation (1)"),
            new("nocancel", "", "hang: an abort does not end it either"),
            new("seed", "N", "the same seed does the same (1)"),
        ], ReadFault),
        new("trace", "PATH", "writes a line of JSON for each operation into a file; lunkit replay does the same again", "trace:/tmp/trace.jsonl", [], ReadTrace) { TakesRest = true },
    ];

    public static FilterKind? Find(string name) => All.FirstOrDefault(k => k.Name == name);

    private static FilterSpec ReadReadOnly(FilterText text) =>
        FilterSpec.Of(text, (inner, _) => new ReadOnlyFilter(inner, !text.IsOff), filter => filter.IsOn = !text.IsOff);

    private static FilterSpec ReadDelay(FilterText text)
    {
        var all = text.Argument is { } time ? text.Time("delay", time) : TimeSpan.Zero;
        var settings = new DelaySettings
        {
            Read = text.TimeOption("read") ?? all, Write = text.TimeOption("write") ?? all, Flush = text.TimeOption("flush") ?? all, Discard = text.TimeOption("discard") ?? all,
        }.Checked();
        if (!text.IsOff && settings == DelaySettings.Off) throw text.Wrong("no time is given; write delay:5ms, delay:read=5ms or delay:off");
        return FilterSpec.Of(text, (inner, _) => new DelayFilter(inner, settings), filter => filter.Settings = settings);
    }

    private static FilterSpec ReadRate(FilterText text)
    {
        var settings = new RateSettings
        {
            OperationsPerSecond = text.NumberOption("iops", 1) ?? 0, BytesPerSecond = text.SizeOption("bytes") ?? 0, Burst = text.TimeOption("burst") ?? RateSettings.Off.Burst,
        }.Checked();
        if (!text.IsOff && settings.IsOff) throw text.Wrong("no limit is given; write rate:iops=100, rate:bytes=10M or rate:off");
        return FilterSpec.Of(text, (inner, _) => new RateFilter(inner, settings), filter => filter.Settings = settings);
    }

    private static FilterSpec ReadFault(FilterText text)
    {
        var settings = text.IsOff ? FaultSettings.Off : new FaultSettings(ReadRule(text).Checked());
        return FilterSpec.Of(text, (inner, _) => new FaultFilter(inner, settings), filter => filter.Settings = settings);
    }

    private static FaultRule ReadRule(FilterText text)
    {
        var classes = s_classes.Where(c => text.Has(c.Name)).Aggregate(OperationClasses.None, (all, c) => all | c.Class);
        var effects = s_effects.Where(e => text.Has(e.Name)).Select(e => e.Effect).ToList();
        // The error of another effect.
        if (effects.Count == 2 && (effects[1] is FaultEffect.Short or FaultEffect.Torn)) effects.Remove(FaultEffect.Error);
        if (effects.Count != 1)
            throw text.Wrong($"{(effects.Count == 0 ? "no effect is given" : $"{effects.Count} effects are given")}; write one of {string.Join(", ", s_effects.Select(e => e.Name))}, e.g. fault:read:error=medium");
        if (text.Has("bits") && effects[0] != FaultEffect.Corrupt) throw text.Wrong("bits= is for corrupt");
        if (text.Has("nocancel") && effects[0] != FaultEffect.Hang) throw text.Wrong("nocancel is for hang");
        var (start, end) = text.RangeOption("range");
        if (end <= start) throw text.Wrong($"range={text.Option("range")} has no byte: TO is not behind FROM");
        return new FaultRule
        {
            Effect = effects[0], Operations = classes == OperationClasses.None ? OperationClasses.All : classes, Error = ErrorOf(text), Start = start, End = end,
            After = text.NumberOption("after", 0) ?? 0, Count = text.NumberOption("count", 1) ?? 0, Probability = text.ShareOption("probability") ?? 1,
            Bits = (int)Math.Min(text.NumberOption("bits", 1) ?? 1, int.MaxValue), HeedsCancellation = !text.Has("nocancel"),
            Seed = (int)Math.Min(text.NumberOption("seed", 0) ?? 1, int.MaxValue),
        };
    }

    private static BackstoreError? ErrorOf(FilterText text)
    {
        if (text.Option("error") is not { } name) return null;
        foreach (var (known, error) in s_errors)
            if (known == name) return error;
        throw text.Wrong($"error={name} is not one of {string.Join(", ", s_errors.Select(e => e.Name))}");
    }

    private static FilterSpec ReadTrace(FilterText text)
    {
        if (text.Argument is null && !text.IsOff) throw text.Wrong("the path of the file is missing; write trace:/tmp/trace.jsonl");
        string? path = text.Argument is { } given ? Path.GetFullPath(given) : null;
        return new(text.Text, (inner, log) => new TraceFilter(inner, path, log), async filter =>
        {
            if (filter is not TraceFilter trace) return false;
            await trace.SetPathAsync(path);
            return true;
        });
    }
}
