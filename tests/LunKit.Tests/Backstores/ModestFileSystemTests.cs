using LunKit.Backstores;
using Microsoft.Win32.SafeHandles;

namespace LunKit.Tests.Backstores;

/// <summary>An image on a file system that has no holes, or maps them in blocks of its own.</summary>
public sealed class ModestFileSystemTests : IDisposable
{
    private const int Mega = 1 << 20;

    private readonly string _path = Path.Combine(Path.GetTempPath(), $"lunkit-modest-{Guid.NewGuid():N}.img");

    public void Dispose() => File.Delete(_path);

    /// <summary>No holes can be made; where there are some is as the test says.</summary>
    private sealed class ModestImage(SafeFileHandle file) : ImageFile(file)
    {
        public List<(long Offset, int Length)> Writes { get; } = [];
        public (bool IsData, long End) Run { get; set; }
        public (long Offset, long Limit) Asked { get; private set; }

        public override void Write(long offset, DataBuffer data)
        {
            Writes.Add((offset, data.Length));
            base.Write(offset, data);
        }

        public override bool PunchHole(long offset, long length) => false;

        public override bool ZeroRange(long offset, long length) => false;

        public override (bool IsData, long End) Extent(long offset, long limit)
        {
            Asked = (offset, limit);
            return Run;
        }
    }

    private (BackstoreGuard Guard, ModestImage Image) Open(int block = 512)
    {
        var file = File.OpenHandle(_path, FileMode.Create, FileAccess.ReadWrite, FileShare.ReadWrite);
        RandomAccess.SetLength(file, 4 * Mega);
        var image = new ModestImage(file);
        var geometry = new BackstoreGeometry(4 * Mega) { BlockSize = block };
        return (new BackstoreGuard(new FileBackstore(image, _path, geometry, direct: null, isInMemory: false)), image);
    }

    /// <summary>What cannot be freed is zeroed, for it has to read as zeroes; in pieces, and no more than that.</summary>
    [Theory]
    [InlineData(true, 4096)]
    [InlineData(false, 4096)]
    [InlineData(true, Mega)]
    [InlineData(true, 2 * Mega + 512)]
    [InlineData(false, 2 * Mega + 512)]
    public async Task WhatCannotBeFreedIsZeroed(bool discards, int length)
    {
        var (guard, image) = Open();
        await using var _ = guard;
        var (data, read) = (new byte[4 * Mega], new byte[4 * Mega]);
        data.AsSpan().Fill(0xA5);
        await guard.WriteAsync(0, new DataBuffer(data), WriteOptions.None, default);
        image.Writes.Clear();
        if (discards) await guard.DiscardAsync(512, length, default);
        else await guard.WriteZeroesAsync(512, length, WriteOptions.None, default);
        data.AsSpan(512, length).Clear();
        await guard.ReadAsync(0, new DataBuffer(read), default);
        Assert.True(read.AsSpan().SequenceEqual(data));
        Assert.Equal((length + Mega - 1) / Mega, image.Writes.Count);
        Assert.Equal(length, image.Writes.Sum(w => (long)w.Length));
        Assert.All(image.Writes, w => Assert.InRange(w.Length, 1, Mega));
    }

    /// <summary>A block is told to be a hole only when all of it is one (GET LBA STATUS): the file system's blocks may be other ones.</summary>
    [Theory]
    [InlineData(true, 8192, 4096, true)] // data to the end of a block
    [InlineData(true, 8193, 8192, true)] // and into the next
    [InlineData(true, 4097, 4096, true)]
    [InlineData(false, 12288, 8192, false)]
    [InlineData(false, 12287, 4096, false)] // a hole whose last block is partly data
    [InlineData(false, 8191, 4096, true)] // no whole block of it is a hole
    [InlineData(true, 65536, 16384, true)] // more than was asked for
    [InlineData(false, 65536, 16384, false)]
    public async Task APartOfABlockIsAllocated(bool isData, long end, long length, bool allocated)
    {
        var (guard, image) = Open(4096);
        await using var _ = guard;
        image.Run = (isData, end);
        Assert.Equal(new BackstoreExtent(length, allocated), await guard.ExtentAsync(4096, 16384, default));
        Assert.Equal((4096L, 20480L), image.Asked);
    }
}
