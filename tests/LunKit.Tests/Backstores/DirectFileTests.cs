using LunKit.Backstores;
using LunKit.Linux;
using Microsoft.Win32.SafeHandles;

namespace LunKit.Tests.Backstores;

/// <summary>The way past the page cache, on its own.</summary>
public sealed class DirectFileTests : IDisposable
{
    private const int Mega = 1 << 20;

    private readonly string _path = Path.Combine(Path.GetTempPath(), $"lunkit-direct-{Guid.NewGuid():N}.img");
    private readonly SafeFileHandle _file;

    public DirectFileTests() => _file = File.OpenHandle(_path, FileMode.CreateNew, FileAccess.ReadWrite, FileShare.ReadWrite);

    public void Dispose()
    {
        _file.Dispose();
        File.Delete(_path);
    }

    private static byte[] Noise(int length)
    {
        var data = new byte[length];
        new Random(length).NextBytes(data);
        return data;
    }

    /// <summary>The kernel refuses a direct transfer of anything but whole aligned units.</summary>
    [Theory]
    [InlineData(4096, 0, 4096, true)]
    [InlineData(4096, 8192, 12288, true)]
    [InlineData(4096, 512, 4096, false)]
    [InlineData(4096, 4096, 512, false)]
    [InlineData(4096, 2048, 2048, false)]
    [InlineData(4096, 4097, 4096, false)]
    [InlineData(4096, 4096, 4095, false)]
    [InlineData(512, 512, 512, true)]
    [InlineData(512, 256, 512, false)]
    [InlineData(512, 512, 513, false)]
    public void OnlyWholeUnitsAreDirect(int unit, long offset, int length, bool takes)
    {
        using var direct = new DirectFile(_file, readOnly: false, unit);
        Assert.Equal(takes, direct.Takes(offset, length));
    }

    /// <summary>What is longer than its memory goes in pieces, each to its place; and who reads through the page cache sees it.</summary>
    [Fact]
    public void LongTransfersGoInPieces()
    {
        using var direct = new DirectFile(_file, readOnly: false);
        var (data, cached, read) = (Noise(3 * Mega + 8192), new byte[3 * Mega + 8192], new byte[3 * Mega + 8192]);
        direct.Write(4 * Mega, new DataBuffer(data));
        FileDescriptor.Read(_file, 4 * Mega, cached, onlyCached: false);
        Assert.True(cached.AsSpan().SequenceEqual(data));
        direct.Read(4 * Mega, new DataBuffer(read));
        Assert.True(read.AsSpan().SequenceEqual(data));
    }

    /// <summary>Zeroes are written over their range, and over nothing else.</summary>
    [Theory]
    [InlineData(4096)]
    [InlineData(Mega)]
    [InlineData(2 * Mega + 4096)]
    public void ZeroesFillTheirRange(int length)
    {
        using var direct = new DirectFile(_file, readOnly: false);
        var (data, read) = (Noise(4 * Mega), new byte[4 * Mega]);
        direct.Write(0, new DataBuffer(data));
        direct.WriteZeroes(8192, length);
        data.AsSpan(8192, length).Clear();
        FileDescriptor.Read(_file, 0, read, onlyCached: false);
        Assert.True(read.AsSpan().SequenceEqual(data));
        Assert.Equal(4 * Mega, RandomAccess.GetLength(_file));
    }

    /// <summary>A read on the thread of a connection takes what the page cache has, and leaves the rest to who may wait for the medium.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void WhatIsNotCachedIsNotReadAtOnce(int segments)
    {
        Assert.SkipWhen(new DriveInfo(Path.GetTempPath()).DriveFormat is "tmpfs" or "ramfs", "needs a folder for temporary files with a medium");
        using (var direct = new DirectFile(_file, readOnly: false)) direct.Write(0, new DataBuffer(Noise(64 * 1024)));
        using var image = new ImageFile(_file);
        var memory = new byte[8192];
        var data = segments == 1 ? new DataBuffer(memory) : new DataBuffer([memory.AsMemory(0, 512), memory.AsMemory(512)], 2);
        var expected = Noise(64 * 1024).AsSpan(0, 8192);
        // Newer kernels begin to read it all the same, and have it when the medium is quick enough: then it is right.
        if (image.ReadNow(0, data)) Assert.True(memory.AsSpan().SequenceEqual(expected));
        memory.AsSpan().Clear();
        image.Read(0, data);
        Assert.True(memory.AsSpan().SequenceEqual(expected));
        memory.AsSpan().Clear();
        Assert.True(image.ReadNow(0, data));
        Assert.True(memory.AsSpan().SequenceEqual(expected));
    }

    /// <summary>An image that is closed can be unmounted, direct or not.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task AfterTheDisposalNothingHoldsTheImage(bool isDirect)
    {
        string path = Path.Combine(Path.GetTempPath(), $"lunkit-direct-{Guid.NewGuid():N}.img");
        try
        {
            await using (FileBackstore.Open(new() { Path = path, SizeBytes = Mega, Direct = isDirect }))
                Assert.Equal(isDirect ? 2 : 1, OpenFiles.Count(path));
            Assert.Equal(0, OpenFiles.Count(path));
        }
        finally
        {
            File.Delete(path);
        }
    }
}
