using LunKit.App.Replay;
using LunKit.App.Serve;
using LunKit.Backstores;
using Microsoft.Extensions.Time.Testing;

namespace LunKit.Tests.App;

public sealed class ReplayTests : IDisposable
{
    private const string Header = "{\"lunkit_trace\":1,\"started\":\"2026-11-27T00:00:00.000000Z\",\"bytes\":1048576,\"block\":512}";

    private readonly string _trace = Path.GetTempFileName();

    public void Dispose() => File.Delete(_trace);

    private static string Line(string op, long at, long offset, long length, string more = "") =>
        $"{{\"at_us\":{at},\"op\":\"{op}\",\"offset\":{offset},\"length\":{length}{more},\"latency_us\":50,\"result\":\"ok\"}}";

    private async Task<(int Code, string Output, string Progress)> ReplayAsync(string backstore, bool overwrite, params string[] lines)
    {
        await File.WriteAllLinesAsync(_trace, lines);
        StringWriter output = new(), progress = new();
        int code = await ReplayCommand.RunAsync(_trace, backstore, fast: true, depth: 8, overwrite, output, progress, TestContext.Current.CancellationToken);
        return (code, output.ToString(), progress.ToString());
    }

    /// <summary>What is replayed is what was traced: the trace of the replay says the same.</summary>
    [Fact]
    public async Task AReplayDoesTheSame()
    {
        string again = _trace + ".again";
        try
        {
            string[] operations =
            [
                Line("write", 0, 4096, 1024), Line("write", 1, 0, 512, ",\"fua\":true"), Line("read", 2, 4096, 512), Line("discard", 3, 8192, 4096), Line("zeroes", 4, 0, 512),
                Line("extent", 5, 0, 1048576), Line("flush", 6, 0, 0),
            ];
            // In a trace the operations stand in the order in which they ended.
            var (code, output, progress) = await ReplayAsync($"memory:1M,filter=trace:{again}", overwrite: true, [Header, .. operations.Reverse(), "{\"op\":\"dropped\",\"count\":4}"]);
            Assert.Equal(0, code);
            Assert.Contains("7 operations in", output, StringComparison.Ordinal);
            Assert.Matches(@"write +2 +0 +1\.5 KiB", output);
            Assert.Contains("4 operations are missing", progress, StringComparison.Ordinal);
            static string What(RecordedOperation o) => $"{o.Call} {o.Call.Options}";
            Assert.Equal(RecordedTrace.Read(_trace).Operations.Select(What), RecordedTrace.Read(again).Operations.Select(What));
        }
        finally
        {
            File.Delete(again);
        }
    }

    [Theory]
    [InlineData("write")]
    [InlineData("discard")]
    [InlineData("zeroes")]
    [InlineData("same")]
    [InlineData("compare")]
    public async Task ChangesNeedConsent(string op)
    {
        var error = await Assert.ThrowsAsync<UserException>(() => ReplayAsync("memory:1M", overwrite: false, Header, Line(op, 0, 0, 512)));
        Assert.Contains("has 1 operations that overwrite memory:1M: say --overwrite if they may", error.Message, StringComparison.Ordinal);
        Assert.Equal(0, (await ReplayAsync("memory:1M", overwrite: true, Header, Line(op, 0, 0, 512))).Code);
    }

    [Fact]
    public async Task WithoutChangesTheDiskIsReadOnly()
    {
        string image = Path.GetTempFileName();
        try
        {
            await File.WriteAllBytesAsync(image, new byte[1 << 20], TestContext.Current.CancellationToken);
            File.SetUnixFileMode(image, UnixFileMode.UserRead);
            Assert.Equal(0, (await ReplayAsync(image, overwrite: false, Header, Line("read", 0, 0, 512), Line("flush", 1, 0, 0))).Code);
        }
        finally
        {
            File.Delete(image);
        }
    }

    [Theory]
    [InlineData("memory:1M", "read", 1 << 20, 512, "the trace reaches byte 1049088, and there are only 1048576")]
    [InlineData("memory:1M,block=4096", "read", 512, 512, "which are no whole blocks of 4096 bytes")]
    public async Task ATraceThatDoesNotFitIsRefused(string backstore, string op, long offset, long length, string message) => Assert.Contains(message,
        (await Assert.ThrowsAsync<UserException>(() => ReplayAsync(backstore, overwrite: true, Header, Line(op, 0, offset, length)))).Message, StringComparison.Ordinal);

