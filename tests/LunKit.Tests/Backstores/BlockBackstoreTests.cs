using LunKit.Backstores;

namespace LunKit.Tests.Backstores;

/// <summary>A block device as it is told, used and given back: on loop devices. The whole contract is the conformance tests' matter.</summary>
public class BlockBackstoreTests
{
    private const int Mega = 1 << 20;

    private static byte[] Noise(int length)
    {
        var data = new byte[length];
        new Random(length).NextBytes(data);
        return data;
    }

    /// <summary>Initiators align to what the device likes.</summary>
    [Fact]
    public async Task TheDevicesOwnShapeIsTold()
    {
        await using var loop = await LoopDevice.CreateAsync(8 * Mega);
        await using var store = BlockBackstore.Open(new() { Path = loop.Path });
        var geometry = store.Geometry;
        Assert.Equal((8L * Mega, 512), (geometry.LengthBytes, geometry.BlockSize));
        int Attribute(string name) => int.Parse(File.ReadAllText($"/sys/class/block/{Path.GetFileName(loop.Path)}/queue/{name}"));
        Assert.Equal(Math.Max(512, Attribute("discard_granularity")), geometry.DiscardGranularity);
        Assert.Equal(Attribute("physical_block_size"), geometry.PhysicalBlockSize);
        Assert.Equal(Attribute("rotational") == 1, geometry.Rotational);
        // The drive may have a cache of its own, and zeroes are the kernel's matter.
        var own = BackstoreFeatures.Concurrent | BackstoreFeatures.Discard | BackstoreFeatures.WriteZeroes | BackstoreFeatures.VolatileCache | BackstoreFeatures.Resize;
        Assert.Equal(own, store.Features & own);
    }

    /// <summary>A device of 512 bytes a block can be served with 4096, down to a single one; what does not fit is refused.</summary>
    [Fact]
    public async Task LargerBlocksMayBeAskedFor()
    {
        await using var loop = await LoopDevice.CreateAsync(4096);
        await using (var store = BlockBackstore.Open(new() { Path = loop.Path, BlockSize = 4096 }))
            Assert.Equal((4096, 4096, 4096L), (store.Geometry.BlockSize, store.Geometry.PhysicalBlockSize, store.Geometry.LengthBytes));
        Assert.Contains("less than one block", Refusal(loop.Path, 8192), StringComparison.Ordinal);
        Assert.Equal(0, OpenFiles.Count(loop.Path));
        await using var large = await LoopDevice.CreateAsync(Mega, sectorSize: 4096);
        Assert.Contains("is no multiple", Refusal(large.Path, 512), StringComparison.Ordinal);
    }

    /// <summary>The operator is told in one line, whatever is wrong with the path.</summary>
    [Theory]
    [InlineData("/dev/null", "is not a block device")]
    [InlineData("/dev/there-is-none", "cannot be opened")]
    public void WhatIsNoDeviceIsRefused(string path, string message) => Assert.Contains(message, Refusal(path, null), StringComparison.Ordinal);

    private static string Refusal(string path, int? block) =>
        Assert.Throws<BackstoreException>(() => BlockBackstore.Open(new() { Path = path, BlockSize = block })).Message;

    /// <summary>Long transfers are made in pieces: each is at its place.</summary>
    [Fact]
    public async Task WhatIsWrittenIsReadBack()
    {
        await using var loop = await LoopDevice.CreateAsync(8 * Mega);
        await using var guard = new BackstoreGuard(BlockBackstore.Open(new() { Path = loop.Path }));
        var (data, read) = (Noise(3 * Mega + 512), new byte[3 * Mega + 512]);
        await guard.WriteAsync(2 * Mega, new DataBuffer(data), WriteOptions.None, default);
        await guard.FlushAsync(default);
        await guard.ReadAsync(2 * Mega, new DataBuffer(read), default);
        Assert.True(read.AsSpan().SequenceEqual(data));
        await guard.DiscardAsync(2 * Mega, Mega, default);
        await guard.WriteZeroesAsync(3 * Mega, Mega, WriteOptions.None, default);
        data.AsSpan(0, 2 * Mega).Clear();
        await guard.ReadAsync(2 * Mega, new DataBuffer(read), default);
        Assert.True(read.AsSpan().SequenceEqual(data));
    }

    /// <summary>UNMAP gives space back; zeroes that are written keep it, so that the next write cannot run out of it.</summary>
    [Fact]
    public async Task ADiscardGivesSpaceBackAndZeroesKeepIt()
    {
        await using var loop = await LoopDevice.CreateAsync(8 * Mega);
        await using var guard = new BackstoreGuard(BlockBackstore.Open(new() { Path = loop.Path }));
        await guard.WriteAsync(0, new DataBuffer(Noise(8 * Mega)), WriteOptions.None, default);
        await guard.FlushAsync(default);
        long full = await loop.AllocatedAsync();
        await guard.WriteZeroesAsync(0, 2 * Mega, WriteOptions.None, default);
        await guard.FlushAsync(default);
        Assert.InRange(await loop.AllocatedAsync(), full - Mega / 2, long.MaxValue);
        await guard.DiscardAsync(4 * Mega, 2 * Mega, default);
        await guard.FlushAsync(default);
        Assert.InRange(await loop.AllocatedAsync(), 0, full - Mega);
    }

    /// <summary>It is served by one at a time, and when that one has ended nothing keeps the device busy.</summary>
    [Fact]
    public async Task AfterTheDisposalTheDeviceIsFree()
    {
        await using var loop = await LoopDevice.CreateAsync(Mega);
        await using (BlockBackstore.Open(new() { Path = loop.Path }))
        {
            Assert.Equal(BackstoreError.InUse, Assert.Throws<BackstoreException>(() => BlockBackstore.Open(new() { Path = loop.Path })).Error);
            Assert.Equal(2, OpenFiles.Count(loop.Path));
        }
        Assert.Equal(0, OpenFiles.Count(loop.Path));
        await using var again = BlockBackstore.Open(new() { Path = loop.Path });
    }
}
