using System.Numerics;

namespace LunKit.App.Replay;

/// <summary>Counts times in fixed memory, with a precision of 3 %: mean, percentiles and maximum. Thread safe for <see cref="Add"/>.</summary>
internal sealed class LatencyHistogram
{
    // 32 places for each power of two of microseconds.
    private const int Bits = 5, Places = 1 << Bits, Powers = 40;

    private readonly long[] _counts = new long[(Powers - Bits + 1) * Places];
    private long _count, _sum, _longest;

    /// <summary>Times that were added.</summary>
    public long Count => Volatile.Read(ref _count);

    /// <summary>Adds a time, in microseconds.</summary>
    public void Add(long microseconds)
    {
        Interlocked.Increment(ref _counts[PlaceOf(Math.Max(0, microseconds))]);
        Interlocked.Increment(ref _count);
        Interlocked.Add(ref _sum, microseconds);
        long longest;
        while ((longest = Volatile.Read(ref _longest)) < microseconds && Interlocked.CompareExchange(ref _longest, microseconds, longest) != longest) { }
    }

    private static int PlaceOf(long microseconds)
    {
        if (microseconds < Places) return (int)microseconds;
        int power = Math.Min(BitOperations.Log2((ulong)microseconds), Powers - 1);
        long inPower = Math.Min((microseconds >> (power - Bits)) - Places, Places - 1);
        return (power - Bits + 1) * Places + (int)inPower;
    }

    /// <summary>The longest time of a place.</summary>
    private static long EndOf(int place) => place < Places ? place : ((long)(place % Places + Places + 1) << (place / Places - 1)) - 1;

    /// <summary>The mean, in microseconds; 0 where there is no time.</summary>
    public double Mean => Count == 0 ? 0 : (double)Volatile.Read(ref _sum) / Count;

    /// <summary>The longest, in microseconds.</summary>
    public long Longest => Volatile.Read(ref _longest);

    /// <summary>The time, in microseconds, that a share of all do not exceed; 0 where there is no time.</summary>
    public long Percentile(double share)
    {
        long goal = Math.Max(1, (long)Math.Ceiling(share * Count));
        if (Count == 0) return 0;
        long seen = 0;
        for (int place = 0; place < _counts.Length; place++)
            if ((seen += Volatile.Read(ref _counts[place])) >= goal) return place == _counts.Length - 1 ? Longest : Math.Min(EndOf(place), Longest);
        return Longest;
    }
}
