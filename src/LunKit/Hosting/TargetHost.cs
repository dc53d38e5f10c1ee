using LunKit.Diagnostics;
using LunKit.LogicalUnits;
using LunKit.Targets;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace LunKit.Hosting;

/// <summary>How the removal of a unit has ended.</summary>
/// <param name="IsClosed">
/// Whether its storage is closed. False: a command does not end there; the log names it. The unit then stays in the host, <see cref="UnitPhase.Stuck"/>, until
/// that command has ended.
/// </param>
/// <param name="FlushFailure">Why acknowledged writes may be lost: the last flush has failed. Null when it has not.</param>
public readonly record struct UnitEnd(bool IsClosed, Exception? FlushFailure);

/// <summary>
/// Owns units, targets and fabrics, and is the one place that changes them: every change is made under one gate, is refused as a whole or holds as a whole,
/// and disturbs nothing that stays as it was. Thread safe.
/// <para>Names of units are compared exactly, names of targets without regard to case, as iSCSI compares them.</para>
/// </summary>
public sealed class TargetHost : IAsyncDisposable
{
    private static readonly TimeSpan s_closing = TimeSpan.FromSeconds(30);

    private readonly Lock _gate = new();
    private readonly ILogger _log;
    private readonly Dictionary<string, HostedUnit> _units = new(StringComparer.Ordinal);
    private readonly List<IFabric> _fabrics = [];
    private readonly LunKitMetrics _metrics = new();
    private TargetSet _targets = TargetSet.Empty;
    private Task<IReadOnlyList<string>>? _stopping;

    /// <summary>A host without anything.</summary>
    public TargetHost(ILogger? log = null) => _log = log ?? NullLogger.Instance;

    /// <summary>Takes a fabric over; it serves all targets from here on. Throws <see cref="HostException"/>.</summary>
    public void AddFabric(IFabric fabric)
    {
        lock (_gate)
        {
            RefuseWhenStopping();
            if (_fabrics.Any(f => f.Name == fabric.Name)) throw new HostException(HostError.Taken, $"there is a fabric '{fabric.Name}' already");
            foreach (var target in _targets.All) Check(() => fabric.Check(target));
            foreach (var target in _targets.All) fabric.SetTarget(target);
            _fabrics.Add(fabric);
        }
    }

    /// <summary>Takes a unit over; nobody sees it before it is mapped. Throws <see cref="HostException"/>, and the unit stays the caller's then.</summary>
    public void AddUnit(string name, LogicalUnit unit)
    {
        if (name.Length == 0) throw new HostException(HostError.Invalid, "a unit needs a name");
        if (unit.IsClosing) throw new HostException(HostError.Invalid, $"unit '{name}' is closed");
        lock (_gate)
        {
            RefuseWhenStopping();
            if (_units.TryGetValue(name, out var same))
                throw new HostException(HostError.Taken, $"there is a unit '{name}' already{(same.Phase is null ? "" : ", which is still closing: its storage is in use")}");
            // Initiators that see both would take them for two paths to one disk, and write to either.
            if (_units.Values.FirstOrDefault(u => u.Unit.Identity.Id == unit.Identity.Id) is { } twin)
                throw new HostException(HostError.Taken, $"unit '{name}' has the identity of unit '{twin.Name}' (serial {unit.Identity.Serial}): give one of them another serial");
            _units.Add(name, new HostedUnit(name, unit));
            unit.Closed += () => Forget(name, unit);
        }
        _metrics.Add(unit);
    }

    private void Forget(string name, LogicalUnit unit)
    {
        lock (_gate)
            if (_units.TryGetValue(name, out var hosted) && hosted.Unit == unit) _units.Remove(name);
    }

    /// <summary>
    /// Takes a unit from all targets, ends its commands, flushes, and closes it. Initiators that saw it hear REPORTED LUNS DATA HAS CHANGED from their other LUNs.
    /// Throws <see cref="HostException"/> when there is none of that name.
    /// </summary>
    /// <param name="name">Its name, which is free again when it is closed.</param>
    /// <param name="limit">How long to wait for its storage; half a minute.</param>
    public async Task<UnitEnd> RemoveUnitAsync(string name, TimeSpan? limit = null)
    {
        HostedUnit hosted;
        lock (_gate)
        {
            RefuseWhenStopping();
            hosted = _units.GetValueOrDefault(name) ?? throw NoUnit(name);
            if (hosted.Phase == null)
            {
                Replace(_targets.Without(hosted.Unit));
                hosted.Phase = UnitPhase.Closing;
            }
        }
        bool isClosed = await hosted.Unit.CloseAsync(limit ?? s_closing).ConfigureAwait(false);
        if (!isClosed)
            lock (_gate) hosted.Phase = UnitPhase.Stuck;
        return new(isClosed, hosted.Unit.ClosingFailure);
    }

