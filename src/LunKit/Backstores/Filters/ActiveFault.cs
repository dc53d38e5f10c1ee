namespace LunKit.Backstores;

/// <summary>A rule of a <see cref="FaultFilter"/> in use: its counters, its random numbers, and the operations that hang in it. Thread safe.</summary>
internal sealed class ActiveFault(FaultRule rule)
{
    private readonly Lock _gate = new();
    private readonly Random _random = new(rule.Seed);
    private readonly OperationClasses _classes = rule.Operations & FaultRule.ClassesOf(rule.Effect);
    // One for each operation: several that await the same task do not continue in their order.
    private readonly LinkedList<TaskCompletionSource> _hanging = new();
    private bool _hasEnded;
    private long _seen, _hits;

    public FaultRule Rule => rule;

    /// <summary>Operations that it has hit.</summary>
    public long Hits
    {
        get { lock (_gate) return _hits; }
    }

    /// <summary>Whether it hits an operation, which then counts.</summary>
    public bool TryHit(BackstoreCall call)
    {
        if ((call.Class & _classes) == 0 || (rule.Effect is not (FaultEffect.Error or FaultEffect.Hang) && call.Operation == BackstoreOperation.Extent)) return false;
        if (call.Length > 0 && (call.Offset >= rule.End || call.Offset + call.Length <= rule.Start)) return false;
        lock (_gate)
        {
            if (++_seen <= rule.After || (rule.Count > 0 && _hits == rule.Count)) return false;
            if (rule.Probability < 1 && _random.NextDouble() >= rule.Probability) return false;
            _hits++;
            return true;
        }
    }

    /// <summary>Waits until the rule is taken away.</summary>
    public async ValueTask HangAsync(CancellationToken cancellationToken)
    {
        var turn = new LinkedListNode<TaskCompletionSource>(new());
        lock (_gate)
        {
            if (_hasEnded) return;
            _hanging.AddLast(turn);
        }
        try
        {
            await (rule.HeedsCancellation ? turn.Value.Task.WaitAsync(cancellationToken) : turn.Value.Task).ConfigureAwait(false);
        }
        finally
        {
            lock (_gate)
                if (turn.List is not null) _hanging.Remove(turn);
        }
    }

    /// <summary>The rule is taken away: the operations that hang go on, on this thread, in the order in which they came.</summary>
    public void End()
    {
        TaskCompletionSource[] hanging;
        lock (_gate)
        {
            _hasEnded = true;
            hanging = [.. _hanging];
            _hanging.Clear();
        }
        foreach (var turn in hanging) turn.SetResult();
    }

    /// <summary>The error of an operation that fails at a byte.</summary>
    public BackstoreException Failure(BackstoreCall call, long at)
    {
        var error = rule.Error ?? (call.Class == OperationClasses.Read ? BackstoreError.MediumRead : BackstoreError.MediumWrite);
        return new(error, $"filter fault: {call} fails at byte {at}, as a rule asks ({rule.Effect})", at);
    }

    /// <summary>The first byte of an operation that the rule lies in.</summary>
    public long FirstByte(BackstoreCall call) => Math.Max(call.Offset, rule.Start);

    /// <summary>Inverts bits of an operation's data, inside the rule's range.</summary>
    /// <param name="data">The data.</param>
    /// <param name="offset">Where its first byte lies on the medium.</param>
    public void Corrupt(DataBuffer data, long offset)
    {
        long first = Math.Max(0, rule.Start - offset), end = Math.Min(data.Length, rule.End - offset);
        lock (_gate)
        {
            for (int i = 0; i < rule.Bits; i++)
            {
                var place = data.Slice((int)_random.NextInt64(first, end), 1).GetEnumerator();
                place.MoveNext();
                place.Current.Span[0] ^= (byte)(1 << _random.Next(8));
            }
        }
    }
}
