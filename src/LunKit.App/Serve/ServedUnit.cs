using System.Globalization;
using LunKit.Backstores;
using LunKit.LogicalUnits;

namespace LunKit.App.Serve;

/// <summary>A unit that <c>lunkit serve</c> serves.</summary>
/// <param name="Unit">The unit.</param>
/// <param name="SizeBytes">Its size when it was opened.</param>
/// <param name="Description">What it is, in words.</param>
internal sealed record ServedUnit(LogicalUnit Unit, long SizeBytes, string Description)
{
    /// <summary>The filters over its backstore, the first nearest to the initiator.</summary>
    public IReadOnlyList<BackstoreFilter> Filters { get; init; } = [];

    public static ServedUnit Of(BlockUnit unit)
    {
        long bytes = unit.BlockCount * unit.BlockSize;
        string more = (unit.IsWriteProtected ? ", read-only" : "") + (unit.Store.Unavailable is { } reason ? $", {reason}" : "");
        return new ServedUnit(unit, bytes, Describe(unit, bytes, unit.BlockSize, more));
    }

    public static ServedUnit Of(LogicalUnit unit, UserUnitSpec spec) =>
        new(unit, spec.SizeBytes, Describe(unit, spec.SizeBytes, spec.BlockSize, $", answered by a handler of '{spec.Config.Split('/')[0]}'"));

    public static ServedUnit Of(PassThroughUnit unit) => new(unit, 0, $"{unit.Identity.Name}, passed through");

    private static string Describe(LogicalUnit unit, long bytes, int blockSize, string more) =>
        string.Create(CultureInfo.InvariantCulture, $"{unit.Identity.Name}, {ByteSize.Format(bytes)} in blocks of {blockSize}{more}, serial {unit.Identity.Serial}");
}
