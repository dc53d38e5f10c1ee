using System.Net;
using LunKit.App.Serve;
using LunKit.Targets;

namespace LunKit.Tests.App;

public class ServeOptionsTests
{
    [Theory]
    [InlineData("512", 512)]
    [InlineData("512M", 512L << 20)]
    [InlineData("10G", 10L << 30)]
    [InlineData("1T", 1L << 40)]
    [InlineData("1.5K", 1536)]
    [InlineData("10GiB", 10L << 30)]
    [InlineData("10gb", 10L << 30)]
    public void SizesAreRead(string text, long bytes)
    {
        Assert.True(ByteSize.TryParse(text, out long actual));
        Assert.Equal(bytes, actual);
    }

    [Theory]
    [InlineData("")]
    [InlineData("G")]
    [InlineData("-1G")]
    [InlineData("0")]
    [InlineData("1.3")]
    [InlineData("10X")]
    [InlineData("99999999999P")]
    public void WrongSizesAreNot(string text) => Assert.False(ByteSize.TryParse(text, out _));

    [Theory]
    [InlineData("floppy:1M", "kind 'floppy' is not known")]
    [InlineData("memory:", "SIZE is missing")]
    [InlineData("memory:lots", "'lots' is not a size")]
    [InlineData("memory:1G,colour=red", "option 'colour' is not known")]
    [InlineData("memory:1G,block=513", "block=513")]
    [InlineData("memory:1G,block=1024", "block=1024 is not 512 or 4096")]
    [InlineData("memory:1G,block", "option 'block' needs a value: block=512|4096")]
    [InlineData("memory:1G,serial=", "nothing stands after 'serial='; it takes TEXT")]
    [InlineData("memory:1G,readonly=", "it takes on or off")]
    [InlineData("memory:1G,physical=512,block=4096", "physical=512 is less than the logical block of 4096 bytes")]
    [InlineData("memory:1G,physical=3000", "physical=3000 is not a power of two")]
    [InlineData("memory:1G,readonyl", "option 'readonyl' is not known; did you mean 'readonly'?")]
    [InlineData("memory", "write memory:SIZE")]
    [InlineData("memory:1G,readonly,readonly", "stands twice")]
    public void WrongSpecsSayWhatIsWrong(string spec, string message)
    {
        var error = Assert.Throws<UserException>(() => BackstoreSpec.Parse(spec));
        Assert.Contains(message, error.Message, StringComparison.Ordinal);
        Assert.Equal(2, error.ExitCode);
    }

    [Theory]
    [InlineData("127.0.0.1:3260", "127.0.0.1:3260", 1)]
    [InlineData("127.0.0.1", "127.0.0.1:3260", 1)]
    [InlineData("[::1]:860,7", "[::1]:860", 7)]
    [InlineData("localhost:3261", "127.0.0.1:3261", 1)]
    [InlineData(":3262", "[::]:3262", 1)]
    [InlineData(":0,3", "[::]:0", 3)]
    [InlineData("0.0.0.0:3260,advertise=storage.example:13260", "0.0.0.0:3260", 1, "storage.example:13260")]
    [InlineData("0.0.0.0:3260,2,advertise=[2001:db8::1]:3260", "0.0.0.0:3260", 2, "[2001:db8::1]:3260")]
    public void PortalsAreRead(string text, string endPoint, int group, string? advertise = null)
    {
        var portal = ServeOptions.ParsePortal(text);
        Assert.Equal((endPoint, group, advertise), (portal.EndPoint.ToString(), portal.GroupTag, portal.Advertise));
    }

    [Theory]
    [InlineData("storage")]
    [InlineData("storage:")]
    [InlineData("storage:0")]
    [InlineData(":3260")]
    [InlineData("2001:db8::1:3260")]
    [InlineData("sto rage:3260")]
    public void WhatIsAdvertisedMustBeReachable(string address) =>
        Assert.Contains("is not HOST:PORT", Assert.Throws<UserException>(() => ServeOptions.ParsePortal($"0.0.0.0:3260,advertise={address}")).Message, StringComparison.Ordinal);

