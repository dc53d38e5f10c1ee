using System.Buffers.Binary;

namespace LunKit.Tests.LogicalUnits;

/// <summary>Parameter lists of POPULATE TOKEN and WRITE USING TOKEN (SBC-4 5.13, 5.57).</summary>
internal static class TokenLists
{
    private const int PopulateHeader = 16, WriteHeader = 536;

    public static byte[] Populate(params (long Lba, uint Count)[] ranges) => Ranges(PopulateHeader, ranges);

    public static byte[] Write(byte[] token, long offset, params (long Lba, uint Count)[] ranges)
    {
        var list = Ranges(WriteHeader, ranges);
        BinaryPrimitives.WriteInt64BigEndian(list.AsSpan(8), offset);
        token.CopyTo(list, 16);
        return list;
    }

    private static byte[] Ranges(int header, (long Lba, uint Count)[] ranges)
    {
        var list = new byte[header + 16 * ranges.Length];
        BinaryPrimitives.WriteUInt16BigEndian(list, (ushort)(list.Length - 2));
        BinaryPrimitives.WriteUInt16BigEndian(list.AsSpan(header - 2), (ushort)(16 * ranges.Length));
        for (int i = 0; i < ranges.Length; i++)
        {
            BinaryPrimitives.WriteInt64BigEndian(list.AsSpan(header + 16 * i), ranges[i].Lba);
            BinaryPrimitives.WriteUInt32BigEndian(list.AsSpan(header + 16 * i + 8), ranges[i].Count);
        }
        return list;
    }
}
