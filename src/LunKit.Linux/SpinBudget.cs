using System.Diagnostics;

namespace LunKit.Linux;

/// <summary>
/// How long a thread looks for its next input before it sleeps. A wake-up across processors costs tens of microseconds,
/// several times what a small command takes; where commands follow each other closely, looking on is cheaper than sleeping.
/// The time doubles when it found something and halves when it did not, so an idle thread stops at once, and only as many
/// threads of a process spin at a time as leave a processor to others. One thread uses an instance.
/// </summary>
public sealed class SpinBudget
{
    private const int MaxMicroseconds = 100, MinMicroseconds = 3;

    // Between two sleeps without a find, one in this many still tries, to notice when the traffic changes.
    private const int ProbeEvery = 16;

    private static readonly long s_ticksPerMicrosecond = Stopwatch.Frequency / 1_000_000;

    private static readonly int s_maxSpinners = Math.Max(0, Environment.ProcessorCount - 1);
    private static int s_spinners;

    private int _microseconds = MaxMicroseconds / 2;
    private int _sleeps;

    /// <summary>Calls <paramref name="look"/> until it returns something else than -1 or the time is over (-1).</summary>
    public int Look(Func<int> look)
    {
        // What is there already costs nothing.
        int found = look();
        if (found != -1) return found;
        if (_microseconds <= MinMicroseconds && ++_sleeps % ProbeEvery != 0) return -1;
        if (Interlocked.Increment(ref s_spinners) > s_maxSpinners)
        {
            Interlocked.Decrement(ref s_spinners);
            return -1;
        }
        try
        {
            int microseconds = Math.Max(_microseconds, MaxMicroseconds / 4);
            long now = Stopwatch.GetTimestamp(), end = now + microseconds * s_ticksPerMicrosecond, yielded = now;
            do
            {
                found = look();
                if (found != -1)
                {
                    _microseconds = Math.Min(MaxMicroseconds, _microseconds * 2 + 1);
                    return found;
                }
                // Whoever else wants this processor may be the one that is waited for; but asking for that takes longer than a cheap look.
                if (now - yielded < s_ticksPerMicrosecond) Thread.SpinWait(1);
                else
                {
                    Thread.Yield();
                    yielded = now;
                }
                now = Stopwatch.GetTimestamp();
            }
            while (now < end);
            _microseconds /= 2;
            return -1;
        }
        finally
        {
            Interlocked.Decrement(ref s_spinners);
        }
    }
}
