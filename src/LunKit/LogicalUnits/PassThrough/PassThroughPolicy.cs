namespace LunKit.LogicalUnits;

/// <summary>Which commands of initiators reach a real device.</summary>
public sealed class PassThroughPolicy
{
    // What changes the device for good, reaches past it, or tunnels another protocol through it.
    private static readonly byte[] s_dangerous =
    [
        0x04, // FORMAT UNIT, FORMAT MEDIUM
        0x3B, // WRITE BUFFER: firmware
        0x40, // CHANGE DEFINITION
        0x48, // SANITIZE
        0x83, 0x84, // EXTENDED COPY and its kin: other devices
        0x85, 0xA1, // ATA PASS-THROUGH
        0xA2, 0xB5, // SECURITY PROTOCOL IN, OUT
        0x9F, 0xA9, // SERVICE ACTION OUT: resets and the like
    ];

    private readonly HashSet<byte> _refused;

    private PassThroughPolicy(IEnumerable<byte> refused) => _refused = [.. refused];

    /// <summary>Everything.</summary>
    public static PassThroughPolicy All { get; } = new([]);

    /// <summary>
    /// Everything but firmware, formatting, sanitizing, security, tunnels, copies between devices, and what only the vendor knows: operation
    /// codes from C0h on (SPC-5 4.2.5).
    /// </summary>
    public static PassThroughPolicy Safe { get; } = new(s_dangerous.Concat(Enumerable.Range(0xC0, 0x40).Select(o => (byte)o)));

    /// <summary>The same with some more commands.</summary>
    public PassThroughPolicy Allow(IEnumerable<byte> opcodes) => new(_refused.Except(opcodes));

    /// <summary>Whether a command may go to the device.</summary>
    public bool Admits(ReadOnlySpan<byte> cdb) => !_refused.Contains(cdb[0]);
}
