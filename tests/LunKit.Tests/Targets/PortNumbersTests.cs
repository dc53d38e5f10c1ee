using LunKit.Targets;

namespace LunKit.Tests.Targets;

public sealed class PortNumbersTests
{
    [Fact]
    public void APortKeepsItsNumberAndNoTwoShareOne()
    {
        var numbers = new PortNumbers(new Dictionary<string, int> { ["iqn.test:a,t,0x0001"] = 5 });
        Assert.Equal(5, numbers.Of("iqn.test:A,t,0x0001", 1));
        Assert.Equal(1, numbers.Of("iqn.test:b,t,0x0001", 1));
        Assert.Equal(2, numbers.Of("iqn.test:c,t,0x0001", 1));
        Assert.Equal(3, numbers.Of("iqn.test:d,t,0x0005", 5));
        Assert.Equal(70, numbers.Of("iqn.test:e,t,0x0046", 70));
        Assert.Equal(1, numbers.Of("iqn.test:b,t,0x0001", 9));
        Assert.Equal([1, 2, 3, 5, 70], numbers.All.Values.Order());
        // As after a restart.
        Assert.Equal(2, new PortNumbers(numbers.All).Of("iqn.test:c,t,0x0001", 1));
    }

    [Theory]
    [InlineData(0, 1, "0 is no relative target port identifier")]
    [InlineData(1, 65536, "65536 is no relative target port identifier")]
    [InlineData(7, 7, "7 is another port's")]
    public void WrongNumbersAreRefused(int a, int b, string why)
    {
        var e = Assert.Throws<ArgumentException>(() => new PortNumbers(new Dictionary<string, int> { ["a"] = a, ["b"] = b }));
        Assert.Contains(why, e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void NumbersRunOut()
    {
        var numbers = new PortNumbers();
        for (int i = 1; i <= 65535; i++) Assert.Equal(i, numbers.Of($"p{i}", 1));
        Assert.Throws<InvalidOperationException>(() => numbers.Of("one more", 1));
        Assert.Equal(17, numbers.Of("p17", 1));
    }
}
