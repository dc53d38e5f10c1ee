namespace LunKit.LogicalUnits;

/// <summary>How a backstore is presented as a direct-access block device.</summary>
public sealed record BlockUnitOptions
{
    /// <summary>Refuse writes, whatever the backstore takes.</summary>
    public bool ReadOnly { get; init; }

    /// <summary>Initial state of the write cache (WCE); a backstore without one has none.</summary>
    public bool WriteCache { get; init; } = true;

    /// <summary>The medium can be ejected (RMB = 1).</summary>
    public bool Removable { get; init; }

    /// <summary>
    /// Percentage of provisioned space at which initiators get THIN PROVISIONING SOFT THRESHOLD REACHED; 0 for never.
    /// </summary>
    public int SoftThresholdPercent { get; init; } = 90;
}
