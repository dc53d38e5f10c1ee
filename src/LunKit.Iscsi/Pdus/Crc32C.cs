using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.InteropServices;

namespace LunKit.Iscsi.Pdus;

/// <summary>
/// CRC32C of the header and data digests (RFC 7143 13.1), by the processor's instruction where it has one. The instruction takes
/// three cycles and one can begin each cycle, so long data is taken in three streams whose sums are joined.
/// </summary>
internal static class Crc32C
{
    public const uint Seed = 0xFFFF_FFFF;

    // Bytes of one of the three streams: long enough that joining costs little, short enough for the segments that matter.
    private const int LongStream = 4096, ShortStream = 256;

    private static readonly uint[] s_afterLong = ZeroesTable(LongStream), s_afterShort = ZeroesTable(ShortStream);

    public static uint Append(uint crc, ReadOnlySpan<byte> data)
    {
        crc = AppendThreefold(crc, ref data, LongStream, s_afterLong);
        crc = AppendThreefold(crc, ref data, ShortStream, s_afterShort);
        var words = MemoryMarshal.Cast<byte, ulong>(data);
        foreach (ulong word in words) crc = BitOperations.Crc32C(crc, word);
        foreach (byte b in data[(words.Length * 8)..]) crc = BitOperations.Crc32C(crc, b);
        return crc;
    }

    public static uint Compute(ReadOnlySpan<byte> data) => ~Append(Seed, data);

    /// <summary>Writes the digest of <paramref name="data"/> as it goes on the wire.</summary>
    public static void Write(ReadOnlySpan<byte> data, Span<byte> destination) =>
        BinaryPrimitives.WriteUInt32LittleEndian(destination, Compute(data));

    public static bool Matches(ReadOnlySpan<byte> data, ReadOnlySpan<byte> digest) =>
        BinaryPrimitives.ReadUInt32LittleEndian(digest) == Compute(data);

    private static uint AppendThreefold(uint crc, ref ReadOnlySpan<byte> data, int stream, uint[] afterStream)
    {
        for (; data.Length >= 3 * stream; data = data[(3 * stream)..])
        {
            var first = MemoryMarshal.Cast<byte, ulong>(data[..stream]);
            var second = MemoryMarshal.Cast<byte, ulong>(data.Slice(stream, stream))[..first.Length];
            var third = MemoryMarshal.Cast<byte, ulong>(data.Slice(2 * stream, stream))[..first.Length];
            uint b = 0, c = 0;
            for (int i = 0; i < first.Length; i++)
            {
                crc = BitOperations.Crc32C(crc, first[i]);
                b = BitOperations.Crc32C(b, second[i]);
                c = BitOperations.Crc32C(c, third[i]);
            }
            // The sum of AB is the sum of A moved past the length of B, plus the sum of B begun at zero: the CRC is linear.
            crc = MovePast(afterStream, MovePast(afterStream, crc) ^ b) ^ c;
        }
        return crc;
    }

    private static uint MovePast(uint[] table, uint crc) =>
        table[crc & 0xFF] ^ table[0x100 + (crc >> 8 & 0xFF)] ^ table[0x200 + (crc >> 16 & 0xFF)] ^ table[0x300 + (crc >> 24)];

    /// <summary>What <paramref name="count"/> zero bytes make of each byte of a sum: four tables of 256, lowest byte first.</summary>
    private static uint[] ZeroesTable(int count)
    {
        var table = new uint[4 * 256];
        for (int bit = 0; bit < 32; bit++)
        {
            uint crc = 1u << bit;
            for (int i = 0; i < count / 8; i++) crc = BitOperations.Crc32C(crc, 0UL);
            int at = bit / 8 * 256, weight = 1 << bit % 8;
            for (int value = 0; value < 256; value++)
                if ((value & weight) != 0) table[at + value] ^= crc;
        }
        return table;
    }
}
