using System.Numerics;

namespace LunKit.Tcmu.Ring;

/// <summary>A piece of the shared region, by its offset from the region's start.</summary>
internal readonly record struct DataRun(int Offset, int Length);

/// <summary>
/// Hands out the blocks of a ring's data area: the lowest that are free, neighbours merged into one run, so that a little load touches
/// little memory. One thread at a time uses it.
/// </summary>
internal sealed class DataArea
{
    public const int BlockBytes = 4096;

    private readonly int _start;
    private readonly ulong[] _used;
    private readonly int _blocks;
    // No word before this one has a free block.
    private int _firstFreeWord;

    /// <param name="start">Where the area begins in the region.</param>
    /// <param name="bytes">Its size, a multiple of <see cref="BlockBytes"/>.</param>
    public DataArea(int start, int bytes)
    {
        _start = start;
        _blocks = bytes / BlockBytes;
        _used = new ulong[(_blocks + 63) / 64];
        if (_blocks % 64 != 0) _used[^1] = ulong.MaxValue << (_blocks % 64);
        FreeBlocks = _blocks;
    }

    /// <summary>Where it begins in the region.</summary>
    public int Start => _start;

    /// <summary>All blocks.</summary>
    public int Blocks => _blocks;

    /// <summary>Blocks that nobody has.</summary>
    public int FreeBlocks { get; private set; }

    /// <summary>One past the highest block that was handed out since the caller gave memory back: what has memory behind it.</summary>
    public int HighestBlock { get; set; }

    public static int BlocksOf(long bytes) => (int)((bytes + BlockBytes - 1) / BlockBytes);

    /// <summary>
    /// Takes blocks for <paramref name="bytes"/>, and appends their runs; the last run ends where the bytes do. False, having taken nothing,
    /// when there are not enough.
    /// </summary>
    public bool TryTake(int bytes, List<DataRun> runs)
    {
        int left = BlocksOf(bytes);
        if (left > FreeBlocks) return false;
        FreeBlocks -= left;
        for (int word = _firstFreeWord, first = runs.Count; left > 0;)
        {
            ulong free = ~_used[word];
            if (free == 0)
            {
                word++;
                continue;
            }
            // A run of free blocks inside of the word; it may go on in the next.
            int bit = BitOperations.TrailingZeroCount(free);
            int length = Math.Min(left, BitOperations.TrailingZeroCount(~(free >> bit)));
            _used[word] |= (length == 64 ? ulong.MaxValue : (1UL << length) - 1) << bit;
            if (word == _firstFreeWord || _used[_firstFreeWord] == ulong.MaxValue) _firstFreeWord = word;
            Append(runs, first, word * 64 + bit, length);
            left -= length;
        }
        // The last run may end inside of its block.
        int slack = BlocksOf(bytes) * BlockBytes - bytes;
        if (slack > 0) runs[^1] = runs[^1] with { Length = runs[^1].Length - slack };
        return true;
    }

    /// <summary>Takes blocks for <paramref name="bytes"/> that lie in one piece; null when there is no such piece free.</summary>
    public DataRun? TryTakePiece(int bytes)
    {
        int wanted = BlocksOf(bytes), start = -1;
        if (wanted > FreeBlocks) return null;
        for (int block = _firstFreeWord * 64, length = 0; block < _blocks; block++)
        {
            ulong used = _used[block >> 6];
            // A word at once where that decides.
            if ((block & 63) == 0 && used == ulong.MaxValue)
            {
                (length, block) = (0, block + 63);
                continue;
            }
            if ((block & 63) == 0 && used == 0 && wanted - length >= 64)
            {
                length += 64;
                block += 63;
            }
            else
            {
                length = (used >> (block & 63) & 1) == 0 ? length + 1 : 0;
            }
            if (length < wanted) continue;
            start = block + 1 - length;
            break;
        }
        if (start < 0) return null;
        for (int block = start; block < start + wanted; block++) _used[block >> 6] |= 1UL << (block & 63);
        FreeBlocks -= wanted;
        HighestBlock = Math.Max(HighestBlock, start + wanted);
        return new DataRun(_start + start * BlockBytes, bytes);
    }

    private void Append(List<DataRun> runs, int first, int block, int count)
    {
        HighestBlock = Math.Max(HighestBlock, block + count);
        var run = new DataRun(_start + block * BlockBytes, count * BlockBytes);
        if (runs.Count > first && runs[^1].Offset + runs[^1].Length == run.Offset) runs[^1] = runs[^1] with { Length = runs[^1].Length + run.Length };
        else runs.Add(run);
    }

    /// <summary>Gives blocks back.</summary>
    public void Free(List<DataRun> runs)
    {
        foreach (var run in runs)
        {
            int block = (run.Offset - _start) / BlockBytes, count = BlocksOf(run.Length);
            FreeBlocks += count;
            for (; count > 0; count--, block++) _used[block >> 6] &= ~(1UL << (block & 63));
            _firstFreeWord = Math.Min(_firstFreeWord, (run.Offset - _start) / BlockBytes >> 6);
        }
    }

    /// <summary>The bytes from here on are nobody's: their memory may be given back.</summary>
    public int UnusedFrom
    {
        get
        {
            int word = _used.Length - 1;
            while (word >= 0 && Used(word) == 0) word--;
            return _start + (word < 0 ? 0 : (word * 64 + 64 - BitOperations.LeadingZeroCount(Used(word))) * BlockBytes);
        }
    }

    private ulong Used(int word) => word == _used.Length - 1 && _blocks % 64 != 0 ? _used[word] & ~(ulong.MaxValue << (_blocks % 64)) : _used[word];

    /// <summary>Blocks that were just taken are given back untouched: no memory came behind them.</summary>
    public void Untake(List<DataRun> runs, int highestBlock)
    {
        Free(runs);
        HighestBlock = highestBlock;
    }
}
