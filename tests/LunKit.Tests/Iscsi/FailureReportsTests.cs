using LunKit.Iscsi;
using Microsoft.Extensions.Time.Testing;

namespace LunKit.Tests.Iscsi;

public class FailureReportsTests
{
    [Fact]
    public void OneInTenSecondsIsReported()
    {
        var time = new FakeTimeProvider();
        var reports = new FailureReports(time);
        Assert.True(reports.IsDue(out int more));
        Assert.Equal(0, more);
        for (int i = 0; i < 99; i++)
        {
            time.Advance(TimeSpan.FromMilliseconds(100));
            Assert.False(reports.IsDue(out _));
        }
        time.Advance(TimeSpan.FromMilliseconds(100));
        Assert.True(reports.IsDue(out more));
        Assert.Equal(99, more);
        time.Advance(TimeSpan.FromSeconds(60));
        Assert.True(reports.IsDue(out more));
        Assert.Equal(0, more);
    }
}
