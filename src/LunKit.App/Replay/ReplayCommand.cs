using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using LunKit.App.Backstores;
using LunKit.App.CommandLine;
using LunKit.App.Serve;
using LunKit.Backstores;
using Microsoft.Extensions.Logging;

namespace LunKit.App.Replay;

/// <summary><c>lunkit replay</c>: executes the operations of a trace on a backstore.</summary>
internal static class ReplayCommand
{
    private const string Details = """
        TRACE is a file that the filter trace has written (lunkit serve BACKSTORE,filter=trace:TRACE). Its operations are executed again, each at its
        recorded time, or with --fast as soon as possible. A trace contains no data: the replay writes a pattern, so it overwrites the blocks that the
        trace writes. BACKSTORE must be at least as large as the trace requires. The summary shows the latencies next to the recorded ones.
        """;

    public static Command Create()
    {
        var file = new Argument<string>("TRACE") { Description = "A file of the filter trace" };
        var backstore = new Argument<string>("BACKSTORE") { Description = "As for lunkit serve, with filters too" };
        var fast = new Option<bool>("--fast") { Description = "As fast as possible, not at the recorded times" };
        var depth = Words.Number("--depth", "Operations in progress at most", "N", 64, 1, 4096);
        var overwrite = new Option<bool>("--overwrite") { Description = "Yes, what is in it may be overwritten; needed where the trace has writes" };
        var command = new AppCommand("replay", "Execute the operations of a trace again, on a backstore, and compare the latencies.", file, backstore, fast, depth, overwrite)
        {
            Details = Details,
            Examples =
            [
                ("lunkit replay trace.jsonl memory:10G --overwrite", "on a disk in memory, at the recorded times"),
                ("lunkit replay trace.jsonl block:/dev/sdb --overwrite --fast --depth 32", "how fast a device does it"),
                ("lunkit replay reads.jsonl disk.img,readonly", "a trace without writes"),
            ],
        };
        command.SetAction((result, stop) => RunAsync(
            result.GetValue(file)!, result.GetValue(backstore)!, result.GetValue(fast), result.GetValue(depth), result.GetValue(overwrite), Console.Out, Console.Error, stop));
        return command;
    }

    /// <summary>Replays; 1 when an operation failed.</summary>
    internal static async Task<int> RunAsync(
        string file, string text, bool fast, int depth, bool overwrite, TextWriter output, TextWriter progress, CancellationToken stop)
    {
        var spec = AnyBackstore.Parse(text);
        var trace = RecordedTrace.Read(file);
        bool changes = trace.Changes > 0;
        if (changes && !overwrite) throw new UserException($"trace {file} has {trace.Changes} operations that overwrite {text}: say --overwrite if they may", 2);
        if (trace.Dropped > 0) progress.WriteLine($"trace {file} is not complete: {trace.Dropped} operations are missing, which its file was too slow for");
        try
        {
            await using var store = new BackstoreGuard(await spec.OpenAsync(readOnly: !changes, new ConsoleLogger(LogLevel.Warning)));
            if (Replayer.WhyNot(trace, store.Geometry) is { } why) throw new UserException($"backstore '{text}': {why}", 2);
            var replayer = new Replayer(store, trace, fast, depth, TimeProvider.System);
            long began = Stopwatch.GetTimestamp();
            var running = replayer.RunAsync(stop);
            await ShowAsync(replayer, trace, running, progress);
            await running;
            Summarize(output, replayer, trace, Stopwatch.GetElapsedTime(began), fast);
            return replayer.Results.Values.Any(r => r.Failed > 0) ? 1 : 0;
        }
        catch (BackstoreException e)
        {
            throw new UserException(e.Message, inner: e);
        }
    }

    /// <summary>A line that lives on a terminal; else a line every ten seconds.</summary>
    private static async Task ShowAsync(Replayer replayer, RecordedTrace trace, Task running, TextWriter progress)
    {
        bool isTerminal = ReferenceEquals(progress, Console.Error) && !Console.IsErrorRedirected;
        var pause = TimeSpan.FromSeconds(isTerminal ? 1 : 10);
        bool hasShown = false;
        while (await Task.WhenAny(running, Task.Delay(pause, CancellationToken.None)) != running)
        {
            string line = string.Create(CultureInfo.InvariantCulture, $"{replayer.Ended} of {trace.Operations.Count} operations ({100.0 * replayer.Ended / trace.Operations.Count:F0} %)");
            progress.Write(isTerminal ? $"\r{line} " : line + "\n");
            hasShown = true;
        }
        if (isTerminal && hasShown) progress.WriteLine();
    }

    private static void Summarize(TextWriter output, Replayer replayer, RecordedTrace trace, TimeSpan took, bool fast)
    {
        double recorded = (trace.Operations.Max(o => o.At + o.Latency) - trace.Operations[0].At) / 1e6;
        output.WriteLine(Text($"{replayer.Ended} operations in {took.TotalSeconds:F1} s, recorded in {recorded:F1} s"));
        if (!fast) output.WriteLine(Text($"the latest began {Time(replayer.Latest)} after its time"));
        string[] heads = ["operation", "done", "failed", "bytes", "mean", "p50", "p99", "p99.9", "max", "recorded mean", "p50", "p99"];
        var rows = new List<string[]> { heads };
        foreach (var (operation, result) in replayer.Results.OrderBy(r => r.Key))
        {
            var (now, then) = (result.Latencies, result.Recorded);
            rows.Add([
                TraceRecord.NameOf(operation), Text($"{now.Count}"), Text($"{result.Failed}"), ByteSize.Format(result.Bytes), Time(now.Mean), Time(now.Percentile(0.5)),
                Time(now.Percentile(0.99)), Time(now.Percentile(0.999)), Time(now.Longest), Time(then.Mean), Time(then.Percentile(0.5)), Time(then.Percentile(0.99))]);
        }
        var widths = heads.Select((_, column) => rows.Max(r => r[column].Length)).ToArray();
        foreach (var row in rows) output.WriteLine(string.Join("  ", row.Select((cell, column) => column == 0 ? cell.PadRight(widths[0]) : cell.PadLeft(widths[column]))));
        foreach (var (operation, result) in replayer.Results.Where(r => r.Value.FirstFailure is not null))
            output.WriteLine($"{result.Failed} of {TraceRecord.NameOf(operation)} failed, the first: {result.FirstFailure}");
    }

    private static string Text(FormattableString text) => FormattableString.Invariant(text);

    private static string Time(double microseconds) => microseconds switch
    {
        < 1000 => Text($"{microseconds:0} us"),
        < 1_000_000 => Text($"{microseconds / 1000:0.##} ms"),
        _ => Text($"{microseconds / 1_000_000:0.##} s"),
    };
}
