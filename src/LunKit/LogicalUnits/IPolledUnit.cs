namespace LunKit.LogicalUnits;

/// <summary>
/// A unit whose commands end in another process. A fabric's thread that waits for them anyway looks here, instead of sleeping until another
/// thread has looked and wakes it. Thread safe.
/// </summary>
internal interface IPolledUnit
{
    /// <summary>Ends what has ended; false when that was nothing.</summary>
    bool Poll();

    /// <summary>The caller will call <see cref="Poll"/> over and over, until <see cref="EndPolling"/>: nobody need be woken meanwhile.</summary>
    void BeginPolling();

    /// <summary>The caller looks no more.</summary>
    void EndPolling();
}
