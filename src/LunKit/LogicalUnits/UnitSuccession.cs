namespace LunKit.LogicalUnits;

/// <summary>
/// Whether a unit's process can be replaced by another one while the initiators stay connected, as that of a handler can, and so whether the current mode
/// parameters must outlive it. The default: it cannot.
/// </summary>
public readonly record struct UnitSuccession
{
    /// <summary>The unit ends with its process, and the sessions of its initiators with it.</summary>
    public static UnitSuccession None => default;

    /// <summary>Another process may serve the unit next. This one is the first.</summary>
    public static UnitSuccession First => new() { IsPossible = true };

    /// <summary>Another process has served the unit until now: the current mode parameters are those that it had, if they were kept in the unit's state.</summary>
    public static UnitSuccession Later => new() { IsPossible = true, IsLater = true };

    /// <summary>Whether another process may serve the unit next.</summary>
    public bool IsPossible { get; private init; }

    /// <summary>Whether another process has served it until now.</summary>
    public bool IsLater { get; private init; }

    /// <summary>
    /// A number for the time during which initiators stay connected, whichever process serves the unit: what was kept in another time, before the target was
    /// started anew, holds for nobody.
    /// </summary>
    public ulong Epoch { get; init; }
}
