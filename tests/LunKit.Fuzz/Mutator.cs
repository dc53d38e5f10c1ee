namespace LunKit.Fuzz;

/// <summary>Makes inputs from a corpus: flips, replacements, interesting numbers, cuts, splices. The seed decides all.</summary>
internal sealed class Mutator(IReadOnlyList<byte[]> corpus, int seed)
{
    private static readonly byte[] s_interesting = [0x00, 0x01, 0x7F, 0x80, 0xFF, 0x10, 0x20, 0x40];
    private readonly Random _random = new(seed);

    public byte[] Next()
    {
        var input = corpus.Count == 0 ? new byte[_random.Next(1, 64)] : (byte[])corpus[_random.Next(corpus.Count)].Clone();
        for (int i = _random.Next(1, 8); i > 0; i--) input = Change(input);
        return input;
    }

    private byte[] Change(byte[] input)
    {
        if (input.Length == 0) return [(byte)_random.Next(256)];
        int at = _random.Next(input.Length);
        switch (_random.Next(7))
        {
            case 0:
                input[at] ^= (byte)(1 << _random.Next(8));
                return input;
            case 1:
                input[at] = (byte)_random.Next(256);
                return input;
            case 2:
                input[at] = s_interesting[_random.Next(s_interesting.Length)];
                return input;
            case 3:
                return input[..at];
            case 4:
                return [.. input[..at], (byte)_random.Next(256), .. input[at..]];
            case 5 when corpus.Count > 0:
                var other = corpus[_random.Next(corpus.Count)];
                return [.. input[..at], .. other[Math.Min(at, other.Length)..]];
            default:
                for (int i = at; i < Math.Min(input.Length, at + 4); i++) input[i] = 0xFF;
                return input;
        }
    }
}
