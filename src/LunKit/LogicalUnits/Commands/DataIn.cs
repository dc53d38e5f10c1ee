using LunKit.Scsi;

namespace LunKit.LogicalUnits.Commands;

/// <summary>Hands parameter data to the initiator, cut to the allocation length (SPC-5 4.2.5.6).</summary>
internal static class DataIn
{
    public static CommandResult Send(ScsiCommand command, ReadOnlySpan<byte> data, long allocationLength)
    {
        int length = (int)Math.Min(data.Length, allocationLength);
        if (length == 0) return CommandResult.Good;
        command.RentDataIn(length).CopyFrom(data[..length]);
        return CommandResult.Data(length);
    }

    public static ValueTask<CommandResult> Done(CommandResult result) => new(result);

    public static ValueTask<CommandResult> Check(Sense sense) => new(CommandResult.CheckCondition(sense));

    public static ValueTask<CommandResult> InvalidCdb(int byteIndex, int bit = -1) => new(CommandResult.InvalidCdbField(byteIndex, bit));
}
