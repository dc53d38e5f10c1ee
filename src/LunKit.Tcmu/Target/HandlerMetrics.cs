using System.Diagnostics.Metrics;
using LunKit.Diagnostics;

namespace LunKit.Tcmu.Target;

/// <summary>
/// The devices of a <see cref="HandlerListener"/> in the meter <see cref="LunKitMetrics.MeterName"/>, read when somebody listens. Thread
/// safe.
/// </summary>
public sealed class HandlerMetrics : IDisposable
{
    private readonly Meter _meter = new(LunKitMetrics.MeterName);

    /// <summary>Creates the instruments.</summary>
    public HandlerMetrics(HandlerListener handlers)
    {
        IEnumerable<Measurement<long>> Each(Func<UserDeviceStatus, long> value) =>
            handlers.Devices.Select(d => new Measurement<long>(value(d), new KeyValuePair<string, object?>("device", d.Name)));
        _meter.CreateObservableUpDownCounter("lunkit.ring.data_area.usage", () => Each(d => d.DataBytes), "By", "Shared memory behind the data area of a device");
        _meter.CreateObservableUpDownCounter("lunkit.ring.data_area.limit", () => handlers.Memory.LimitBytes, "By", "Shared memory that all data areas may have together");
        _meter.CreateObservableUpDownCounter("lunkit.ring.command.active", () => Each(d => d.Commands), "{command}", "Commands that are with the handler, or wait for one");
        _meter.CreateObservableUpDownCounter("lunkit.ring.served", () => Each(d => d.IsServed ? 1 : 0), "{handler}", "Whether a handler serves the device");
        _meter.CreateObservableCounter("lunkit.ring.command.timed_out", () => Each(d => d.TimedOut), "{command}", "Commands that the handler did not complete in time");
        _meter.CreateObservableCounter("lunkit.ring.losses", () => Each(d => d.Losses), "{handler}", "Handlers that died with acknowledged writes which they had not flushed");
        _meter.CreateObservableCounter("lunkit.ring.broken", () => Each(d => d.Broken), "{ring}", "Rings that a handler broke, and that were replaced");
    }

    /// <inheritdoc/>
    public void Dispose() => _meter.Dispose();
}
