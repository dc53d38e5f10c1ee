namespace LunKit.Tcmu.Ring;

/// <summary>
/// What a consumer of a ring says outlives its process: <see cref="MailboxAbi.ConsumerSurvival"/>. It is in the shared memory before anything is completed, so that
/// whoever takes a completion knows what it is worth.
/// </summary>
/// <param name="Durability">Of its writes.</param>
/// <param name="KeepsModes">Whether mode parameters do, current ones too.</param>
/// <param name="ContinuesModes">Whether it has begun with those that the consumer before has kept.</param>
internal readonly record struct Survival(Durability Durability, bool KeepsModes, bool ContinuesModes)
{
    private const uint ModesKept = 0x100, ModesContinued = 0x200;

    public uint Word => (uint)Durability | (KeepsModes ? ModesKept : 0) | (ContinuesModes ? ModesContinued : 0);

    /// <summary>What a word says; what is not known counts as not said.</summary>
    public static Survival Of(uint word) => new((word & 0xFF) <= (uint)Durability.Nothing ? (Durability)(word & 0xFF) : Durability.Flushed, (word & ModesKept) != 0, (word & ModesContinued) != 0);
}