    /// <summary>Adds a target. Throws <see cref="HostException"/>.</summary>
    public void AddTarget(Target target) => Update(t => t.Contains(target.Name) ? throw new HostException(HostError.Taken, $"there is a target '{target.Name}' already") : t.With(target));

    /// <summary>Changes a target; its sessions go on. Throws <see cref="HostException"/>.</summary>
    /// <param name="name">Its name, which stays.</param>
    /// <param name="change">What it is to be, from what it is. Called under the gate: it must not wait, and not use the host.</param>
    public void UpdateTarget(string name, Func<Target, Target> change) => Update(t => t.With(change(t[name]) with { Name = t[name].Name }));

    /// <summary>Takes a target away, and ends its sessions; its units stay. Throws <see cref="HostException"/> when there is none of that name.</summary>
    public void RemoveTarget(string name) => Update(t => t.Without(t[name].Name));

    /// <summary>Shows a unit at a LUN of a target. Throws <see cref="HostException"/>.</summary>
    public void Map(string target, int lun, string unit) => Update(t =>
    {
        if (t[target].Luns.ContainsKey(lun)) throw new HostException(HostError.Taken, $"{t[target].Name}: LUN {lun} is unit '{NameOf(t[target].Luns[lun])}' already");
        return t.With(t[target] with { Luns = new Dictionary<int, LogicalUnit>(t[target].Luns) { [lun] = Find(unit).Unit } });
    });

    /// <summary>Takes a LUN from a target. Returns when its commands have been told to end, not when they have. Throws <see cref="HostException"/>.</summary>
    public void Unmap(string target, int lun) => Update(t =>
    {
        var luns = new Dictionary<int, LogicalUnit>(t[target].Luns);
        return luns.Remove(lun) ? t.With(t[target] with { Luns = luns }) : throw new HostException(HostError.NotFound, $"{t[target].Name} has no LUN {lun}");
    });

    /// <summary>
    /// Changes any number of targets as one step: fabrics are told of those that are others than before, and of no more. Throws <see cref="HostException"/>, and
    /// nothing has changed then.
    /// </summary>
    /// <param name="change">What they are to be, from what they are. Called under the gate: it must not wait, and not use the host.</param>
    public void Update(Func<TargetSet, TargetSet> change)
    {
        lock (_gate)
        {
            RefuseWhenStopping();
            var next = change(_targets);
            // One that stays as it is holds up no change of another.
            foreach (string name in next.DifferencesTo(_targets).Where(next.Contains)) Check(next[name]);
            Replace(next);
        }
    }

    private void Check(Target target)
    {
        foreach (var (lun, unit) in target.Luns)
        {
            if (_units.Values.FirstOrDefault(u => u.Unit == unit) is not { } hosted) throw new HostException(HostError.NotFound, $"{target.Name}: LUN {lun} is a unit that the host does not have");
            if (hosted.Phase is not null) throw new HostException(HostError.InUse, $"{target.Name}: LUN {lun}: unit '{hosted.Name}' is being removed");
        }
        Check(target.Check);
        foreach (var fabric in _fabrics) Check(() => fabric.Check(target));
    }

    private static void Check(Action check)
    {
        try
        {
            check();
        }
        catch (ArgumentException e)
        {
            throw new HostException(HostError.Invalid, e.Message);
        }
    }

    /// <summary>Tells the fabrics of what is another than before, which they have been asked for: all of them, or none.</summary>
    private void Replace(TargetSet next)
    {
        var before = _targets;
        List<(IFabric Fabric, string Name)> told = [];
        try
        {
            foreach (string name in next.DifferencesTo(before))
            {
                foreach (var fabric in _fabrics)
                {
                    // First: what throws may have done a part.
                    told.Add((fabric, name));
                    Tell(fabric, name, next);
                }
            }
        }
        catch (Exception e)
        {
            foreach (var (fabric, name) in told) Tell(fabric, name, before);
            throw new HostException(HostError.Invalid, e.Message);
        }
        _targets = next;
    }

    private static void Tell(IFabric fabric, string name, TargetSet targets)
    {
        if (targets.Contains(name)) fabric.SetTarget(targets[name]);
        else fabric.RemoveTarget(name);
    }

    private HostedUnit Find(string unit) => _units.GetValueOrDefault(unit) ?? throw NoUnit(unit);

    private string NameOf(LogicalUnit unit) => _units.Values.FirstOrDefault(u => u.Unit == unit)?.Name ?? unit.Identity.Name;

    private static HostException NoUnit(string name) => new(HostError.NotFound, $"there is no unit '{name}'");

