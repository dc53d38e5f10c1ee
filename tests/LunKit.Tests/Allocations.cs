namespace LunKit.Tests;

/// <summary>
/// What a thread allocates in a round of work. A garbage collection takes the rest of a thread's budget (up to 8 KiB) away and counts it as
/// allocated; so the least of some rounds is told, which what is allocated per command cannot pass through.
/// </summary>
internal static class Allocations
{
    private const int Rounds = 5;

    /// <param name="round">Works, and says how many bytes the thread has allocated meanwhile.</param>
    public static async Task<long> LeastAsync(Func<Task<long>> round)
    {
        long least = long.MaxValue;
        for (int i = 0; i < Rounds && least > 0; i++) least = Math.Min(least, await round());
        return least;
    }

    /// <inheritdoc cref="LeastAsync"/>
    public static long Least(Func<long> round)
    {
        long least = long.MaxValue;
        for (int i = 0; i < Rounds && least > 0; i++) least = Math.Min(least, round());
        return least;
    }
}
