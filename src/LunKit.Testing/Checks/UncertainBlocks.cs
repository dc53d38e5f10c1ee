using System.Buffers.Binary;

namespace LunKit.Testing.Checks;

/// <summary>
/// What blocks may hold when operations fail. A version is the number of the write that a block is from; 0 are zeroes. Every part of a block
/// tells its version, so that a mixture of two is seen.
/// </summary>
internal sealed class UncertainBlocks(int count, int blockSize)
{
    // What each holds: several versions when it is not known whether a write that failed was done.
    private readonly uint[][] _now = New(count);
    // All that each has held since the last flush: what is lost with a volatile cache leaves one of these.
    private readonly uint[][] _sinceFlush = New(count);

    private static uint[][] New(int count) => [.. Enumerable.Repeat<uint[]>([0], count)];

    public int Count => count;

    /// <summary>They were written; <paramref name="durable"/>: to the medium.</summary>
    public void Written(int block, int blocks, uint version, bool durable)
    {
        Array.Fill(_now, [version], block, blocks);
        for (int i = block; i < block + blocks; i++) _sinceFlush[i] = durable ? [version] : Add(_sinceFlush[i], version);
    }

    /// <summary>A write of them failed: each has it or not.</summary>
    public void MayBeWritten(int block, int blocks, uint version)
    {
        for (int i = block; i < block + blocks; i++) (_now[i], _sinceFlush[i]) = (Add(_now[i], version), Add(_sinceFlush[i], version));
    }

    private static uint[] Add(uint[] versions, uint version) => versions.Contains(version) ? versions : [.. versions, version];

    /// <summary>All of it is on the medium.</summary>
    public void Flushed() => _now.CopyTo(_sinceFlush, 0);

    /// <summary>What was not flushed may be lost.</summary>
    public void FlushFailed() => _sinceFlush.CopyTo(_now, 0);

    /// <summary>The bytes of a version.</summary>
    public byte[] Data(int block, int blocks, uint version)
    {
        var data = new byte[blocks * blockSize];
        for (int i = 0; i < blocks; i++) Fill(data.AsSpan(i * blockSize, blockSize), block + i, version);
        return data;
    }

    private static void Fill(Span<byte> data, int block, uint version)
    {
        if (version == 0) return;
        for (int at = 0; at < data.Length; at += 8)
        {
            BinaryPrimitives.WriteInt32LittleEndian(data[at..], block);
            BinaryPrimitives.WriteUInt32LittleEndian(data[(at + 4)..], version);
        }
    }

    /// <summary>
    /// Fails the check when one of the blocks holds what it cannot hold. False: an acknowledged write is lost, as it can be until it is flushed.
    /// </summary>
    public bool Check(ReadOnlySpan<byte> data, int block, long offset)
    {
        Span<byte> expected = stackalloc byte[blockSize];
        bool isThere = true;
        for (int i = 0; i < data.Length / blockSize; i++)
        {
            var one = data.Slice(i * blockSize, blockSize);
            uint version = BinaryPrimitives.ReadUInt32LittleEndian(one[4..]);
            expected.Clear();
            Fill(expected, block + i, version);
            Contract.Require(one.SequenceEqual(expected), $"the block at {offset + (long)i * blockSize} is a mixture of writes, or another block's");
            Contract.Require(_sinceFlush[block + i].Contains(version), $"the block at {offset + (long)i * blockSize} has write {version}, where only {string.Join(" or ", _sinceFlush[block + i])} can be");
            isThere &= _now[block + i].Contains(version);
        }
        return isThere;
    }
}
