namespace LunKit.Backstores;

/// <summary>How long a <see cref="DelayFilter"/> holds up operations; <see cref="TimeSpan.Zero"/> is not at all. At most <see cref="MostTime"/> each.</summary>
public sealed record DelaySettings
{
    /// <summary>The longest delay: an hour, which is longer than any initiator waits.</summary>
    public static readonly TimeSpan MostTime = TimeSpan.FromHours(1);

    /// <summary>No delay.</summary>
    public static DelaySettings Off { get; } = new();

    /// <summary>Delay of <see cref="OperationClasses.Read"/>.</summary>
    public TimeSpan Read { get; init; }

    /// <summary>Delay of <see cref="OperationClasses.Write"/>.</summary>
    public TimeSpan Write { get; init; }

    /// <summary>Delay of <see cref="OperationClasses.Flush"/>.</summary>
    public TimeSpan Flush { get; init; }

    /// <summary>Delay of <see cref="OperationClasses.Discard"/>.</summary>
    public TimeSpan Discard { get; init; }

    /// <summary>The same delay for all operations.</summary>
    public static DelaySettings All(TimeSpan delay) => new() { Read = delay, Write = delay, Flush = delay, Discard = delay };

    /// <summary>The delay of a single class.</summary>
    internal TimeSpan Of(OperationClasses kind) => kind switch
    {
        OperationClasses.Read => Read,
        OperationClasses.Write => Write,
        OperationClasses.Flush => Flush,
        _ => Discard,
    };

    /// <summary>Throws <see cref="ArgumentException"/> for a delay outside its range.</summary>
    internal DelaySettings Checked()
    {
        foreach (var delay in (ReadOnlySpan<TimeSpan>)[Read, Write, Flush, Discard])
            if (delay < TimeSpan.Zero || delay > MostTime) throw new ArgumentException($"a delay of {delay.TotalMilliseconds} ms is not between 0 and {MostTime.TotalHours} h");
        return this;
    }
}
