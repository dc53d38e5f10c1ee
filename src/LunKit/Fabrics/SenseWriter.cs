using LunKit.LogicalUnits;
using LunKit.Scsi;

namespace LunKit.Fabrics;

/// <summary>Sense data as the unit is set to send it: fixed or descriptor format, by D_SENSE of the Control mode page (SPC-5 7.5.10).</summary>
internal static class SenseWriter
{
    /// <summary>Writes the sense of a result; 0 bytes when it has none. <paramref name="unit"/> is null at a LUN without one.</summary>
    /// <param name="destination">At least <see cref="SenseData.MaxLength"/> bytes.</param>
    /// <param name="unit">Whose answer it is.</param>
    /// <param name="result">The answer.</param>
    public static int Write(Span<byte> destination, LogicalUnit? unit, in CommandResult result) => result.Status != ScsiStatus.CheckCondition
        ? 0 : SenseData.Write(destination, result.Detail, unit?.ModePages.Bit(0x0A, 0, 2, 0x04) ?? false);
}
