using System.Text;
using System.Text.Json;
using LunKit.App.Replay;
using LunKit.Backstores;
using LunKit.Tests.Tcmu;
using Microsoft.Extensions.Time.Testing;

namespace LunKit.Tests.Backstores.Filters;

public sealed class TraceFilterTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("lunkit-trace-").FullName;
    private readonly FakeTimeProvider _time = new(DateTimeOffset.UnixEpoch);

    private string PathOf(string name) => Path.Combine(_folder, name);

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private static readonly DataBuffer s_block = new(new byte[512]);

    private static async Task<List<JsonElement>> LinesAsync(string path) =>
        [.. (await File.ReadAllLinesAsync(path)).Select(line => JsonDocument.Parse(line).RootElement)];

    [Fact]
    public async Task EveryOperationIsALine()
    {
        var fault = new FaultFilter(new MemoryBackstore(1 << 20), FaultSettings.Off);
        await using (var filter = new TraceFilter(new DelayFilter(fault, DelaySettings.Off, _time), PathOf("t"), time: _time))
        {
            await filter.WriteAsync(4096, s_block, WriteOptions.ForceUnitAccess, default);
            _time.Advance(TimeSpan.FromMilliseconds(3));
            fault.Settings = new(new FaultRule { Effect = FaultEffect.Hang });
            using var stop = new CancellationTokenSource();
            Task flush = filter.FlushAsync(default).AsTask(), read = filter.ReadAsync(512, s_block, stop.Token).AsTask();
            _time.Advance(TimeSpan.FromMicroseconds(250));
            await stop.CancelAsync();
            fault.Settings = new(new FaultRule { Effect = FaultEffect.Error, Error = BackstoreError.NoSpace });
            await flush;
            await Assert.ThrowsAsync<BackstoreException>(async () => await filter.DiscardAsync(0, 1024, default));
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => read);
        }
        string text = await File.ReadAllTextAsync(PathOf("t"), TestContext.Current.CancellationToken);
        Assert.Equal("""
            {"lunkit_trace":1,"started":"1970-01-01T00:00:00.000000Z","bytes":1048576,"block":512}
            {"at_us":0,"op":"write","offset":4096,"length":512,"fua":true,"latency_us":0,"result":"ok"}
            {"at_us":3000,"op":"read","offset":512,"length":512,"latency_us":250,"result":"cancelled"}
            {"at_us":3000,"op":"flush","offset":0,"length":0,"latency_us":250,"result":"ok"}
            {"at_us":3250,"op":"discard","offset":0,"length":1024,"latency_us":0,"result":"NoSpace"}

            """, text);
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(PathOf("t")));
    }

    /// <summary>A file that blocks: takes nothing until the test lets it.</summary>
    private sealed class Blocking : MemoryStream
    {
        public ManualResetEventSlim May { get; } = new();
        public ManualResetEventSlim Began { get; } = new();

        public override void Write(byte[] buffer, int offset, int count)
        {
            Began.Set();
            May.Wait(TimeSpan.FromSeconds(30));
            base.Write(buffer, offset, count);
        }

        public override void Write(ReadOnlySpan<byte> buffer) => Write(buffer.ToArray(), 0, buffer.Length);
    }

    [Fact]
    public async Task ASlowFileHoldsNobodyUpAndWhatItMissesIsCounted()
    {
        var file = new Blocking();
        var filter = new TraceFilter(new MemoryBackstore(1 << 20), "slow", null, _time, _ => file, mostQueued: 10);
        Assert.True(file.Began.Wait(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken));
        for (int i = 0; i < 100; i++) Assert.True(filter.ReadAsync(i * 512, s_block, default).IsCompletedSuccessfully);
        file.May.Set();
        await filter.DisposeAsync();
        string[] lines = Encoding.UTF8.GetString(file.ToArray()).Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Contains("{\"op\":\"dropped\",\"count\":90}", lines);
        Assert.Equal(10, lines.Count(l => l.Contains("\"read\"", StringComparison.Ordinal)));
        Assert.Equal(90, RecordedTrace.Read("slow", lines).Dropped);
    }

    /// <summary>A full file system ends the trace, says so once, and nothing else.</summary>
    [Fact]
    public async Task AFileThatCannotBeWrittenEndsTheTrace()
    {
        var log = new ListLog();
        var filter = new TraceFilter(new MemoryBackstore(1 << 20), "/dev/full", log, _time, path => new FileStream(path, FileMode.Open, FileAccess.Write), 10);
        for (int i = 0; !log.Lines.Any() && i < 1000; i++)
        {
            await filter.ReadAsync(0, s_block, default);
            await Task.Delay(10, TestContext.Current.CancellationToken);
        }
        await filter.ReadAsync(0, s_block, default);
        await filter.DisposeAsync();
        Assert.Contains("Filter trace: /dev/full cannot be written", Assert.Single(log.Lines), StringComparison.Ordinal);
    }

    [Fact]
    public async Task TheFileCanChangeWhileItIsUsed()
    {
        await using var filter = new TraceFilter(new MemoryBackstore(1 << 20), null, time: _time);
        await filter.ReadAsync(0, s_block, default);
        foreach (string? path in (string?[])[PathOf("a"), PathOf("b"), PathOf("a"), null])
        {
            await filter.SetPathAsync(path);
            Assert.Equal(path, filter.Path);
            await filter.ReadAsync(0, s_block, default);
        }
        Assert.Equal(4, (await LinesAsync(PathOf("a"))).Count);
        Assert.Equal(2, (await LinesAsync(PathOf("b"))).Count);
        Assert.Equal(2, RecordedTrace.Read(PathOf("a")).Operations.Count);
        await filter.SetPathAsync(PathOf("b"));
        await Assert.ThrowsAsync<BackstoreException>(async () => await filter.SetPathAsync("/nowhere/at/all"));
        Assert.Equal(PathOf("b"), filter.Path);
    }

    [Fact]
    public async Task OnlyTracesAreContinued()
    {
        await File.WriteAllTextAsync(PathOf("letter"), "Dear reader,\n", TestContext.Current.CancellationToken);
        await File.WriteAllTextAsync(PathOf("cut"), "{\"lunkit_trace\":1,\"bytes\":1}\n{\"at_us\":0,\"op\":\"re", TestContext.Current.CancellationToken);
        var memory = new MemoryBackstore(1 << 20);
        string Refusal(string path) => Assert.Throws<BackstoreException>(() => new TraceFilter(memory, path)).Message;
        Assert.Contains("is no trace of LunKit", Refusal(PathOf("letter")), StringComparison.Ordinal);
        Assert.Contains("is no regular file", Refusal("/dev/null"), StringComparison.Ordinal);
        Assert.Contains("is no regular file", Refusal(_folder), StringComparison.Ordinal);
        Assert.Contains("cannot be opened", Refusal("/nowhere/at/all"), StringComparison.Ordinal);
        await using (var filter = new TraceFilter(memory, PathOf("cut")))
        {
            await filter.ReadAsync(0, s_block, default);
            // Two writers would mix their lines.
            Assert.Contains("cannot be opened", Refusal(PathOf("cut")), StringComparison.Ordinal);
        }
        Assert.Single(RecordedTrace.Read(PathOf("cut")).Operations);
        Assert.Equal("Dear reader,\n", await File.ReadAllTextAsync(PathOf("letter"), TestContext.Current.CancellationToken));
    }
}
