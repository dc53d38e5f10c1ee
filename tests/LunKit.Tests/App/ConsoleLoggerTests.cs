using LunKit.App.Serve;
using Microsoft.Extensions.Logging;

namespace LunKit.Tests.App;

/// <summary>Whoever logs neither waits nor fails, whatever is behind the log.</summary>
public sealed class ConsoleLoggerTests
{
    private sealed class Sink : StringWriter
    {
        public ManualResetEventSlim Takes { get; } = new(true);
        public volatile bool IsFull;

        public override void WriteLine(string? value)
        {
            Takes.Wait(TimeSpan.FromSeconds(30));
            if (IsFull) throw new IOException("no space left on device");
            lock (this) base.WriteLine(value);
        }

        public override string ToString()
        {
            lock (this) return base.ToString();
        }
    }

    private static void Say(ConsoleLogger log, string text) => log.Log(LogLevel.Information, new EventId(7), text, null, static (s, _) => s);

    [Fact]
    public void LinesComeInTheirOrder()
    {
        var sink = new Sink();
        var log = new ConsoleLogger(LogLevel.Information, sink);
        for (int i = 0; i < 100; i++) Say(log, $"line {i}.");
        log.Log(LogLevel.Debug, 0, "not wanted", null, static (s, _) => s);
        log.Flush();
        string[] lines = sink.ToString().TrimEnd().Split(Environment.NewLine);
        Assert.Equal(Enumerable.Range(0, 100).Select(i => $"info [7] line {i}."), lines.Select(l => l[l.IndexOf("info", StringComparison.Ordinal)..]));
    }

    [Fact]
    public void AFullDiskCostsLinesOnly()
    {
        var sink = new Sink { IsFull = true };
        var log = new ConsoleLogger(LogLevel.Information, sink);
        for (int i = 0; i < 10; i++)
        {
            Say(log, "lost");
            log.Flush();
        }
        sink.IsFull = false;
        Say(log, "there again");
        log.Flush();
        Assert.Contains("10 lines of the log were lost", sink.ToString(), StringComparison.Ordinal);
        Assert.Contains("there again", sink.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public void AReaderThatHasStoppedHoldsNobodyUp()
    {
        var sink = new Sink();
        sink.Takes.Reset();
        var log = new ConsoleLogger(LogLevel.Information, sink);
        long start = Environment.TickCount64;
        for (int i = 0; i < 10_000; i++) Say(log, "much");
        log.Flush();
        Assert.InRange(Environment.TickCount64 - start, 0, 20_000);
        sink.Takes.Set();
        Say(log, "the last");
        while (!sink.ToString().Contains("lines of the log were lost", StringComparison.Ordinal)) log.Flush();
    }
}
