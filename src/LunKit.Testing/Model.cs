using LunKit.Backstores;

namespace LunKit.Testing;

/// <summary>
/// What a range of the backstore must hold, and random operations that are done to both. One thread at a time; several models cover different
/// ranges.
/// </summary>
internal sealed class Model(CheckedStore store, long start, int length, ContractOptions options, int seed)
{
    private readonly Random _random = new(seed);
    private readonly byte[] _bytes = new byte[length];
    private int _step;

    public ReadOnlySpan<byte> Bytes => _bytes;

    /// <summary>Fills the range, so that both sides begin alike.</summary>
    public async Task FillAsync(CancellationToken stop)
    {
        _random.NextBytes(_bytes);
        for (int at = 0; at < length; at += options.MaxTransferBytes)
        {
            int count = Math.Min(options.MaxTransferBytes, length - at);
            await store.WriteAsync(start + at, new DataBuffer(_bytes.AsSpan(at, count).ToArray()), WriteOptions.None, stop).ConfigureAwait(false);
        }
    }

    /// <summary>One random operation.</summary>
    public async Task StepAsync(CancellationToken stop)
    {
        _step++;
        int block = store.Geometry.BlockSize, unit = _random.Next(2) == 0 ? block : Math.Max(block, Math.Min(4096, length / block * block));
        int offset = _random.Next(length / unit) * unit;
        int longest = _random.Next(4) == 0 ? options.MaxTransferBytes : 16 * 1024;
        int count = Math.Min(length - offset, (1 + _random.Next(Math.Max(1, longest / unit))) * unit);
        var range = _bytes.AsMemory(offset, count);
        var fua = _random.Next(8) == 0 ? WriteOptions.ForceUnitAccess : WriteOptions.None;
        switch (_random.Next(12))
        {
            case 0:
                await store.DiscardAsync(start + offset, count, stop).ConfigureAwait(false);
                range.Span.Clear();
                break;
            case 1:
                await store.WriteZeroesAsync(start + offset, count, fua, stop).ConfigureAwait(false);
                range.Span.Clear();
                break;
            case 2:
                var pattern = new byte[block];
                _random.NextBytes(pattern);
                await store.WriteSameAsync(start + offset, count, new DataBuffer(pattern), fua, stop).ConfigureAwait(false);
                for (int at = 0; at < count; at += block) pattern.CopyTo(range.Span[at..]);
                break;
            case 3:
                await CompareAndWriteAsync(offset, Math.Min(count, 16 * block), fua, stop).ConfigureAwait(false);
                break;
            case 4:
                await store.FlushAsync(stop).ConfigureAwait(false);
                break;
            case 5:
                await CheckExtentAsync(offset, count, stop).ConfigureAwait(false);
                break;
            case < 9:
                _random.NextBytes(range.Span);
                await store.WriteAsync(start + offset, Cut(range.ToArray()), fua, stop).ConfigureAwait(false);
                break;
            default:
                await CheckAsync(offset, count, stop).ConfigureAwait(false);
                break;
        }
    }

    private async Task CompareAndWriteAsync(int offset, int count, WriteOptions fua, CancellationToken stop)
    {
        var expected = _bytes.AsSpan(offset, count).ToArray();
        var data = new byte[count];
        _random.NextBytes(data);
        int wrong = _random.Next(2) == 0 ? _random.Next(count) : -1;
        if (wrong >= 0) expected[wrong] ^= 0x5A;
        long at = await store.CompareAndWriteAsync(start + offset, Cut(expected), Cut(data), fua, stop).ConfigureAwait(false);
        Contract.Require(at == wrong, $"step {_step}: compare and write at {start + offset}+{count} says {at}, where the first difference is at {wrong} (-1: none)");
        if (wrong < 0) data.CopyTo(_bytes, offset);
    }

    private async Task CheckExtentAsync(int offset, int count, CancellationToken stop)
    {
        var extent = await store.ExtentAsync(start + offset, count, stop).ConfigureAwait(false);
        Contract.Require(extent.LengthBytes >= 1, $"step {_step}: an extent at {start + offset} of {extent.LengthBytes} bytes");
        int run = (int)Math.Min(extent.LengthBytes, count);
        Contract.Require(extent.Allocated || !_bytes.AsSpan(offset, run).ContainsAnyExcept((byte)0), $"step {_step}: {start + offset}+{run} is said not to be allocated, and holds data");
    }

    /// <summary>Compares some of the range.</summary>
    private async Task CheckAsync(int offset, int count, CancellationToken stop)
    {
        var data = new byte[count];
        // What is not read would stand out.
        data.AsSpan().Fill(0xA5);
        await store.ReadAsync(start + offset, Cut(data), stop).ConfigureAwait(false);
        int at = data.AsSpan().CommonPrefixLength(_bytes.AsSpan(offset, count));
        Contract.Require(at == count, $"step {_step}: byte {start + offset + at} is {(at < count ? data[at] : 0):X2}h, not {(at < count ? _bytes[offset + at] : 0):X2}h (read {start + offset}+{count}, seed {seed})");
    }

    /// <summary>Compares the whole range.</summary>
    public async Task CheckAllAsync(CancellationToken stop)
    {
        for (int at = 0; at < length; at += options.MaxTransferBytes) await CheckAsync(at, Math.Min(options.MaxTransferBytes, length - at), stop).ConfigureAwait(false);
    }

    /// <summary>The bytes in one piece of memory, or in a few of any length.</summary>
    private DataBuffer Cut(byte[] bytes)
    {
        int pieces = _random.Next(4);
        if (pieces == 0) return new DataBuffer(bytes);
        var cuts = Enumerable.Range(0, pieces).Select(_ => _random.Next(bytes.Length)).Append(0).Append(bytes.Length).Distinct().Order().ToList();
        var segments = new Memory<byte>[cuts.Count - 1];
        for (int i = 0; i < segments.Length; i++) segments[i] = bytes.AsMemory(cuts[i], cuts[i + 1] - cuts[i]);
        return new DataBuffer(segments, segments.Length);
    }
}
