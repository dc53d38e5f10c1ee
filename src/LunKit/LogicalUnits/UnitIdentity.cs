using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;

namespace LunKit.LogicalUnits;

/// <summary>The names of a logical unit, which stay the same for its life and over restarts.</summary>
public sealed record UnitIdentity
{
    /// <summary>What messages call the unit, e.g. its path.</summary>
    public required string Name { get; init; }

    /// <summary>Identity from which serial number, NAA and UUID come.</summary>
    public required Guid Id { get; init; }

    /// <summary>T10 vendor identification, at most 8 characters.</summary>
    public string Vendor { get; init; } = "LUNKIT";

    /// <summary>Product identification, at most 16 characters.</summary>
    public string Product { get; init; } = "Virtual Disk";

    /// <summary>Product revision level, at most 4 characters.</summary>
    public string Revision { get; init; } = "0001";

    /// <summary>Unit serial number (VPD page 80h); follows from the identity unless somebody else gives it.</summary>
    public string Serial
    {
        get => field ?? Id.ToString("N");
        init;
    }

    /// <summary>
    /// NAA name, 8 or 16 bytes (SPC-5 7.7.6.6): the locally assigned one, unless somebody who has an OUI gives another.
    /// </summary>
    public ReadOnlyMemory<byte> Naa
    {
        get => field.IsEmpty ? LocalNaa() : field;
        init;
    }

    /// <summary>
    /// NAA 6 (IEEE registered extended) is for holders of an OUI; a locally assigned NAA 3 name needs none (SPC-5 7.8.6.6.4).
    /// </summary>
    private byte[] LocalNaa()
    {
        var naa = new byte[8];
        BinaryPrimitives.WriteUInt64BigEndian(naa, 0x3UL << 60 | BitConverter.ToUInt64(Id.ToByteArray(), 8) & 0x0FFF_FFFF_FFFF_FFFF);
        return naa;
    }

    /// <summary>An identity that is always the same for the same text.</summary>
    public static Guid IdOf(string text) => new(SHA256.HashData(Encoding.UTF8.GetBytes(text)).AsSpan(0, 16));
}
