using LunKit.LogicalUnits;

namespace LunKit.Tcmu.Devices;

/// <summary>
/// The names of a device of the kernel's target, as the kernel and its other handlers make them: a disk that changes its handler keeps
/// its names, and so its paths.
/// </summary>
internal static class DeviceIdentity
{
    private const int NaaBytes = 16;

    public static UnitIdentity Of(string device, DeviceDescription snapshot)
    {
        string serial = snapshot.UnitSerial;
        var identity = new UnitIdentity
        {
            Name = device,
            Id = Guid.TryParse(serial, out var id) ? id : UnitIdentity.IdOf(serial.Length > 0 ? serial : device),
        };
        if (serial.Length > 0) identity = identity with { Serial = serial };
        if (Naa(snapshot.CompanyId, serial) is { } naa) identity = identity with { Naa = naa };
        if (snapshot.Vendor.Length > 0) identity = identity with { Vendor = snapshot.Vendor };
        if (snapshot.Product.Length > 0) identity = identity with { Product = snapshot.Product };
        if (snapshot.Revision.Length > 0) identity = identity with { Revision = snapshot.Revision };
        return identity;
    }

    /// <summary>
    /// NAA 6, IEEE registered extended (SPC-5 7.7.6.6.5): the organisation's 24 bits, then the serial's hexadecimal digits, as many as fit.
    /// Null when it has none.
    /// </summary>
    private static byte[]? Naa(int companyId, string serial)
    {
        if (!serial.Any(char.IsAsciiHexDigit)) return null;
        var naa = new byte[NaaBytes];
        var digits = $"6{companyId:x6}" + string.Concat(serial.Where(char.IsAsciiHexDigit));
        string text = digits.Length > 2 * NaaBytes ? digits[..(2 * NaaBytes)] : digits.PadRight(2 * NaaBytes, '0');
        Convert.FromHexString(text, naa, out _, out _);
        return naa;
    }
}
