namespace LunKit.Tcmu.Target;

/// <summary>What a ring takes from the system.</summary>
internal sealed record RingRuntime
{
    /// <summary>The system's time, a thread for each ring.</summary>
    public static RingRuntime System { get; } = new();

    /// <summary>Reads the time in milliseconds since some moment before the first command: what time-outs go by. Any thread.</summary>
    public Func<long> Clock { get; init; } = static () => Environment.TickCount64;

    /// <summary>Whether it has a thread; else <see cref="UserRing.Turn"/> is called when there is something to do, and now and then.</summary>
    public bool HasThread { get; init; } = true;

    /// <summary>Called when the handler's doorbell is rung. Any thread.</summary>
    public Action? HandlerRung { get; init; }
}
