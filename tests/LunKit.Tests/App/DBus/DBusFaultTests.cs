using System.Diagnostics;
using System.Net.Sockets;
using System.Text;
using LunKit.App.Handle;
using LunKit.Tests.Tcmu;

namespace LunKit.Tests.App.DBus;

/// <summary>A bus that is not there, is silent, lies, stalls or goes away costs the handler its place in targetcli, and nothing else.</summary>
public sealed class DBusFaultTests
{
    private static readonly TimeSpan s_soon = TimeSpan.FromSeconds(20);
    private static readonly Task s_never = new TaskCompletionSource().Task;
    private static readonly Dictionary<string, Subtype> s_subtypes = Subtype.BuiltIn.ToDictionary(s => s.Name);

    private readonly ListLog _log = new();

    private Task<TcmuService?> StartAsync(FakeBus bus, TimeSpan? limit = null, Task? stop = null, Dictionary<string, Subtype>? subtypes = null) =>
        TcmuService.TryStartAsync(subtypes ?? s_subtypes, _log, stop ?? s_never, bus.Address, limit ?? s_soon);

    private async Task<(TcmuService Service, Socket Bus)> StartedAsync(FakeBus bus, Dictionary<string, Subtype>? subtypes = null)
    {
        var accepting = bus.AcceptServiceAsync();
        var service = await StartAsync(bus, subtypes: subtypes);
        Assert.NotNull(service);
        return (service, await accepting);
    }

    private async Task LogsAsync(string text)
    {
        var clock = Stopwatch.StartNew();
        while (!_log.Lines.Any(l => l.Contains(text, StringComparison.Ordinal)))
        {
            Assert.True(clock.Elapsed < s_soon, $"no line '{text}' in: {string.Join("; ", _log.Lines)}");
            await Task.Delay(10, TestContext.Current.CancellationToken);
        }
    }

    [Theory]
    [InlineData("unix:abstract=lunkit-nobody-listens-here")]
    [InlineData("unix:path=/nowhere/bus")]
    [InlineData("unix:path=")]
    [InlineData("tcp:host=127.0.0.1,port=x")]
    [InlineData("pigeon:")]
    [InlineData(";")]
    public async Task WithoutABusTheHandlerGoesOn(string address)
    {
        Assert.Null(await TcmuService.TryStartAsync(s_subtypes, _log, s_never, address, s_soon));
        Assert.StartsWith("targetcli will not see this handler: ", Assert.Single(_log.Lines), StringComparison.Ordinal);
    }

    [Fact]
    public async Task ASilentBusIsWaitedForWithALimit()
    {
        using var bus = new FakeBus();
        Assert.Null(await StartAsync(bus, TimeSpan.FromSeconds(1)));
        Assert.Contains("has not answered within 1 s", Assert.Single(_log.Lines), StringComparison.Ordinal);
    }

    [Fact]
    public async Task AStopEndsTheWaitForASilentBus()
    {
        using var bus = new FakeBus();
        var stop = new TaskCompletionSource();
        var starting = StartAsync(bus, TimeSpan.FromMinutes(5), stop.Task);
        using var socket = await bus.AcceptAsync();
        stop.SetResult();
        Assert.Null(await starting.WaitAsync(s_soon, TestContext.Current.CancellationToken));
    }

