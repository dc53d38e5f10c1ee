using System.Buffers.Binary;

namespace LunKit.Tests.LogicalUnits;

/// <summary>PERSISTENT RESERVE OUT: its CDB, and its parameter list (SPC-5 6.16).</summary>
internal static class ReserveOut
{
    public static byte[] List(ulong key, ulong actionKey, byte flags = 0)
    {
        var list = new byte[24];
        BinaryPrimitives.WriteUInt64BigEndian(list, key);
        BinaryPrimitives.WriteUInt64BigEndian(list.AsSpan(8), actionKey);
        list[20] = flags;
        return list;
    }

    public static string Out(int action, int type = 0) => $"5F {action:X2} {type:X2} 0000 00000018 00";
}
