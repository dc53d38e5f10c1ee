namespace LunKit.Tcmu.Ring;

/// <summary>What outlives a handler's process, however that ends.</summary>
internal enum Durability : byte
{
    /// <summary>What was flushed. So it is with a handler that says nothing.</summary>
    Flushed = 0,
    /// <summary>Every write that it has acknowledged.</summary>
    Acknowledged = 1,
    /// <summary>Nothing: its disk is in its memory.</summary>
    Nothing = 2,
}
