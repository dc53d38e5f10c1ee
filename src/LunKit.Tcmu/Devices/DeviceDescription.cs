namespace LunKit.Tcmu.Devices;

/// <summary>What a handler must know of a device, as the target that made it says: read once, never on the data path.</summary>
/// <param name="SizeBytes">Size of the disk.</param>
/// <param name="BlockSize">Logical block size.</param>
/// <param name="MaxTransferBytes">Longest transfer of one command.</param>
/// <param name="UnitSerial">Serial of the unit, from which its NAA name follows.</param>
/// <param name="WriteCache">Whether the device tells initiators of a write cache.</param>
public sealed record DeviceDescription(long SizeBytes, int BlockSize, int MaxTransferBytes, string UnitSerial, bool WriteCache)
{
    /// <summary>T10 vendor identification that the operator has set, or the kernel's own.</summary>
    public string Vendor { get; init; } = "";

    /// <summary>Product identification, likewise.</summary>
    public string Product { get; init; } = "";

    /// <summary>Product revision level, likewise.</summary>
    public string Revision { get; init; } = "";

    /// <summary>Whether a handler has served the device before: what is behind it is there.</summary>
    public bool WasServed { get; init; }

    /// <summary>A number for the time during which initiators stay connected, whichever handler serves the device.</summary>
    public ulong Epoch { get; init; }

    /// <summary>Whether a handler before has kept the state of its unit over its end.</summary>
    public bool StateWasKept { get; init; }

    /// <summary>Whether whoever changes the device waits for the handler's reply.</summary>
    public bool WaitsForReplies { get; init; } = true;

    /// <summary>The organisation (OUI) in the unit's NAA name.</summary>
    public int CompanyId { get; init; } = 0x001405;
}
