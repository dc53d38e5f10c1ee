using System.Net;
using System.Net.Sockets;
using LunKit.Hosting;
using LunKit.Iscsi;
using LunKit.Iscsi.Initiator;
using LunKit.LogicalUnits;
using LunKit.Targets;

namespace LunKit.Tests.Iscsi;

/// <summary>The wildcard of IPv6 is one of both families.</summary>
public sealed class DualPortalTests
{
    private static IscsiServer Server(params IPEndPoint[] portals)
    {
        var server = new IscsiServer(new IscsiServerOptions
        {
            Portals = [.. portals.Select(p => new Portal(p))], Targets = [new Target { Name = TestTarget.Iqn, Luns = new Dictionary<int, LogicalUnit>() }],
            Limits = new IscsiLimits { LogoutTimeoutSeconds = 1 },
        });
        server.Start();
        return server;
    }

    private static bool HasIPv6 => Socket.OSSupportsIPv6 && System.Net.NetworkInformation.NetworkInterface.GetAllNetworkInterfaces()
        .SelectMany(i => i.GetIPProperties().UnicastAddresses).Any(a => a.Address.Equals(IPAddress.IPv6Loopback));

    [Fact]
    public async Task BothFamiliesReachIt()
    {
        Assert.SkipUnless(HasIPv6, "needs IPv6 on the loopback interface");
        await using var server = Server(new IPEndPoint(IPAddress.IPv6Any, 0));
        int port = server.Portals[0].EndPoint.Port;
        foreach (var address in (IPAddress[])[IPAddress.Loopback, IPAddress.IPv6Loopback])
        {
            var point = new IPEndPoint(address, port);
            await using var initiator = await IscsiInitiator.ConnectAsync(new InitiatorOptions { Portal = point, TargetName = TestTarget.Iqn });
            var connection = Assert.Single(Assert.Single(((IFabric)server).Sessions).Connections);
            Assert.Equal(point.ToString(), connection.Local);
            Assert.StartsWith(address.AddressFamily == AddressFamily.InterNetwork ? "127.0.0.1:" : "[::1]:", connection.Remote, StringComparison.Ordinal);
            Assert.Contains(await initiator.SendTargetsAsync(""), k => k is { Key: "TargetAddress" } && k.Value == $"{point},1");
            await initiator.LogoutAsync();
            for (int i = 0; server.SessionCount > 0 && i < 500; i++) await Task.Delay(10, TestContext.Current.CancellationToken);
        }
    }

    /// <summary>Somebody who names both gets both, and no taken address.</summary>
    [Fact]
    public async Task APortalOfIPv4HasItsOwn()
    {
        Assert.SkipUnless(HasIPv6, "needs IPv6 on the loopback interface");
        using var free = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        free.Bind(new IPEndPoint(IPAddress.Any, 0));
        int port = ((IPEndPoint)free.LocalEndPoint!).Port;
        free.Dispose();
        await using var server = Server(new IPEndPoint(IPAddress.Any, port), new IPEndPoint(IPAddress.IPv6Any, port));
        foreach (var address in (IPAddress[])[IPAddress.Loopback, IPAddress.IPv6Loopback])
            await using (await IscsiInitiator.ConnectAsync(new InitiatorOptions { Portal = new IPEndPoint(address, port), TargetName = TestTarget.Iqn, Isid = (ulong)address.GetHashCode() & 0xFFFF })) Assert.True(server.SessionCount > 0);
    }
}
