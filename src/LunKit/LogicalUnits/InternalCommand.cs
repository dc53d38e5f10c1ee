using System.Buffers.Binary;
using LunKit.Backstores;
using LunKit.Scsi;

namespace LunKit.LogicalUnits;

/// <summary>
/// A command that the copy manager issues on behalf of a nexus: it passes the same checks as if the initiator had sent it, so a
/// copy can do nothing that its initiator could not. Attribute HEAD OF QUEUE: an ordered copy command must not wait for itself.
/// </summary>
/// <param name="for">The command that it is a part of: what ends that command's way to its initiator ends this one's, too.</param>
internal sealed class InternalCommand(ScsiCommand @for) : ScsiCommand
{
    private DataBuffer _dataIn;

    public ScsiCommand For => @for;

    public override DataBuffer RentDataIn(int length) => _dataIn.Slice(0, length);

    /// <summary>Runs one CDB against a unit as this nexus sees it. A unit attention stays pending for the initiator itself.</summary>
    public async ValueTask<CommandResult> RunAsync(UnitNexus on, byte[] cdb, DataBuffer dataIn, DataBuffer dataOut)
    {
        List<Sense> attentions = [];
        while (true)
        {
            Reset(cdb);
            Nexus = on.Nexus;
            UnitNexus = on;
            Attribute = TaskAttribute.HeadOfQueue;
            _dataIn = dataIn;
            DataOut = dataOut;
            DataOutBufferSize = dataOut.Length;
            var result = await on.Unit.ExecuteAsync(this).ConfigureAwait(false);
            on.Unit.Complete(this);
            if (result.Status == ScsiStatus.CheckCondition && result.Sense.Key == SenseKey.UnitAttention && attentions.Count < 16)
            {
                attentions.Add(result.Sense);
                continue;
            }
            foreach (var sense in attentions) on.EstablishUnitAttention(sense);
            return result;
        }
    }

    public static byte[] Cdb16(Opcode opcode, long lba, uint count)
    {
        var cdb = new byte[16];
        cdb[0] = (byte)opcode;
        BinaryPrimitives.WriteInt64BigEndian(cdb.AsSpan(2), lba);
        BinaryPrimitives.WriteUInt32BigEndian(cdb.AsSpan(10), count);
        return cdb;
    }
}