    private void RefuseWhenStopping()
    {
        if (_stopping is not null) throw new HostException(HostError.Stopping, "the host is stopping");
    }

    /// <summary>The targets at this moment.</summary>
    public TargetSet Targets
    {
        get
        {
            lock (_gate) return _targets;
        }
    }

    /// <summary>The units at this moment, by name.</summary>
    public IReadOnlyList<UnitSnapshot> Units
    {
        get
        {
            lock (_gate)
            {
                var mappings = _targets.All.SelectMany(t => t.Luns.Select(l => (Unit: l.Value, Target: t.Name, Lun: l.Key))).ToLookup(m => m.Unit, m => (m.Target, m.Lun));
                return [.. _units.Values.OrderBy(u => u.Name, StringComparer.Ordinal).Select(u => u.Snapshot([.. mappings[u.Unit].Order()]))];
            }
        }
    }

    /// <summary>The sessions of all fabrics at this moment.</summary>
    public IReadOnlyList<SessionSnapshot> Sessions => [.. Fabrics.SelectMany(f => f.Sessions)];

    private IReadOnlyList<IFabric> Fabrics
    {
        get
        {
            lock (_gate) return [.. _fabrics];
        }
    }

    /// <summary>Ends a session; its initiator may log in again. Throws <see cref="HostException"/> when there is none with that id.</summary>
    /// <param name="id"><see cref="SessionSnapshot.Id"/>.</param>
    /// <param name="reason">For the log.</param>
    public void EndSession(string id, string reason)
    {
        if (!Fabrics.Any(f => f.EndSession(id, reason))) throw new HostException(HostError.NotFound, $"there is no session '{id}'");
    }

    /// <summary>
    /// Stops: fabrics admit nobody, initiators log out, fabrics end; then <paramref name="between"/>, for what answers the commands of units in other processes;
    /// then all units are closed, at once. Called again it returns the same. Never throws for a unit.
    /// </summary>
    /// <returns>What may be lost, a line for each unit.</returns>
    public Task<IReadOnlyList<string>> StopAsync(Func<Task>? between = null)
    {
        var source = new TaskCompletionSource<IReadOnlyList<string>>(TaskCreationOptions.RunContinuationsAsynchronously);
        lock (_gate)
        {
            if (_stopping is not null) return _stopping;
            _stopping = source.Task;
        }
        _ = CompleteAsync();
        return source.Task;

        async Task CompleteAsync()
        {
            try
            {
                source.SetResult(await StopNowAsync(between).ConfigureAwait(false));
            }
            catch (Exception e)
            {
                source.SetException(e);
            }
        }
    }

    private async Task<IReadOnlyList<string>> StopNowAsync(Func<Task>? between)
    {
        List<string> lost = [];
        // Whatever fails here, units are flushed and closed.
        foreach (var fabric in _fabrics)
            await TryAsync(fabric.Name, () =>
            {
                fabric.StopAccepting();
                return Task.CompletedTask;
            }).ConfigureAwait(false);
        await Task.WhenAll(_fabrics.Select(f => TryAsync(f.Name, f.DrainAsync))).ConfigureAwait(false);
        foreach (var fabric in _fabrics) await TryAsync(fabric.Name, () => fabric.DisposeAsync().AsTask()).ConfigureAwait(false);
        if (between is not null) await TryAsync("the host", between).ConfigureAwait(false);
        List<HostedUnit> units;
        lock (_gate) units = [.. _units.Values];
        // At once: one that hangs takes its time, and no other's.
        var failures = await Task.WhenAll(units.Select(CloseAsync)).ConfigureAwait(false);
        _metrics.Dispose();
        return [.. lost, .. failures.OfType<string>()];

        async Task TryAsync(string name, Func<Task> step)
        {
            try
            {
                await step().ConfigureAwait(false);
            }
            catch (Exception e)
            {
                lock (lost) lost.Add($"{name} did not stop in order: {e.Message}");
            }
        }
    }

    private static async Task<string?> CloseAsync(HostedUnit hosted)
    {
        bool isClosed = await hosted.Unit.CloseAsync(s_closing).ConfigureAwait(false);
        string? why = !isClosed ? "its storage does not answer" : hosted.Unit.ClosingFailure is { } e ? $"the last flush failed: {e.Message}" : null;
        return why is null ? null : $"{hosted.Unit.Identity.Name}: data may be lost, {why}";
    }

    /// <summary>Stops, and logs what may be lost.</summary>
    public async ValueTask DisposeAsync()
    {
        foreach (string failure in await StopAsync().ConfigureAwait(false)) LogMessages.MayBeLost(_log, failure);
    }
}
