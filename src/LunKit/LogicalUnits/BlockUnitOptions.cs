namespace LunKit.LogicalUnits;

/// <summary>How a backstore is presented as a direct-access block device.</summary>
public sealed record BlockUnitOptions
{
    /// <summary>Refuse writes, whatever the backstore takes.</summary>
    public bool ReadOnly { get; init; }

    /// <summary>Initial state of the write cache (WCE); a backstore without one has none.</summary>
    public bool WriteCache { get; init; } = true;

    /// <summary>Names that somebody else gives, such as the kernel; null for those that follow from the unit's state.</summary>
    public UnitIdentity? Identity { get; init; }

    /// <summary>Whether the unit goes on in another process while initiators are connected.</summary>
    public UnitSuccession Succession { get; init; }

    /// <summary>The medium can be ejected (RMB = 1).</summary>
    public bool Removable { get; init; }

    /// <summary>Offer READ(32), WRITE(32) and WRITE SAME(32).</summary>
    public bool LongCdbs { get; init; } = true;

    /// <summary>Bytes per second that FORMAT UNIT and SANITIZE may take, so that they leave the medium to others; 0: no limit.</summary>
    public long EraseBytesPerSecond { get; init; }

    /// <summary>
    /// Percentage of provisioned space at which initiators get THIN PROVISIONING SOFT THRESHOLD REACHED; 0 for never.
    /// </summary>
    public int SoftThresholdPercent { get; init; } = 90;
}
