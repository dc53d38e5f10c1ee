using System.Numerics;
using LunKit.Iscsi.Pdus;

namespace LunKit.Tests.Iscsi;

public class Crc32CTests
{
    /// <summary>The examples of RFC 3720 B.4 (the bytes in the order of the wire).</summary>
    [Fact]
    public void KnownSums()
    {
        Assert.Equal(0x8A9136AAu, Crc32C.Compute(new byte[32]));
        Assert.Equal(0x62A8AB43u, Crc32C.Compute([.. Enumerable.Repeat((byte)0xFF, 32)]));
        Assert.Equal(0x46DD794Eu, Crc32C.Compute([.. Enumerable.Range(0, 32).Select(i => (byte)i)]));
        Assert.Equal(0xE3069283u, Crc32C.Compute("123456789"u8));
    }

    /// <summary>Three streams at once give what one byte after the other gives, at every length and wherever it is cut.</summary>
    [Fact]
    public void StreamsJoinToTheSameSum()
    {
        var random = new Random(1);
        foreach (int length in (int[])[0, 1, 767, 768, 769, 4096, 12287, 12288, 12289, 13057, 65536, 262144])
        {
            var data = new byte[length];
            random.NextBytes(data);
            uint expected = Crc32C.Seed;
            foreach (byte b in data) expected = BitOperations.Crc32C(expected, b);
            Assert.Equal(~expected, Crc32C.Compute(data));
            int cut = random.Next(length + 1);
            Assert.Equal(expected, Crc32C.Append(Crc32C.Append(Crc32C.Seed, data.AsSpan(0, cut)), data.AsSpan(cut)));
        }
    }
}
