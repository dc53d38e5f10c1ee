using System.Globalization;
using LunKit.Linux;
using LunKit.LogicalUnits;

namespace LunKit.App.Serve;

/// <summary>A unit that <c>lunkit serve</c> serves.</summary>
/// <param name="Unit">The unit.</param>
/// <param name="SizeBytes">Its size when it was opened.</param>
/// <param name="Description">What it is, in words.</param>
internal sealed record ServedUnit(LogicalUnit Unit, long SizeBytes, string Description)
{
    /// <summary>Path of the image file or the device behind it, which may grow; null for another backstore.</summary>
    public string? ImagePath { get; init; }

    /// <summary>The length that what is behind it has now. Throws <see cref="IOException"/> when it cannot be asked.</summary>
    public long CurrentLength()
    {
        if (!BlockDevice.Is(ImagePath!)) return new FileInfo(ImagePath!).Length;
        using var device = BlockDevice.Open(ImagePath!, readOnly: true);
        return BlockDevice.TrySize(device, out long bytes) ? bytes : throw new IOException($"{ImagePath} does not say its size");
    }

    public static ServedUnit Of(BlockUnit unit, BackstoreSpec spec)
    {
        long bytes = unit.BlockCount * unit.BlockSize;
        return new ServedUnit(unit, bytes, Describe(unit, bytes, unit.BlockSize, unit.IsWriteProtected ? ", read-only" : ""))
        {
            ImagePath = spec.Kind is "file" or "block" ? Path.GetFullPath(spec.Argument) : null,
        };
    }

    public static ServedUnit Of(LogicalUnit unit, UserUnitSpec spec) =>
        new(unit, spec.SizeBytes, Describe(unit, spec.SizeBytes, spec.BlockSize, $", answered by a handler of '{spec.Config.Split('/')[0]}'"));

    private static string Describe(LogicalUnit unit, long bytes, int blockSize, string more) =>
        string.Create(CultureInfo.InvariantCulture, $"{unit.Identity.Name}, {ByteSize.Format(bytes)} in blocks of {blockSize}{more}, serial {unit.Identity.Serial}");
}
