namespace LunKit.Backstores;

/// <summary>How much a <see cref="RateFilter"/> lets through.</summary>
public sealed record RateSettings
{
    /// <summary>No limit.</summary>
    public static RateSettings Off { get; } = new();

    /// <summary>Operations per second, of every class together; 0 for no limit.</summary>
    public double OperationsPerSecond { get; init; }

    /// <summary>Bytes per second, read and written together; 0 for no limit. Discards, writes of zeroes and of patterns move no data, and count as operations only.</summary>
    public double BytesPerSecond { get; init; }

    /// <summary>What may come at once after a pause: as much as the rate gives in this time, and one operation at least. 1 ms to 1 min.</summary>
    public TimeSpan Burst { get; init; } = TimeSpan.FromMilliseconds(100);

    /// <summary>Whether there is no limit.</summary>
    public bool IsOff => OperationsPerSecond == 0 && BytesPerSecond == 0;

    /// <summary>Throws <see cref="ArgumentException"/> for limits outside their range.</summary>
    internal RateSettings Checked()
    {
        // What is slower than this lets an operation through every quarter of an hour: no initiator waits for that.
        const double least = 0.001, most = 1e15;
        foreach (double rate in (ReadOnlySpan<double>)[OperationsPerSecond, BytesPerSecond])
            if (rate != 0 && !(rate is >= least and <= most)) throw new ArgumentException($"a rate of {rate} per second is not between {least} and {most}; 0 is no limit");
        if (Burst < TimeSpan.FromMilliseconds(1) || Burst > TimeSpan.FromMinutes(1)) throw new ArgumentException($"a burst of {Burst.TotalMilliseconds} ms is not between 1 ms and 1 min");
        return this;
    }
}
