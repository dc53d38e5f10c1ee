using System.Net;
using LunKit.Iscsi.Discovery;
using LunKit.Targets;

namespace LunKit.Tests.Iscsi;

/// <summary>What SendTargets tells whom (RFC 7143 13.8, appendix C; RFC 4007 for zones).</summary>
public class SendTargetsTests
{
    private static readonly Target s_disk = new() { Name = "iqn.t:Disk", Luns = new Dictionary<int, LunKit.LogicalUnits.LogicalUnit>() };
    private static readonly Target s_other = s_disk with { Name = "iqn.t:other" },
        s_closed = s_disk with { Name = "iqn.t:closed", Acls = [new("iqn.x:x")] };

    private static string? Ask(string value, bool discovery, Target? own) => SendTargets.Answer(
        value, discovery, own, [s_disk, s_other, s_closed], [], "iqn.a:b", IPAddress.Loopback) is { } answer
        ? string.Join(' ', answer.Select(a => a.Value)) : null;

    [Theory]
    [InlineData("All", "iqn.t:Disk iqn.t:other")]
    [InlineData("iqn.t:Disk", "iqn.t:Disk")]
    [InlineData("IQN.T:DISK", "iqn.t:Disk")]
    [InlineData("iqn.t:closed", "")] // it may not log in there
    [InlineData("iqn.t:none", "")]
    [InlineData("EUI.02004567A425678D", "")]
    [InlineData("naa.52004567BA64678D", "")]
    [InlineData("", null)]
    [InlineData("all", null)]
    [InlineData("Alle", null)]
    [InlineData("A", null)]
    [InlineData("iqn.", null)]
    [InlineData("iqn.a b", null)]
    [InlineData("All,All", null)]
    public void DiscoverySessionsAskForAnyTarget(string value, string? expected) => Assert.Equal(expected, Ask(value, true, null));

    [Theory]
    [InlineData("", "iqn.t:Disk")]
    [InlineData("IQN.t:disk", "iqn.t:Disk")]
    [InlineData("iqn.t:other", "")]
    [InlineData("All", "iqn.t:Disk")]
    [InlineData("aLL", null)]
    [InlineData("Alle", null)]
    public void NormalSessionsAskForTheirOwn(string value, string? expected) => Assert.Equal(expected, Ask(value, false, s_disk));

    /// <summary>Behind NAT an initiator is told the address that it can reach, whatever this end of the connection is called.</summary>
    [Theory]
    [InlineData("127.0.0.1")]
    [InlineData("192.0.2.1")]
    public void APortalIsShownAsItIsAdvertised(string local)
    {
        List<Portal> portals = [new(IPEndPoint.Parse("0.0.0.0:3260")) { Advertise = "storage.example:13260" }, new(IPEndPoint.Parse("127.0.0.1:3261"), 2) { Advertise = "[2001:db8::1]:3261" }];
        var answer = SendTargets.Answer("All", true, null, [s_disk], portals, "iqn.a:b", IPAddress.Parse(local))!;
        Assert.Equal(["storage.example:13260,1", "[2001:db8::1]:3261,2"], answer.Skip(1).Select(a => a.Value));
    }

    // Portals, the address that the client has used, and what it is told. %7 is an interface of this host.
    [Theory]
    [InlineData("192.0.2.1:3260", "192.0.2.1", "192.0.2.1:3260")]
    [InlineData("0.0.0.0:3260", "192.0.2.9", "192.0.2.9:3260")]
    [InlineData("0.0.0.0:3260", "::ffff:192.0.2.9", "192.0.2.9:3260")]
    [InlineData("[::]:3260", "2001:db8::1", "[2001:db8::1]:3260")]
    [InlineData("[::]:3260", "::ffff:192.0.2.9", "192.0.2.9:3260")] // a socket for both families
    [InlineData("[::]:3260", "fe80::5%7", "[fe80::5]:3260")]
    [InlineData("[fe80::5%7]:3260", "fe80::5%7", "[fe80::5]:3260")]
    [InlineData("[fe80::5%7]:3260", "fe80::5%8", "")] // another link
    [InlineData("[fe80::5%7]:3260 [2001:db8::1]:3260", "2001:db8::1", "[2001:db8::1]:3260")]
    [InlineData("[fe80::5%7]:3260 [2001:db8::1]:3260", "fe80::5%7", "[fe80::5]:3260 [2001:db8::1]:3260")]
    [InlineData("0.0.0.0:3260 [::]:3260", "192.0.2.9", "192.0.2.9:3260")] // each address once
    [InlineData("0.0.0.0:3260 [::]:3260", "2001:db8::1", "[2001:db8::1]:3260")]
    [InlineData("0.0.0.0:3260 [::]:3260", "::ffff:192.0.2.9", "192.0.2.9:3260")]
    [InlineData("0.0.0.0:3260 192.0.2.9:3260", "192.0.2.9", "192.0.2.9:3260")]
    [InlineData("0.0.0.0:3260 0.0.0.0:3261", "192.0.2.9", "192.0.2.9:3260 192.0.2.9:3261")]
    [InlineData("[::ffff:192.0.2.1]:3260 192.0.2.1:3260", "192.0.2.1", "192.0.2.1:3260")]
    [InlineData("127.0.0.1:3260 192.0.2.1:3260", "192.0.2.1", "192.0.2.1:3260")] // loopback is everybody's own
    [InlineData("127.0.0.1:3260 [::1]:3260", "127.0.0.1", "127.0.0.1:3260 [::1]:3260")]
    [InlineData("169.254.1.1:3260 192.0.2.1:3260", "192.0.2.1", "192.0.2.1:3260")]
    [InlineData("169.254.1.1:3260 192.0.2.1:3260", "169.254.1.1", "169.254.1.1:3260 192.0.2.1:3260")]
    public void AddressesAreThoseThatTheClientReaches(string portals, string local, string expected)
    {
        List<Portal> listening = [.. portals.Split(' ').Select(p => new Portal(IPEndPoint.Parse(p)))];
        var answer = SendTargets.Answer("All", true, null, [s_disk], listening, "iqn.a:b", IPAddress.Parse(local))!;
        Assert.Equal("iqn.t:Disk", answer[0].Value);
        Assert.Equal(expected.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(a => $"{a},1"), answer.Skip(1).Select(a => a.Value));
    }
}