    [Theory]
    [InlineData("alice:a secret:with colons", "alice", "a secret:with colons")]
    [InlineData("iqn.1991-05.com.microsoft:host a secret: it is", "iqn.1991-05.com.microsoft:host", "a secret: it is")]
    public void CredentialsAreRead(string text, string name, string secret) => Assert.Equal(new ChapCredential(name, secret), ServeOptions.ParseCredential(text, "--chap"));

    [Theory]
    [InlineData("alice", "write USER:SECRET")]
    [InlineData("alice:", "write USER:SECRET")]
    [InlineData(":secret", "write USER:SECRET")]
    [InlineData("iqn.1991-05.com.microsoft:host", "write a space between it and the secret")]
    [InlineData("iqn.1991-05.com.microsoft:host ", "write USER:SECRET")]
    public void WrongCredentialsAreNot(string text, string why) => Assert.Contains(why, Assert.Throws<UserException>(() => ServeOptions.ParseCredential(text, "--chap")).Message, StringComparison.Ordinal);

    /// <summary>Commands that are printed name an address that can be reached.</summary>
    [Theory]
    [InlineData("127.0.0.1:1", "127.0.0.1:1")]
    [InlineData("0.0.0.0:1", "192.0.2.7:1")]
    [InlineData("[::]:1", "192.0.2.7:1")]
    [InlineData("[::]:1", "[2001:db8::7]:1", "127.0.0.1", "::1", "fe80::1", "2001:db8::7")]
    [InlineData("0.0.0.0:1", "127.0.0.1:1", "127.0.0.1", "2001:db8::7")]
    public void AWildcardIsShownAsAnAddress(string portal, string shown, params string[] own)
    {
        if (own.Length == 0) own = ["127.0.0.1", "2001:db8::7", "192.0.2.7"];
        Assert.Equal(shown, ReachableAddress.Of(IPEndPoint.Parse(portal), () => own.Select(IPAddress.Parse)).ToString());
    }

    [Theory]
    [InlineData("127.0.0.1:port")]
    [InlineData("127.0.0.1:3260,0")]
    [InlineData("no.such.host.invalid:3260")]
    public void WrongPortalsAreNot(string text) => Assert.Throws<UserException>(() => ServeOptions.ParsePortal(text));

    [Theory]
    [InlineData("disk")]
    [InlineData("iqn.2026-11.Local:disk")]
    [InlineData("iqn.2026-11.local:my disk")]
    public void WrongNamesAreNot(string name) => Assert.Throws<UserException>(() => ServeOptions.CheckIqn(name));

    [Theory]
    [InlineData("user:nosuch/x,size=1M,handler=auto", "handler=auto has no subtype 'nosuch'")]
    [InlineData("user:file//x,size=1M,handler=/no/such/program --fast", "handler=/no/such/program: there is no such program")]
    public void HandlersThatCannotBeAreRefused(string spec, string message) =>
        Assert.Contains(message, Assert.Throws<UserException>(() => UserUnitSpec.Parse(spec)).Message, StringComparison.Ordinal);

    [Theory]
    [InlineData("iqn.1993-08.org.debian:01:abc", true)]
    [InlineData("IQN.1991-05.com.Microsoft:Host", true)]
    [InlineData("foo", false)]
    [InlineData("iqn.", false)]
    [InlineData("iqn.a b", false)]
    public void InitiatorsHaveNames(string name, bool isOne)
    {
        if (isOne) Assert.Equal(name, ServeOptions.CheckInitiator(name));
        else Assert.Contains("--allow", Assert.Throws<UserException>(() => ServeOptions.CheckInitiator(name)).Message, StringComparison.Ordinal);
    }
}
