using System.Net.Sockets;
using System.Text;
using LunKit.App.Serve;

namespace LunKit.Tests.App;

/// <summary>What systemd is told, and that nothing depends on it.</summary>
public sealed class ServiceManagerTests : IDisposable
{
    private readonly string _name = $"lunkit-notify-{Environment.ProcessId}-{Guid.NewGuid():N}";
    private readonly Socket _manager = new(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified) { ReceiveTimeout = 10_000 };

    public ServiceManagerTests() => _manager.Bind(new UnixDomainSocketEndPoint("\0" + _name));

    public void Dispose() => _manager.Dispose();

    private string Heard()
    {
        var buffer = new byte[4096];
        return Encoding.UTF8.GetString(buffer, 0, _manager.Receive(buffer));
    }

    [Fact]
    public void ItIsToldHowTheServiceDoes()
    {
        using var service = new ServiceManager("@" + _name, "5000000", null);
        Assert.Equal(TimeSpan.FromSeconds(2.5), service.WatchdogPause);
        service.Ready("1 targets");
        Assert.Equal("READY=1\nSTATUS=1 targets", Heard());
        service.Reloading();
        Assert.Matches("^RELOADING=1\nMONOTONIC_USEC=[0-9]+$", Heard());
        service.Alive();
        Assert.Equal("WATCHDOG=1", Heard());
        service.Stopping();
        Assert.StartsWith("STOPPING=1\n", Heard(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(null)]
    [InlineData("")]
    [InlineData("/nowhere/at/all")]
    [InlineData("@lunkit-nobody-listens-here")]
    public void WithoutOneNothingHappens(string? socket)
    {
        using var service = new ServiceManager(socket, "1000", null);
        service.Ready("x");
        service.Alive();
        service.Dispose();
        service.Stopping();
    }

    [Theory]
    [InlineData("0", null)]
    [InlineData("soon", null)]
    [InlineData("1000000", "1")]
    public void SomeWantNoSignOfLife(string period, string? process)
    {
        using var service = new ServiceManager("@" + _name, period, process);
        Assert.Null(service.WatchdogPause);
    }

    /// <summary>No sign comes while the service cannot be looked at.</summary>
    [Fact]
    public async Task AServiceThatHangsGivesNoSign()
    {
        int signs = 0, looks = 0;
        using var gate = new ManualResetEventSlim(true);
        void Look()
        {
            Interlocked.Increment(ref looks);
            gate.Wait(TimeSpan.FromSeconds(20));
        }
        await using var watchdog = new Watchdog(TimeSpan.FromMilliseconds(10), Look, () => Interlocked.Increment(ref signs));
        await UntilAsync(() => Volatile.Read(ref signs) > 0);
        gate.Reset();
        // One that has looked already may still give its sign.
        int before = Volatile.Read(ref looks);
        await UntilAsync(() => Volatile.Read(ref looks) > before);
        int last = Volatile.Read(ref signs);
        await Task.Delay(100, TestContext.Current.CancellationToken);
        Assert.Equal(last, Volatile.Read(ref signs));
        gate.Set();
        await UntilAsync(() => Volatile.Read(ref signs) > last);

        static async Task UntilAsync(Func<bool> holds)
        {
            for (int i = 0; i < 1000 && !holds(); i++) await Task.Delay(10, TestContext.Current.CancellationToken);
            Assert.True(holds());
        }
    }
}
