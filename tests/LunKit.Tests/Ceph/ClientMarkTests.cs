using LunKit.Ceph;

namespace LunKit.Tests.Ceph;

/// <summary>Whose lock may be broken: that of a process of this boot that has certainly ended, and nobody else's.</summary>
public class ClientMarkTests
{
    private static ClientMark Own => ClientMark.Own("127.0.0.1:0/17");

    [Fact]
    public void MarksAreReadBack()
    {
        Assert.Equal(Own, ClientMark.Parse(Own.ToString()));
        foreach (string text in (string[])["", "a b c", "boot pid:[1] x 5 address", "boot pid:[1] 5 x address", "boot pid:[1] 5 6 address more"]) Assert.Null(ClientMark.Parse(text));
    }

    [Fact]
    public void WhoLivesIsNotGone() => Assert.False(Own.IsGone);

    [Fact]
    public void WhoHasEndedIsGone()
    {
        using var process = System.Diagnostics.Process.Start("true")!;
        process.WaitForExit();
        Assert.True((Own with { ProcessId = process.Id, Started = 1 }).IsGone);
        // The number is another process's by now.
        Assert.True((Own with { Started = Own.Started - 1 }).IsGone);
    }

    [Fact]
    public void OtherMachinesAndContainersAreNotJudged()
    {
        Assert.False((Own with { Started = 1, Boot = "another" }).IsGone);
        Assert.False((Own with { Started = 1, Namespace = "pid:[1]" }).IsGone);
    }
}