    public static TheoryData<string[], string> Wrong => new()
    {
        { [], "there is no operation in it" },
        { ["hello"], "line 1: it does not begin as a trace does" },
        { [Header, "hello", Line("read", 0, 0, 512)], "line 2: 'hello' is no operation" },
        { [Header, Line("erase", 0, 0, 512)], "line 2: there is no operation 'erase'" },
        { [Header, Line("read", 0, -512, 512)], "line 2: a number is negative" },
        { [Header, Line("read", 0, 0, 1L << 40)], "a transfer of 1099511627776 bytes is longer than" },
        { [Header, "{\"op\":\"read\"}", Line("read", 0, 0, 512)], "is no operation" },
    };

    [Theory, MemberData(nameof(Wrong))]
    public void WrongTracesSayWhere(string[] lines, string message) =>
        Assert.Contains(message, Assert.Throws<UserException>(() => RecordedTrace.Read("t", lines)).Message, StringComparison.Ordinal);

    /// <summary>A process that was killed leaves half a line; the next trace of the file begins when the first has ended.</summary>
    [Fact]
    public void TracesOfOneFileFollowOneAnother()
    {
        var trace = RecordedTrace.Read("t", [Header, Line("read", 100, 0, 512), "{\"at_us\":20", Header, Line("read", 10, 512, 512), "{\"at"]);
        Assert.Equal([(100L, 0L), (160L, 512L)], trace.Operations.Select(o => (o.At, o.Call.Offset)));
    }

    [Fact]
    public async Task OperationsComeAtTheirTimes()
    {
        var time = new FakeTimeProvider();
        var fault = new FaultFilter(new MemoryBackstore(1 << 20), FaultSettings.Off);
        await using var store = new BackstoreGuard(fault);
        var trace = RecordedTrace.Read("t", [Header, Line("read", 0, 0, 512), Line("read", 5000, 512, 512), Line("flush", 5000, 0, 0), Line("read", 20_000, 0, 512)]);
        var replayer = new Replayer(store, trace, isFast: false, depth: 2, time);
        var running = replayer.RunAsync(TestContext.Current.CancellationToken);
        Assert.Equal(1, replayer.Ended);
        time.Advance(TimeSpan.FromMilliseconds(4));
        Assert.Equal(1, replayer.Ended);
        time.Advance(TimeSpan.FromMilliseconds(1));
        await UntilAsync(() => replayer.Ended == 3);
        fault.Settings = new(new FaultRule { Effect = FaultEffect.Error });
        time.Advance(TimeSpan.FromMilliseconds(15));
        await running.WaitAsync(TimeSpan.FromSeconds(10), TestContext.Current.CancellationToken);
        var reads = replayer.Results[BackstoreOperation.Read];
        Assert.Equal((2, 1, 1024), (reads.Latencies.Count, reads.Failed, reads.Bytes));
        Assert.Contains("as a rule asks", reads.FirstFailure, StringComparison.Ordinal);
        Assert.Equal(0, replayer.Latest);
    }

    /// <summary>No more than the depth are in progress, and a cancellation waits for those.</summary>
    [Fact]
    public async Task TheDepthIsKeptAndACancellationEndsIt()
    {
        var fault = new FaultFilter(new MemoryBackstore(1 << 20), new(new FaultRule { Effect = FaultEffect.Hang }));
        await using var store = new BackstoreGuard(fault);
        var trace = RecordedTrace.Read("t", [Header, .. Enumerable.Range(0, 50).Select(i => Line("read", i, 0, 512))]);
        using var stop = new CancellationTokenSource();
        var running = new Replayer(store, trace, isFast: true, depth: 7, TimeProvider.System).RunAsync(stop.Token);
        Assert.Equal((7, false), (fault.Hanging, running.IsCompleted));
        await stop.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => running);
        Assert.Equal(0, fault.Hanging);
    }

    [Fact]
    public void PercentilesAreOnAThirtiethTrue()
    {
        var histogram = new LatencyHistogram();
        for (int i = 1; i <= 100_000; i++) histogram.Add(i);
        Assert.Equal((100_000, 50_000.5, 100_000), (histogram.Count, histogram.Mean, histogram.Longest));
        foreach (double share in (double[])[0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 1]) Assert.InRange(histogram.Percentile(share), share * 100_000 * 0.999, share * 100_000 * 1.04);
        histogram.Add(long.MaxValue / 4);
        Assert.Equal(long.MaxValue / 4, histogram.Percentile(1));
        Assert.Equal(0, new LatencyHistogram().Percentile(0.5));
    }

    private static async Task UntilAsync(Func<bool> holds)
    {
        for (int i = 0; i < 1000 && !holds(); i++) await Task.Delay(10, TestContext.Current.CancellationToken);
        Assert.True(holds());
    }
}
