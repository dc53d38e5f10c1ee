using System.Diagnostics.Metrics;
using LunKit.Diagnostics;
using LunKit.Scsi;
using LunKit.Tcmu.Ring;
using LunKit.Tcmu.Target;

namespace LunKit.Tests.Tcmu.Target;

/// <summary>The memory of all data areas together is limited, nobody starves, and what it is can be seen.</summary>
public sealed class DataAreaBudgetTests
{
    private const int Limit = 256 * 1024, Blocks = 256;

    [Fact]
    public async Task ADeviceBeyondTheLimitWaitsForItsOwnCommandsOnly()
    {
        await using var bench = new UserBench(memoryBytes: Limit);
        await using var other = bench.AddDevice("other");
        using var full = new ScriptedHandler(bench.Path).Open();
        using var late = new ScriptedHandler(bench.Path).Open(device: "other");
        // 128 KiB each: two are the limit, the third waits.
        var sent = Enumerable.Range(0, 3).Select(_ => bench.SendAsync(UserBench.Read(0, Blocks), dataIn: Blocks * 512)).ToList();
        var first = full.Read();
        var second = full.Read();
        var entry = new RingEntry();
        await Task.Delay(250, TestContext.Current.CancellationToken);
        Assert.Null(full.TryRead(entry));
        Assert.Equal(Limit, bench.Listener.Memory.UsedBytes);
        // A device that has nothing out is not held up by the one that has it all, and then waits as well.
        var nexus = UserBench.Open("iqn.test:late", other);
        var lateSent = Enumerable.Range(0, 2).Select(_ => UserBench.SendAsync(nexus, UserBench.Read(0, Blocks), dataIn: Blocks * 512)).ToList();
        var lateFirst = late.Read();
        await Task.Delay(250, TestContext.Current.CancellationToken);
        Assert.Null(late.TryRead(entry));
        late.Complete(lateFirst);
        late.Complete(late.Read());
        full.Complete(second);
        full.Complete(full.Read());
        full.Complete(first);
        foreach (var command in sent.Concat(lateSent)) Assert.Equal(ScsiStatus.Good, (await command).Result.Status);
        Assert.InRange(bench.Listener.Memory.UsedBytes, 1, Limit + Blocks * 512);
    }

    [Fact]
    public async Task IdleMemoryIsGivenBackAndRemovalGivesAllBack()
    {
        await using var bench = new UserBench(new UserRingOptions { LeavingTime = TimeSpan.FromMilliseconds(100) }, sizeBytes: 8 << 20);
        using var handler = new ScriptedHandler(bench.Path).Open();
        var sent = bench.SendAsync(UserBench.Read(0, 8192), dataIn: 4 << 20);
        var entry = handler.Read();
        Assert.Equal(4 << 20, bench.Listener.Memory.UsedBytes);
        handler.Complete(entry);
        await sent;
        await UserBench.UntilAsync(() => bench.Listener.Memory.UsedBytes == 256 * 1024, "giving back");
        await bench.Unit.DisposeAsync();
        Assert.Equal(0, bench.Listener.Memory.UsedBytes);
    }

    [Fact]
    public async Task MetricsShowDevices()
    {
        await using var bench = new UserBench(new UserRingOptions { CommandTimeout = TimeSpan.FromMilliseconds(100) });
        using var metrics = new HandlerMetrics(bench.Listener);
        using var handler = new ScriptedHandler(bench.Path).Open();
        // Nobody answers it.
        Assert.Equal(ScsiStatus.CheckCondition, (await bench.SendAsync(UserBench.Read(0, 8), dataIn: 4096)).Result.Status);
        await UserBench.UntilAsync(() => bench.Listener.Devices[0].IsServed, "serving");
        var seen = new Dictionary<string, long>();
        using var listener = new MeterListener
        {
            InstrumentPublished = (instrument, l) =>
            {
                if (instrument.Meter.Name == LunKitMetrics.MeterName && instrument.Name.StartsWith("lunkit.ring", StringComparison.Ordinal)) l.EnableMeasurementEvents(instrument);
            },
        };
        listener.SetMeasurementEventCallback<long>((instrument, value, tags, _) =>
        {
            if (tags.Length == 0 || Equals(tags[0].Value, bench.Listener.Devices[0].Name)) seen[instrument.Name] = value;
        });
        listener.Start();
        listener.RecordObservableInstruments();
        Assert.Equal(4096, seen["lunkit.ring.data_area.usage"]);
        Assert.Equal(1L << 30, seen["lunkit.ring.data_area.limit"]);
        Assert.Equal(1, seen["lunkit.ring.command.timed_out"]);
        Assert.Equal(0, seen["lunkit.ring.broken"]);
        Assert.Equal(1, seen["lunkit.ring.served"]);
    }
}
