namespace LunKit.LogicalUnits;

/// <summary>Which commands of initiators reach a real device.</summary>
public sealed class PassThroughPolicy
{
    private readonly bool _all;
    private readonly HashSet<byte> _allowed;

    private PassThroughPolicy(bool all, IEnumerable<byte> allowed) => (_all, _allowed) = (all, [.. allowed]);

    /// <summary>Everything.</summary>
    public static PassThroughPolicy All { get; } = new(true, []);

    /// <summary>
    /// What the standards have for the type of the device, but no firmware, formatting, sanitizing, security, tunnels and copies between
    /// devices. A command that LunKit does not know is refused, as what only the vendor knows (operation codes from C0h on, SPC-5 4.2.5).
    /// </summary>
    public static PassThroughPolicy Safe { get; } = new(false, []);

    /// <summary>The same with some more commands.</summary>
    public PassThroughPolicy Allow(IEnumerable<byte> opcodes) => new(_all, _allowed.Concat(opcodes));

    /// <summary>Whether a command may go to a device of a type (SPC-5 6.6.2).</summary>
    public bool Admits(byte deviceType, ReadOnlySpan<byte> cdb) =>
        !cdb.IsEmpty && (_all || _allowed.Contains(cdb[0]) || Admits(ForeignCommands.Find(deviceType, cdb)));

    private static bool Admits(CommandFacts? facts) => facts is { } known && !known.Has(CommandTraits.Destructive);
}
