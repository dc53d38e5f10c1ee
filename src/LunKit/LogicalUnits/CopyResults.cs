namespace LunKit.LogicalUnits;

/// <summary>What the copy manager remembers of one third-party copy operation.</summary>
/// <param name="ServiceAction">Service action of THIRD-PARTY COPY OUT that started it.</param>
/// <param name="Result">How it ended.</param>
/// <param name="Segments">Segments processed.</param>
/// <param name="Blocks">Blocks transferred.</param>
/// <param name="Token">The ROD token that it made.</param>
internal sealed record CopyOutcome(int ServiceAction, CommandResult Result, int Segments, long Blocks, CopyTokens.Token? Token = null);

/// <summary>
/// The results of the copies of one unit by nexus and list identifier, held until they are fetched (SPC-5 5.18.4.3), and bounded:
/// the oldest is forgotten first. Thread safe.
/// </summary>
internal sealed class CopyResults
{
    private const int MaxHeld = 256;
    private readonly Lock _gate = new();
    private readonly List<(UnitNexus Nexus, uint ListId, CopyOutcome Outcome)> _held = [];

    public void Add(UnitNexus nexus, uint listId, CopyOutcome outcome)
    {
        lock (_gate)
        {
            _held.RemoveAll(h => h.Nexus == nexus && h.ListId == listId);
            if (_held.Count >= MaxHeld) _held.RemoveAt(0);
            _held.Add((nexus, listId, outcome));
        }
    }

    public CopyOutcome? Find(UnitNexus nexus, uint listId)
    {
        lock (_gate) return _held.Find(h => h.Nexus == nexus && h.ListId == listId).Outcome;
    }
}
