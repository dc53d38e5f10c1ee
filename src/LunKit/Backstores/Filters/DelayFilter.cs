namespace LunKit.Backstores;

/// <summary>
/// Holds up each operation for a time before it begins: a slow disk. Operations wait side by side, so a delay lowers the throughput of a queue depth
/// of one, and hardly that of a deep queue. A cancellation ends the wait at once. Real timers are exact to a millisecond, and never early. Thread safe.
/// </summary>
public sealed class DelayFilter : OperationFilter
{
    private readonly TimeProvider _time;
    private Active _active;

    /// <summary>Settings, and what ends with them.</summary>
    private sealed record Active(DelaySettings Settings, TaskCompletionSource Replaced);

    /// <summary>Takes over <paramref name="inner"/>.</summary>
    /// <param name="inner">The inner backstore.</param>
    /// <param name="settings">The delays at the start. <see cref="ArgumentException"/> for values outside their range.</param>
    /// <param name="time">Clock and timers; null for those of the system.</param>
    public DelayFilter(IBackstore inner, DelaySettings settings, TimeProvider? time = null) : base(inner)
    {
        _time = time ?? TimeProvider.System;
        _active = new(settings.Checked(), new());
    }

    /// <summary>
    /// The delays; may be set at any time, also for the operations that wait: one that has waited as long as the new delay goes on.
    /// <see cref="ArgumentException"/> for delays outside their range.
    /// </summary>
    public DelaySettings Settings
    {
        get => Volatile.Read(ref _active).Settings;
        set => Interlocked.Exchange(ref _active, new(value.Checked(), new())).Replaced.SetResult();
    }

    /// <inheritdoc/>
    protected override ValueTask<long> BeginAsync(BackstoreCall call, CancellationToken cancellationToken) =>
        Volatile.Read(ref _active).Settings.Of(call.Class) <= TimeSpan.Zero ? default : WaitAsync(call.Class, cancellationToken);

    private async ValueTask<long> WaitAsync(OperationClasses kind, CancellationToken cancellationToken)
    {
        long began = _time.GetTimestamp();
        while (true)
        {
            cancellationToken.ThrowIfCancellationRequested();
            var active = Volatile.Read(ref _active);
            double left = (active.Settings.Of(kind) - _time.GetElapsedTime(began)).TotalMilliseconds;
            if (left <= 0) return 0;
            using var end = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
            // Whole milliseconds, upwards: timers cut off what is less.
            var delay = Task.Delay(TimeSpan.FromMilliseconds(Math.Ceiling(left)), _time, end.Token);
            await Task.WhenAny(delay, active.Replaced.Task).ConfigureAwait(false);
            end.Cancel();
        }
    }
}
