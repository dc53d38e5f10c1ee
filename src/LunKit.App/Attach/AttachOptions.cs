namespace LunKit.App.Attach;

/// <summary>What the operator wrote after <c>lunkit attach</c>.</summary>
internal sealed record AttachOptions
{
    public required string Backstore { get; init; }
    public string? Name { get; init; }
    public string? Iqn { get; init; }
    public required string Portal { get; init; }
    public IReadOnlyList<string> Allow { get; init; } = [];
    public bool AllowAnyone { get; init; }
    public bool ReadOnly { get; init; }
    public int DataAreaMegabytes { get; init; } = 64;
}
