using LunKit.Linux;
using LunKit.Tcmu.Kernel;

namespace LunKit.Tests.Tcmu;

/// <summary>Which processes may answer the kernel's events, as a folder shows it that looks like <c>/proc</c>.</summary>
public sealed class RepliersTests : IDisposable
{
    private const string Head = "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n";
    private const uint Own = 4711;
    private readonly string _root = Directory.CreateTempSubdirectory("lunkit-proc-").FullName;

    public void Dispose() => Directory.Delete(_root, recursive: true);

    private static string Line(uint port, string groups, int protocol = 16) => $"00000000f13c1e8d {protocol}  {port,-10} {groups} 0        0        0     2        0        20512\n";

    private void Process(string id, string network, params string[] lines)
    {
        Directory.CreateDirectory(Path.Combine(_root, id, "ns"));
        Directory.CreateDirectory(Path.Combine(_root, id, "net"));
        File.CreateSymbolicLink(Path.Combine(_root, id, "ns/net"), $"net:[{network}]");
        File.WriteAllText(Path.Combine(_root, id, "net/netlink"), Head + string.Concat(lines));
    }

    private bool Any(uint group = 5, params string[] others)
    {
        Process("self", "1");
        Process("1", "1", [Line(Own, "00000010"), .. others]);
        return new Repliers(group, Own, _root).Any();
    }

    [Fact]
    public void ThisProcessIsNone() => Assert.False(Any());

    [Fact]
    public void AnotherOneIsSeen() => Assert.True(Any(others: Line(815, "00000010")));

    // Another group, another protocol, the kernel's own.
    [Fact]
    public void OtherSocketsAreNone() => Assert.False(Any(others: [Line(815, "ffffffef"), Line(816, "ffffffff", protocol: 15), Line(0, "00000000")]));

    [Fact]
    public void AnotherNetworkIsSeen()
    {
        Process("2", "2", Line(Own, "00000010"));
        Assert.True(Any());
    }

    /// <summary><c>lunkit attach</c> and <c>--no-replies</c> hear, and do not answer.</summary>
    [Fact]
    public void WhoDoesNotAnswerSaysSo()
    {
        using NetlinkSocket one = Repliers.OpenQuiet(), two = Repliers.OpenQuiet();
        Assert.NotEqual(one.Port, two.Port);
        Assert.False(Any(others: [Line(one.Port, "00000010"), Line(two.Port, "00000010")]));
    }

    [Fact]
    public void ATableThatShowsNotEvenThisProcessSaysNothing()
    {
        Process("self", "1");
        Process("1", "1");
        Assert.Throws<IOException>(() => new Repliers(5, Own, _root).Any());
        Assert.Throws<IOException>(() => new Repliers(33, Own, _root).Any());
    }

    /// <summary>The table of this machine, with sockets of this process.</summary>
    [Fact]
    public void TheKernelShowsSockets()
    {
        using NetlinkSocket own = new(), other = new();
        // The group of the family "nlctrl" itself, which is there without TCMU.
        const uint Group = 16;
        own.Join(Group);
        var repliers = new Repliers(Group, own.Port);
        other.Join(Group);
        Assert.True(repliers.Any());
    }
}
