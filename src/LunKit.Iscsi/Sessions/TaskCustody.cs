namespace LunKit.Iscsi.Sessions;

/// <summary>What became of a request to take over a task.</summary>
internal enum Reassignment { NoSuchTask, StillAllegiant, Granted }

/// <summary>
/// A task whose connection has ended: collecting its data, executing, or answered. <see cref="Keeper"/>'s thread looks after it
/// until <see cref="TaskCustody"/> gives it to another connection.
/// </summary>
internal sealed class KeptTask(uint tag, IscsiConnection keeper)
{
    public uint Tag => tag;
    public IscsiConnection Keeper => keeper;

    /// <summary>The task, until it is answered.</summary>
    public IscsiTask? Task { get; set; }

    public SentResponse? Response { get; set; }

    /// <summary>Who waits for the end of its execution, and from which DataSN on it wants the data.</summary>
    public IscsiConnection? Adopter { get; set; }
    public uint ExpDataSn { get; set; }

    /// <summary>Whether it can be handed over: it is not executing.</summary>
    public bool IsReady { get; set; }
}

/// <summary>
/// The tasks of a session that are without a connection (connection recovery, RFC 7143 7.2): each is handed over at most once, or
/// ended by its keeper. Thread safe.
/// </summary>
internal sealed class TaskCustody
{
    private readonly Lock _gate = new();

    // Two connections may have a task of one tag each, though no initiator should do that.
    private readonly Dictionary<(uint Tag, IscsiConnection Keeper), KeptTask> _kept = [];

    private int _answering;

    /// <summary>Whether a task has left its unit and its answer is on its way to the connection that has claimed it.</summary>
    public bool IsAnswering => Volatile.Read(ref _answering) > 0;

    public void BeginAnswer() => Interlocked.Increment(ref _answering);

    public void EndAnswer() => Interlocked.Decrement(ref _answering);

    public void Keep(KeptTask task)
    {
        lock (_gate) _kept[(task.Tag, task.Keeper)] = task;
    }

    /// <summary>Hands a task over: at once when <paramref name="task"/> is not null, else when its execution ends.</summary>
    public Reassignment Claim(uint tag, IscsiConnection adopter, uint expDataSn, out KeptTask? task)
    {
        task = null;
        lock (_gate)
        {
            if (_kept.Values.FirstOrDefault(k => k.Tag == tag) is not { } kept) return Reassignment.NoSuchTask;
            if (!kept.Keeper.IsLoggedOutForRecovery || kept.Adopter is not null) return Reassignment.StillAllegiant;
            kept.ExpDataSn = expDataSn;
            if (kept.IsReady)
            {
                _kept.Remove((tag, kept.Keeper));
                task = kept;
            }
            else
            {
                kept.Adopter = adopter;
            }
            return Reassignment.Granted;
        }
    }

    /// <summary>The answer of a task that was executing. Returns its adopter, whose the task is now, or null.</summary>
    public IscsiConnection? Answered(KeptTask task, SentResponse? response)
    {
        lock (_gate)
        {
            task.Task = null;
            task.Response = response;
            task.IsReady = true;
            if (response is not null && task.Adopter is null) return null;
            _kept.Remove((task.Tag, task.Keeper));
            return response is null ? null : task.Adopter;
        }
    }

    /// <summary>An adopter has ended before it got its tasks: they may be claimed again.</summary>
    public void Forget(IscsiConnection adopter)
    {
        lock (_gate)
            foreach (var kept in _kept.Values) if (kept.Adopter == adopter) kept.Adopter = null;
    }

    /// <summary>A keeper's tasks.</summary>
    public List<KeptTask> Of(IscsiConnection keeper)
    {
        lock (_gate) return [.. _kept.Values.Where(k => k.Keeper == keeper)];
    }

    /// <summary>
    /// Takes a task back from custody; false when it was handed over meanwhile, or, with <paramref name="unclaimed"/>, when a connection waits for its
    /// end.
    /// </summary>
    public bool Withdraw(KeptTask task, bool unclaimed)
    {
        lock (_gate)
        {
            return _kept.TryGetValue((task.Tag, task.Keeper), out var kept) && kept == task && !(unclaimed && kept.Adopter is not null)
                && _kept.Remove((task.Tag, task.Keeper));
        }
    }
}
