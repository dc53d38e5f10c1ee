using LunKit.LogicalUnits;

namespace LunKit.Tests.LogicalUnits.Tasks;

/// <summary>ROD tokens (SPC-5 5.18.6): a write revokes those of its blocks, and only those.</summary>
public class CopyTokenTests
{
    [Theory]
    [InlineData(9, 10, false)]
    [InlineData(9, 11, true)]
    [InlineData(10, 11, true)]
    [InlineData(19, 20, true)]
    [InlineData(20, 30, false)]
    [InlineData(0, 100, true)]
    [InlineData(29, 30, false)]
    [InlineData(30, 31, true)]
    [InlineData(31, 32, false)]
    [InlineData(12, 12, false)]
    public void AWriteRevokesWhatItTouches(long start, long end, bool revoked)
    {
        var tokens = new CopyTokens();
        var token = tokens.Add([(10, 10), (30, 1)], 60);
        var other = tokens.Add([(1000, 1)], 60);
        tokens.Revoke(start, end);
        Assert.Equal(!revoked, tokens.Contains(token));
        Assert.Equal(revoked ? null : token, tokens.Find(token.Id));
        Assert.Same(other, tokens.Find(other.Id));
    }

    [Fact]
    public void TheOldestGoesFirst()
    {
        var tokens = new CopyTokens();
        var all = Enumerable.Range(0, CopyTokens.MaxTokens).Select(i => tokens.Add([(i, 1)], 60)).ToList();
        Assert.All(all, t => Assert.True(tokens.Contains(t)));
        tokens.Add([(0, 1)], 60);
        Assert.False(tokens.Contains(all[0]));
        Assert.True(tokens.Contains(all[1]));
        Assert.True(tokens.Contains(all[^1]));
    }

    [Fact]
    public void TheyExpireWhenTheyAreNotUsed()
    {
        var tokens = new CopyTokens();
        var token = tokens.Add([(0, 1)], 60);
        token.LastUsed -= 59 * TimeProvider.System.TimestampFrequency;
        Assert.False(token.IsExpired);
        Assert.Same(token, tokens.Find(token.Id));
        // It was used just now.
        token.LastUsed -= 30 * TimeProvider.System.TimestampFrequency;
        Assert.Same(token, tokens.Find(token.Id));
        token.LastUsed -= 61 * TimeProvider.System.TimestampFrequency;
        Assert.Null(tokens.Find(token.Id));
        // And leaves room.
        tokens.Add([(0, 1)], 60);
        Assert.False(tokens.Contains(token));
    }

    [Fact]
    public void OnlyTheWholeTokenIsOne()
    {
        var tokens = new CopyTokens();
        var token = tokens.Add([(0, 1)], 60);
        var wrong = (byte[])token.Id.Clone();
        wrong[^1] ^= 1;
        Assert.Null(tokens.Find(wrong));
        Assert.NotEqual(token.Id, tokens.Add([(0, 1)], 60).Id);
        tokens.Remove(token);
        Assert.Null(tokens.Find(token.Id));
        Assert.False(tokens.Contains(token));
    }
}
