using System.Net;
using LunKit.Backstores;
using LunKit.Hosting;
using LunKit.Iscsi;
using LunKit.Iscsi.Initiator;
using LunKit.LogicalUnits;
using LunKit.Scsi;
using LunKit.Targets;

namespace LunKit.Tests.Hosting;

/// <summary>A host with a real iSCSI server, and initiators that are connected while it changes.</summary>
public sealed class IscsiHostTests : IAsyncDisposable
{
    private const string One = "iqn.2026-11.test:one", Two = "iqn.2026-11.test:two";

    private readonly TargetHost _host = new();
    private readonly IscsiServer _server = new(new IscsiServerOptions { Portals = [new Portal(new IPEndPoint(IPAddress.Loopback, 0))], Limits = new IscsiLimits { LogoutTimeoutSeconds = 1 } });

    public IscsiHostTests()
    {
        _host.AddFabric(_server);
        foreach (string name in (string[])["a", "b"]) _host.AddUnit(name, new BlockUnit(new MemoryBackstore(1 << 20), name, new VolatileUnitState(UnitIdentity.IdOf(name))));
        foreach (string target in (string[])[One, Two]) _host.AddTarget(new Target { Name = target, Luns = new Dictionary<int, LogicalUnit>() });
        _host.Map(One, 0, "a");
        _host.Map(Two, 3, "b");
        _server.Start();
    }

    public ValueTask DisposeAsync() => _host.DisposeAsync();

    private Task<IscsiInitiator> ConnectAsync(string target, string initiator = "iqn.2026-11.test:initiator") =>
        IscsiInitiator.ConnectAsync(new InitiatorOptions { Portal = _server.Portals[0].EndPoint, TargetName = target, InitiatorName = initiator });

    [Fact]
    public async Task SessionsAreListedAndEnded()
    {
        await using var one = await ConnectAsync(One);
        await using var two = await ConnectAsync(Two, "iqn.2026-11.test:other");
        var sessions = _host.Sessions;
        Assert.Equal([One, Two], sessions.Select(s => s.Target));
        Assert.Equal(["iqn.2026-11.test:initiator", "iqn.2026-11.test:other"], sessions.Select(s => s.Initiator));
        Assert.Equal([[0], [3]], sessions.Select(s => s.Luns));
        Assert.All(sessions, s =>
        {
            Assert.Matches("^iscsi-[0-9]+$", s.Id);
            Assert.InRange(DateTimeOffset.UtcNow - s.Since, TimeSpan.Zero, TimeSpan.FromMinutes(1));
            Assert.Equal(_server.Portals[0].EndPoint.ToString(), Assert.Single(s.Connections).Local);
            Assert.StartsWith("127.0.0.1:", s.Connections[0].Remote, StringComparison.Ordinal);
        });
        Assert.Equal(["a", "b"], _host.Units.Select(u => u.Name));
        Assert.Equal([(1, 1L << 20, 512), (1, 1L << 20, 512)], _host.Units.Select(u => (u.Nexuses, u.Bytes!.Value, u.BlockBytes!.Value)));
        _host.EndSession(sessions[0].Id, "the operator");
        await Assert.ThrowsAnyAsync<Exception>(() => one.ExecuteAsync(0, new byte[6]));
        for (int i = 0; _host.Sessions.Count > 1; i++)
        {
            Assert.True(i < 500);
            await Task.Delay(10, TestContext.Current.CancellationToken);
        }
        Assert.Equal(Two, Assert.Single(_host.Sessions).Target);
        await two.ExecuteAsync(3, new byte[6]);
        Assert.Equal(ScsiStatus.Good, (await two.ExecuteAsync(3, new byte[6])).Status);
    }

    /// <summary>LUNs come and go: whoever has the others hears so, and goes on; nobody else hears anything.</summary>
    [Fact]
    public async Task UnitsComeAndGoWhileInitiatorsAreConnected()
    {
        await using var one = await ConnectAsync(One);
        await using var two = await ConnectAsync(Two);
        Assert.Equal(Sense.PowerOnOrReset, (await one.ExecuteAsync(0, new byte[6])).SenseCode);
        Assert.Equal(Sense.PowerOnOrReset, (await two.ExecuteAsync(3, new byte[6])).SenseCode);
        _host.Map(One, 1, "b");
        Assert.Equal(Sense.ReportedLunsChanged, (await one.ExecuteAsync(0, new byte[6])).SenseCode);
        Assert.Equal(Sense.PowerOnOrReset, (await one.ExecuteAsync(1, new byte[6])).SenseCode);
        Assert.Equal(new UnitEnd(true, null), await _host.RemoveUnitAsync("a"));
        Assert.Equal(Sense.LogicalUnitNotSupported, (await one.ExecuteAsync(0, new byte[6])).SenseCode);
        Assert.Equal(Sense.ReportedLunsChanged, (await one.ExecuteAsync(1, new byte[6])).SenseCode);
        Assert.Equal(ScsiStatus.Good, (await two.ExecuteAsync(3, new byte[6])).Status);
        Assert.Equal([(One, 1), (Two, 3)], Assert.Single(_host.Units).Mappings);
        _host.RemoveTarget(One);
        await Assert.ThrowsAnyAsync<Exception>(() => one.ExecuteAsync(1, new byte[6]));
        Assert.Equal(ScsiStatus.Good, (await two.ExecuteAsync(3, new byte[6])).Status);
    }

    [Fact]
    public void AWrongNameIsRefused()
    {
        var e = Assert.Throws<HostException>(() => _host.AddTarget(new Target { Name = "disk", Luns = new Dictionary<int, LogicalUnit>() }));
        Assert.Equal((HostError.Invalid, true), (e.Error, e.Message.Contains("'disk' is not an iSCSI name", StringComparison.Ordinal)));
        Assert.Equal(2, _host.Targets.All.Count);
    }
}
