using System.Diagnostics.Metrics;
using LunKit.Diagnostics;

namespace LunKit.Tests.LogicalUnits;

public class MetricsTests
{
    [Fact]
    public async Task InstrumentsReadTheCounters()
    {
        await using var unit = new TestUnit();
        using var metrics = new LunKitMetrics();
        metrics.Add(unit.Unit);
        unit.Good("2A 00 00000000 00 0008 00", new byte[4096]);
        unit.Good("28 00 00000000 00 0010 00");
        unit.Run("28 00 7FFFFFFF 00 0010 00");
        var seen = new Dictionary<string, long>();
        using var listener = new MeterListener
        {
            InstrumentPublished = (instrument, l) =>
            {
                if (instrument.Meter.Name == LunKitMetrics.MeterName) l.EnableMeasurementEvents(instrument);
            },
        };
        listener.SetMeasurementEventCallback<long>((instrument, value, tags, _) =>
        {
            if (tags.Length > 0 && Equals(tags[0].Value, "test")) seen[instrument.Name + (tags.Length > 1 ? $".{tags[1].Value}" : "")] = value;
        });
        listener.Start();
        listener.RecordObservableInstruments();
        Assert.Equal(3, seen["lunkit.command.completed"]);
        Assert.Equal(1, seen["lunkit.command.check_conditions"]);
        Assert.Equal(4096, seen["lunkit.command.io.write"]);
        Assert.Equal(8192, seen["lunkit.command.io.read"]);
        Assert.Equal(0, seen["lunkit.command.active"]);
        Assert.Equal(1, seen["lunkit.backstore.ready"]);
        // A unit that is taken out, or closed, is seen no more.
        metrics.Remove(unit.Unit);
        metrics.Remove(unit.Unit);
        seen.Clear();
        listener.RecordObservableInstruments();
        Assert.Empty(seen);
        metrics.Add(unit.Unit);
        listener.RecordObservableInstruments();
        Assert.NotEmpty(seen);
        seen.Clear();
        Assert.True(await unit.Unit.CloseAsync(TimeSpan.FromSeconds(20)));
        listener.RecordObservableInstruments();
        Assert.Empty(seen);
    }
}
