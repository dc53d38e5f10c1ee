using System.Diagnostics.Metrics;
using LunKit.LogicalUnits;

namespace LunKit.Diagnostics;

/// <summary>
/// The meter <c>LunKit</c>: what the units did, read from their own counters when somebody listens, so that it costs a command
/// nothing. One instance observes all units that were added and not removed. Thread safe.
/// </summary>
public sealed class LunKitMetrics : IDisposable
{
    /// <summary>Name of the meter.</summary>
    public const string MeterName = "LunKit";

    private readonly Meter _meter = new(MeterName);
    private readonly Lock _gate = new();
    private LogicalUnit[] _units = [];

    /// <summary>Creates the meter and its instruments.</summary>
    public LunKitMetrics()
    {
        Observe("lunkit.command.completed", "{command}", "Commands completed", s => s.Commands);
        Observe("lunkit.command.check_conditions", "{command}", "Commands that ended with CHECK CONDITION", s => s.CheckConditions);
        Observe("lunkit.command.reservation_conflicts", "{command}", "Commands that ended with RESERVATION CONFLICT", s => s.ReservationConflicts);
        Observe("lunkit.backstore.failures", "{failure}", "Commands that failed for a reason outside the initiator", s => s.Failures);
        _meter.CreateObservableUpDownCounter("lunkit.backstore.ready", () => Each(u => u is BlockUnit { Store.Unavailable: not null } ? 0 : 1), "{backstore}", "Whether the backstore serves, or is connecting");
        _meter.CreateObservableCounter("lunkit.command.io", Transferred, "By", "Bytes moved between initiators and units");
        _meter.CreateObservableUpDownCounter("lunkit.command.active", () => Each(u => u.Tasks.Count), "{command}", "Commands in task sets");
    }

    /// <summary>Observes a unit from now on, until it is closed.</summary>
    public void Add(LogicalUnit unit)
    {
        lock (_gate) _units = [.. _units, unit];
        unit.Closed += () => Remove(unit);
    }

    /// <summary>Observes a unit no more: it is gone. One that was not added changes nothing.</summary>
    public void Remove(LogicalUnit unit)
    {
        lock (_gate) _units = [.. _units.Where(u => u != unit)];
    }

    private void Observe(string name, string unit, string description, Func<UnitStatistics, long> value) =>
        _meter.CreateObservableCounter(name, () => Each(u => value(u.Statistics)), unit, description);

    private IEnumerable<Measurement<long>> Each(Func<LogicalUnit, long> value) =>
        _units.Select(u => new Measurement<long>(value(u), new KeyValuePair<string, object?>("unit", u.Identity.Name)));

    private IEnumerable<Measurement<long>> Transferred()
    {
        foreach (var unit in _units)
        {
            var name = new KeyValuePair<string, object?>("unit", unit.Identity.Name);
            yield return new(unit.Statistics.BytesRead, name, new("direction", "read"));
            yield return new(unit.Statistics.BytesWritten, name, new("direction", "write"));
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _meter.Dispose();
}
