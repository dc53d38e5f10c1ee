using LunKit.Iscsi.Sessions;

namespace LunKit.Tests.Iscsi;

/// <summary>Tasks between two connections (RFC 7143 7.2): each is handed over at most once, or ended by its keeper.</summary>
public class TaskCustodyTests
{
    [Fact]
    public void AnAnswerStaysUntilItIsClaimed()
    {
        var (custody, kept, answer) = (new TaskCustody(), new KeptTask(5, null!), new SentResponse { Tag = 5 });
        custody.Keep(kept);
        Assert.Equal([kept], custody.Of(null!));
        Assert.Null(custody.Answered(kept, answer));
        Assert.True(kept.IsReady);
        Assert.Null(kept.Task);
        Assert.Same(answer, kept.Response);
        Assert.Equal([kept], custody.Of(null!));
        Assert.True(custody.Withdraw(kept, unclaimed: false));
        Assert.False(custody.Withdraw(kept, unclaimed: false));
        Assert.Empty(custody.Of(null!));
    }

    /// <summary>One that was aborted has no answer, and nobody gets it.</summary>
    [Fact]
    public void WithoutAnAnswerItIsOver()
    {
        var (custody, kept) = (new TaskCustody(), new KeptTask(5, null!));
        custody.Keep(kept);
        Assert.Null(custody.Answered(kept, null));
        Assert.Empty(custody.Of(null!));
        Assert.Equal(Reassignment.NoSuchTask, custody.Claim(5, null!, 0, out var task));
        Assert.Null(task);
    }

    /// <summary>A tag that is used again is another task.</summary>
    [Fact]
    public void AnotherTaskOfTheTagIsNotWithdrawn()
    {
        var (custody, old, kept) = (new TaskCustody(), new KeptTask(5, null!), new KeptTask(5, null!));
        custody.Keep(old);
        custody.Keep(kept);
        Assert.False(custody.Withdraw(old, unclaimed: false));
        Assert.True(custody.Withdraw(kept, unclaimed: false));
    }
}
