namespace LunKit.Backstores;

/// <summary>
/// Limits operations and bytes per second: a disk of a slower class, or a quota. Operations that must wait go on in the order in which they came. An
/// operation begins as soon as anything of the limit is left, however long it is, and those behind it wait until its bytes are paid off. A cancellation
/// ends the wait at once and costs nothing. At most <see cref="MostWaiting"/> operations wait; one more fails with <see cref="BackstoreError.Busy"/>.
/// Thread safe.
/// </summary>
public sealed class RateFilter : OperationFilter
{
    /// <summary>Operations that may wait: sixteen sessions' full command windows.</summary>
    public const int MostWaiting = FileWorkers.MaxQueued;

    private readonly Lock _gate = new();
    private readonly LinkedList<Waiter> _waiting = new();
    private readonly TokenBucket _operations = new(), _bytes = new();
    private readonly TimeProvider _time;
    private readonly ITimer _timer;
    private volatile RateSettings _settings;
    private long _filled;

    /// <summary>Takes over <paramref name="inner"/>.</summary>
    /// <param name="inner">The inner backstore.</param>
    /// <param name="settings">The limits at the start. <see cref="ArgumentException"/> for values outside their range.</param>
    /// <param name="time">Clock and timers; null for those of the system.</param>
    public RateFilter(IBackstore inner, RateSettings settings, TimeProvider? time = null) : base(inner)
    {
        _time = time ?? TimeProvider.System;
        _settings = settings.Checked();
        _filled = _time.GetTimestamp();
        SetBuckets();
        _timer = _time.CreateTimer(static filter => ((RateFilter)filter!).LetGo(), this, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }

    /// <summary>
    /// The limits; may be set at any time, also for the operations that wait: those that the new limits let go on do so on the thread that sets them.
    /// <see cref="ArgumentException"/> for limits outside their range.
    /// </summary>
    public RateSettings Settings
    {
        get => _settings;
        set
        {
            lock (_gate)
            {
                Fill();
                _settings = value.Checked();
                SetBuckets();
            }
            LetGo();
        }
    }

    /// <summary>Operations that wait now.</summary>
    public int Waiting
    {
        get { lock (_gate) return _waiting.Count; }
    }

    private void SetBuckets()
    {
        _operations.Set(_settings.OperationsPerSecond, _settings.Burst);
        _bytes.Set(_settings.BytesPerSecond, _settings.Burst);
    }

    /// <inheritdoc/>
    protected override ValueTask<long> BeginAsync(BackstoreCall call, CancellationToken cancellationToken)
    {
        if (_settings.IsOff) return default;
        cancellationToken.ThrowIfCancellationRequested();
        // The others move no data: a discard of a whole disk would otherwise stop all that follows it for days.
        bool movesData = call.Operation is BackstoreOperation.Read or BackstoreOperation.Write or BackstoreOperation.CompareAndWrite;
        var waiter = new Waiter(this, movesData ? call.Length : 0);
        lock (_gate)
        {
            Fill();
            if (_waiting.Count == 0 && TryTake(waiter)) return default;
            if (_waiting.Count == MostWaiting) throw new BackstoreException(BackstoreError.Busy, $"filter rate: {MostWaiting} operations wait already; raise the limits", call.Offset);
            _waiting.AddLast(waiter.Node);
            if (_waiting.Count == 1) SetTimer();
        }
        return waiter.WaitAsync(cancellationToken);
    }

    private void Fill()
    {
        long now = _time.GetTimestamp();
        double seconds = _time.GetElapsedTime(_filled, now).TotalSeconds;
        _operations.Add(seconds);
        _bytes.Add(seconds);
        _filled = now;
    }

    private double SecondsUntil(Waiter waiter) => Math.Max(_operations.SecondsUntilOne, waiter.Bytes > 0 ? _bytes.SecondsUntilOne : 0);

    private bool TryTake(Waiter waiter)
    {
        if (SecondsUntil(waiter) > 0) return false;
        _operations.Take(1);
        _bytes.Take(waiter.Bytes);
        return true;
    }

    /// <summary>Releases the operations that may begin, in the order of their arrival.</summary>
    private void LetGo()
    {
        var free = new List<Waiter>();
        lock (_gate)
        {
            Fill();
            while (_waiting.First?.Value is { } first && TryTake(first))
            {
                _waiting.RemoveFirst();
                free.Add(first);
            }
            SetTimer();
        }
        foreach (var waiter in free) waiter.GoOn();
    }

    /// <summary>The timer is for the first that waits. Whole milliseconds, upwards: timers cut off what is less. It comes again after an hour.</summary>
    private void SetTimer()
    {
        if (_waiting.First?.Value is not { } first) return;
        double milliseconds = Math.Clamp(Math.Ceiling(SecondsUntil(first) * 1000), 1, 3_600_000);
        _timer.Change(TimeSpan.FromMilliseconds(milliseconds), Timeout.InfiniteTimeSpan);
    }

    /// <inheritdoc/>
    public override async ValueTask DisposeAsync()
    {
        await _timer.DisposeAsync().ConfigureAwait(false);
        await base.DisposeAsync().ConfigureAwait(false);
    }

    /// <summary>An operation that waits for its turn.</summary>
    private sealed class Waiter
    {
        private readonly RateFilter _filter;
        private readonly TaskCompletionSource _turn = new();

        public Waiter(RateFilter filter, long bytes)
        {
            (_filter, Bytes) = (filter, bytes);
            Node = new(this);
        }

        public long Bytes { get; }

        public LinkedListNode<Waiter> Node { get; }

        public void GoOn() => _turn.SetResult();

        public async ValueTask<long> WaitAsync(CancellationToken cancellationToken)
        {
            using var cancelled = cancellationToken.UnsafeRegister(static (waiter, token) => ((Waiter)waiter!).Leave(token), this);
            await _turn.Task.ConfigureAwait(false);
            return 0;
        }

        private void Leave(CancellationToken cancellationToken)
        {
            lock (_filter._gate)
            {
                // Its turn has come at this moment.
                if (Node.List is null) return;
                _filter._waiting.Remove(Node);
                _filter.SetTimer();
            }
            _turn.SetCanceled(cancellationToken);
        }
    }
}
