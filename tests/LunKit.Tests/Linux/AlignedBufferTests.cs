using LunKit.Linux;

namespace LunKit.Tests.Linux;

public sealed class AlignedBufferTests
{
    private const int Smallest = 4096, Largest = 1 << 20, KeptBytes = 4 << 20, Kept = 64;

    [Theory]
    [InlineData(1, 4096)]
    [InlineData(4096, 4096)]
    [InlineData(4097, 8192)]
    [InlineData(65536, 65536)]
    [InlineData(700_000, 1 << 20)]
    [InlineData(16 << 20, 1 << 20)]
    public void AShortTransferTakesNoLongBuffer(int length, int bytes) => Assert.Equal(bytes, new AlignedBufferPool(Smallest, Largest, KeptBytes, Kept).Rent(length).Length);

    [Fact]
    public void WhatIsReturnedIsRentedAgain()
    {
        var pool = new AlignedBufferPool(Smallest, Largest, KeptBytes, Kept);
        var buffer = pool.Rent(5000);
        pool.Return(buffer);
        Assert.Equal(8192, pool.KeptBytes);
        Assert.NotSame(buffer, pool.Rent(4096));
        Assert.Same(buffer, pool.Rent(8192));
        Assert.Equal(0, pool.KeptBytes);
    }

    [Theory]
    [InlineData(4096, Kept)]
    [InlineData(1 << 20, 4)]
    public void WhatIsKeptHasALimit(int length, int kept)
    {
        var pool = new AlignedBufferPool(Smallest, Largest, KeptBytes, Kept);
        var all = Enumerable.Range(0, 2 * kept).Select(_ => pool.Rent(length)).ToList();
        foreach (var buffer in all) pool.Return(buffer);
        Assert.Equal((long)kept * length, pool.KeptBytes);
    }
}
