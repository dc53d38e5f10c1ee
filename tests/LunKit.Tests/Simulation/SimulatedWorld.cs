using LunKit.LogicalUnits;
using LunKit.Tests.LogicalUnits.Tasks;

namespace LunKit.Tests.Simulation;

/// <summary>
/// Chance, time and order of a simulation: everything that happens is an event here, picked by a seed, on the caller's thread. Time passes only
/// when nothing else is to be done. The same seed gives the same events.
/// </summary>
internal sealed class SimulatedWorld(int seed) : WorkQueue
{
    private readonly List<Action> _ready = [];
    private readonly PriorityQueue<Alarm, (long Time, long Number)> _alarms = new();
    private readonly Queue<string> _trace = new();
    private long _numbers;
    private int _pauses;

    private sealed class Alarm(Action action)
    {
        public Action? Action { get; set; } = action;
    }

    public int Seed => seed;
    public Random Random { get; } = new(seed);

    /// <summary>Number of the event that happens now: a clock for the order of things.</summary>
    public long Step { get; private set; }

    /// <summary>Virtual time, in ticks of <see cref="TimeSpan"/>.</summary>
    public long Now { get; private set; }

    /// <summary>A number that depends on everything that happened.</summary>
    public ulong Fingerprint { get; private set; } = 14695981039346656037;

    public TimeProvider Time => field ??= new Clock(this);

    public UnitRuntime Runtime => field ??= new UnitRuntime(this, Time);

    public bool Chance(double probability) => Random.NextDouble() < probability;

    public int Between(int least, int most) => Random.Next(least, most + 1);

    public T Pick<T>(IReadOnlyList<T> of) => of[Random.Next(of.Count)];

    /// <summary>Notes what happens: the end of it is shown when the simulation fails, and all of it where one seed is run again.</summary>
    public void Note(string what)
    {
        foreach (char c in what) Fingerprint = (Fingerprint ^ c) * 1099511628211;
        _trace.Enqueue($"{Step,6} {TimeSpan.FromTicks(Now).TotalSeconds,9:F3}  {what}");
        if (_trace.Count > 4000) _trace.Dequeue();
    }

    /// <summary>Something happened that is too small for the trace.</summary>
    public void Mix(long what) => Fingerprint = (Fingerprint ^ (ulong)what ^ (ulong)Step << 32) * 1099511628211;

    public string Trace() => string.Join('\n', Environment.GetEnvironmentVariable("LUNKIT_SEED") is null ? _trace.TakeLast(400) : _trace);

    public override void Post(IThreadPoolWorkItem item) => Soon(item.Execute);

    public override void Cancel(CancellationTokenSource source, Action<Exception> fault) => ManualQueue.CancelHere(source, fault);

    /// <summary>Other threads go first, now and then.</summary>
    public override void Pause()
    {
        if (_pauses >= 2 || !Chance(0.1)) return;
        _pauses++;
        Paused?.Invoke(true);
        // For a moment: no timer of seconds is due meanwhile.
        long until = Now + 20 * TimeSpan.TicksPerMillisecond;
        for (int i = Between(1, 4); i > 0 && Next(until); i--) { }
        Paused?.Invoke(false);
        _pauses--;
    }

    /// <summary>Called with true before other threads go first in the middle of an event, and with false when it goes on.</summary>
    public Action<bool>? Paused { get; set; }

    /// <summary>Among the next events.</summary>
    public void Soon(Action action)
    {
        lock (_ready) _ready.Add(action);
    }

    /// <summary>After a time; the returned action calls it off.</summary>
    public Action After(TimeSpan delay, Action action)
    {
        var alarm = new Alarm(action);
        lock (_ready) _alarms.Enqueue(alarm, (Now + Math.Max(0, delay.Ticks), _numbers++));
        return () => alarm.Action = null;
    }

    /// <summary>Lets one thing happen; false when nothing is left to happen before <paramref name="until"/>.</summary>
    public bool Next(long until = long.MaxValue)
    {
        Action? action = null;
        lock (_ready)
        {
            if (_ready.Count > 0)
            {
                // Any order among what is ready: threads have none.
                int at = Random.Next(_ready.Count);
                action = _ready[at];
                _ready.RemoveAt(at);
            }
            else
            {
                while (action is null && _alarms.TryPeek(out var alarm, out var due) && due.Time <= until)
                {
                    _alarms.Dequeue();
                    Now = Math.Max(Now, due.Time);
                    action = alarm.Action;
                }
            }
        }
        if (action is null) return false;
        Step++;
        action();
        return true;
    }

    /// <summary>Lets things happen until nothing is left, or the time is over.</summary>
    public void Settle(TimeSpan limit, int mostSteps = 1_000_000)
    {
        long until = Now + limit.Ticks;
        for (int i = 0; Next(until); i++)
            if (i > mostSteps) throw new InvalidOperationException("the simulation does not come to rest");
    }

    private sealed class Clock(SimulatedWorld world) : TimeProvider
    {
        public override long TimestampFrequency => TimeSpan.TicksPerSecond;
        public override long GetTimestamp() => world.Now;
        public override DateTimeOffset GetUtcNow() => DateTimeOffset.UnixEpoch + TimeSpan.FromTicks(world.Now);
        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period) => new Timer(world, callback, state, dueTime, period);

        private sealed class Timer : ITimer
        {
            private readonly SimulatedWorld _world;
            private readonly TimerCallback _callback;
            private readonly object? _state;
            private TimeSpan _period;
            private Action? _cancel;

            public Timer(SimulatedWorld world, TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
            {
                (_world, _callback, _state) = (world, callback, state);
                Change(dueTime, period);
            }

            public bool Change(TimeSpan dueTime, TimeSpan period)
            {
                _cancel?.Invoke();
                _period = period;
                _cancel = dueTime == Timeout.InfiniteTimeSpan ? null : _world.After(dueTime, Ring);
                return true;
            }

            private void Ring()
            {
                _cancel = _period > TimeSpan.Zero ? _world.After(_period, Ring) : null;
                _callback(_state);
            }

            public void Dispose() => _cancel?.Invoke();

            public ValueTask DisposeAsync()
            {
                Dispose();
                return ValueTask.CompletedTask;
            }
        }
    }
}