    [Theory]
    [InlineData("OK\r\n")]
    [InlineData("OK zz\r\n")]
    [InlineData("REJECTED\r\nREJECTED\r\n")]
    [InlineData("\r\n")]
    [InlineData("\n")]
    [InlineData("HTTP/1.1 400 Bad Request\r\nServer: x\r\n")]
    [InlineData("ENDLESS")]
    public async Task GarbageInTheAuthenticationIsNoBus(string answer)
    {
        using var bus = new FakeBus();
        var starting = StartAsync(bus, TimeSpan.FromSeconds(3));
        using var socket = await bus.AcceptAsync();
        try
        {
            await FakeBus.SendAsync(socket, Encoding.ASCII.GetBytes(answer == "ENDLESS" ? new string('x', 1 << 20) : answer));
        }
        catch (SocketException)
        {
            // The service has hung up.
        }
        Assert.Null(await starting.WaitAsync(s_soon, TestContext.Current.CancellationToken));
        Assert.Single(_log.Lines);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    [InlineData(5)]
    [InlineData(6)]
    public async Task GarbageAfterTheNameEndsTheConnectionOnly(int seed)
    {
        using var bus = new FakeBus();
        var (service, socket) = await StartedAsync(bus);
        using (service)
        using (socket)
        {
            var random = new Random(seed);
            // Plain noise, lengths beyond the protocol's, and calls with some bytes changed.
            for (int i = 0; i < 2000; i++)
            {
                byte[] bytes = FakeBus.Check(7, "file//srv/x");
                if (seed == 1) random.NextBytes(bytes);
                else if (seed == 2) bytes.AsSpan(4, 4).Fill(0xff);
                else if (seed == 3) bytes.AsSpan(12, 4).Fill(0xff);
                else for (int n = 0; n < 3; n++) bytes[random.Next(bytes.Length)] = (byte)random.Next(256);
                try
                {
                    await FakeBus.SendAsync(socket, bytes);
                    while (socket.Available > 0) socket.Receive(new byte[65536]);
                }
                catch (SocketException)
                {
                    break;
                }
            }
            socket.Dispose();
            await LogsAsync("targetcli does not see this handler any more");
        }
        Assert.Single(_log.Lines);
    }

    [Fact]
    public async Task ACallerThatReadsNoAnswersIsReadNoMore()
    {
        using var bus = new FakeBus();
        var (service, socket) = await StartedAsync(bus);
        using var _ = service;
        using var __ = socket;
        const int calls = 2000;
        string bad = new('x', 10_000);
        byte[] flood = [.. Enumerable.Range(1, calls).SelectMany(i => FakeBus.Check((uint)i, bad))];
        int sent = 0;
        socket.Blocking = false;
        while (sent < flood.Length && socket.Poll(TimeSpan.FromSeconds(2), SelectMode.SelectWrite)) sent += socket.Send(flood.AsSpan(sent), SocketFlags.None, out SocketError error);
        Assert.InRange(sent, 1, 4 << 20);
        // As soon as answers are read, all is answered, in order.
        socket.Blocking = true;
        var sending = FakeBus.SendAsync(socket, flood[sent..]);
        for (int i = 0; i < calls; i++) Assert.Contains("does not begin with file/", Encoding.UTF8.GetString(await FakeBus.ReceiveAsync(socket)), StringComparison.Ordinal);
        await sending;
        Assert.Empty(_log.Lines);
    }

    [Fact]
    public async Task AFloodOfCallsWithoutAnAnswerIsTaken()
    {
        using var bus = new FakeBus();
        var (service, socket) = await StartedAsync(bus);
        using var _ = service;
        using var __ = socket;
        byte[] some = [.. Enumerable.Range(1, 500).SelectMany(i => FakeBus.Check((uint)i, "file//tmp/x", noReply: true))];
        for (int i = 0; i < 100; i++) await FakeBus.SendAsync(socket, some);
        await FakeBus.SendAsync(socket, FakeBus.Check(9, "one/that is answered"));
        Assert.Contains("one/that is answered", Encoding.UTF8.GetString(await FakeBus.ReceiveAsync(socket)), StringComparison.Ordinal);
    }

    [Fact]
    public async Task ABusThatGoesAwayAndComesBackIsForTheNextStart()
    {
        string name;
        TcmuService service;
        using (var bus = new FakeBus())
        {
            name = bus.Name;
            (service, var socket) = await StartedAsync(bus);
            socket.Dispose();
        }
        await LogsAsync("targetcli does not see this handler any more");
        using var again = new FakeBus(name);
        var accepting = again.AcceptServiceAsync();
        await Task.Delay(300, TestContext.Current.CancellationToken);
        Assert.False(accepting.IsCompleted, "the service has connected again by itself");
        service.Dispose();
        using var next = await StartAsync(again);
        Assert.NotNull(next);
        using var served = await accepting;
        await FakeBus.SendAsync(served, FakeBus.Check(3, "x"));
        Assert.Contains("does not begin with file/", Encoding.UTF8.GetString(await FakeBus.ReceiveAsync(served)), StringComparison.Ordinal);
        Assert.Single(_log.Lines);
    }

    [Fact]
    public async Task AnAnswerThatHangsDelaysNeitherTheStopNorTheBus()
    {
        using var hung = new ManualResetEventSlim();
        using var entered = new ManualResetEventSlim();
        var subtypes = new Dictionary<string, Subtype>
        {
            ["file"] = new("file", "file:{path}", "hangs") { Translate = path => { entered.Set(); hung.Wait(TimeSpan.FromMinutes(2)); return path; } },
        };
        using var bus = new FakeBus();
        var (service, socket) = await StartedAsync(bus, subtypes);
        using var _ = socket;
        await FakeBus.SendAsync(socket, FakeBus.Check(3, "file//x"));
        Assert.True(entered.Wait(s_soon, TestContext.Current.CancellationToken));
        var clock = Stopwatch.StartNew();
        service.Dispose();
        Assert.True(clock.Elapsed < s_soon, $"the stop took {clock.Elapsed}");
        Assert.Empty(await FakeBus.ReceiveAsync(socket));
        hung.Set();
    }

    [Fact]
    public async Task AnAnswerThatThrowsIsAnError()
    {
        var subtypes = new Dictionary<string, Subtype> { ["file"] = new("file", "file:{path}", "throws") { Translate = _ => throw new InvalidOperationException("a fault") } };
        using var bus = new FakeBus();
        var (service, socket) = await StartedAsync(bus, subtypes);
        using var _ = service;
        using var __ = socket;
        for (uint i = 1; i < 3; i++)
        {
            await FakeBus.SendAsync(socket, FakeBus.Check(i, "file//x"));
            string answer = Encoding.UTF8.GetString(await FakeBus.ReceiveAsync(socket));
            Assert.Contains("org.freedesktop.DBus.Error.Failed", answer, StringComparison.Ordinal);
            Assert.Contains("a fault", answer, StringComparison.Ordinal);
        }
    }
}
