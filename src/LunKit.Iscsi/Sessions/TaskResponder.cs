using LunKit.Backstores;
using LunKit.Fabrics;
using LunKit.Iscsi.Pdus;
using LunKit.LogicalUnits;
using LunKit.Scsi;

namespace LunKit.Iscsi.Sessions;

/// <summary>The answers of commands: Data-In with or without status, SCSI Response with sense, residuals.</summary>
internal sealed class TaskResponder(PduSender sender)
{
    private Memory<byte>[] _copySegments = [];

    private OutputQueue Output => sender.Output;

    public void Answer(IscsiTask task, CommandResult result)
    {
        if (result.Status == ScsiStatus.CheckCondition && result.DataInLength > 0 &&
            task is { Reads: true, DataInChunk: not null, HasLentDataIn: false })
        {
            AnswerWithBoth(task, result);
            return;
        }
        bool hasData = result.Status == ScsiStatus.Good && result.DataInLength > 0 && task.Reads && task.ExpectedLength > 0;
        var (flags, residual) = Residual(task, result);
        if (!hasData)
        {
            Drop(task);
            SendResponse(task, result, flags, residual);
            return;
        }
        // Fewer bytes may be expected than were produced: as many as are expected go out (RFC 7143 11.4.5.1).
        int length = (int)Math.Min(task.ExpectedLength, (uint)result.DataInLength);
        if (task.Scratch is { } scratch)
        {
            SendCopy(task, new DataBuffer(scratch.AsMemory(0, length)), flags, residual);
            return;
        }
        if (task.HasLentDataIn)
        {
            // What is sent from where it lies has no digest of its own making, and is not there to be sent again.
            if (task.IsLentLong(sender.Layout) && !sender.HasDataDigest && sender.Sent is null) SendLent(task, length, flags, residual);
            else SendCopy(task, task.LentDataIn.Slice(0, length), flags, residual);
            return;
        }
        SendDataIn(task, flags, residual, withStatus: true);
    }

    /// <summary>Takes back the memory of a read that will not be sent.</summary>
    public void Drop(IscsiTask task)
    {
        if (task.DataInChunk is null) return;
        if (task.IsDataInInline) Output.Unreserve(task.DataInStart);
        else Output.Return(task.DataInChunk);
        task.DataInChunk = null;
    }

    /// <summary>Sends data from where the unit has put it. Returns the number of PDUs.</summary>
    private uint SendDataIn(IscsiTask task, byte flags, uint residual, bool withStatus)
    {
        var chunk = task.DataInChunk!;
        uint count = sender.WriteDataIn(
            task.DataInLayout, task.InitiatorTaskTag, chunk.Array, task.DataInStart, task.DataInLength, flags, residual, withStatus);
        if (!task.IsDataInInline) Output.Append(chunk, task.DataInStart, task.DataInEnd);
        task.DataInChunk = null;
        return count;
    }

    /// <summary>Data, and then a status of its own, whose sense says what is with the data.</summary>
    private void AnswerWithBoth(IscsiTask task, CommandResult result)
    {
        var (flags, residual) = Residual(task, result);
        SendResponse(task, result, flags, residual, SendDataIn(task, flags, residual, withStatus: false));
    }

    /// <summary>Sends data that lies elsewhere: copies it between its headers.</summary>
    private void SendCopy(IscsiTask task, DataBuffer data, byte flags, uint residual)
    {
        int at = Output.Reserve(sender.Layout.TotalLength(data.Length));
        if (_copySegments.Length == 0) _copySegments = new Memory<byte>[4];
        data.CopyTo(sender.Layout.Slices(Output.Current.Array, at, data.Length, ref _copySegments));
        sender.WriteDataIn(sender.Layout, task.InitiatorTaskTag, Output.Current.Array, at, data.Length, flags, residual);
    }

    /// <summary>
    /// Sends data from the unit's own memory, which it gets back when all is sent: headers from the queue, data from there.
    /// </summary>
    private void SendLent(IscsiTask task, int length, byte residualFlags, uint residual)
    {
        var layout = sender.Layout;
        var data = task.LentDataIn;
        var owner = task.TakeLentOwner()!;
        uint dataSn = 0;
        for (int offset = 0; offset < length;)
        {
            int segment = layout.SegmentLength(offset, length), end = offset + segment, pad = Bhs.Padded(segment) - segment;
            bool last = end == length;
            byte flags = PduSender.FlagsOf(layout, end, length, last, residualFlags);
            int at = Output.Reserve(layout.HeaderLength);
            sender.SealHeader(Output.Current.Array.AsSpan(at, layout.HeaderLength), task.InitiatorTaskTag, segment, dataSn++, offset, flags,
                last ? sender.StatSn : 0, last ? residual : 0);
            foreach (var piece in data.Slice(offset, segment)) Output.AppendLent(piece);
            if (pad > 0) Output.Append(pad).Clear();
            offset = end;
        }
        Output.ReleaseWhenSent(owner);
        sender.TakeStatSn();
    }

    private static (byte Flags, uint Residual) Residual(IscsiTask task, CommandResult result)
    {
        long wanted = task.WantedLength > 0 ? task.WantedLength : result.DataInLength;
        long expected = task.Reads || task.Writes ? task.ExpectedLength : 0;
        // Data of the wrong direction is as good as none.
        if (task.WantedLength > 0 && !task.Writes || task.WantedLength == 0 && result.DataInLength > 0 && !task.Reads) expected = 0;
        if (wanted == expected) return (0, 0);
        return wanted > expected
            ? (ScsiResponsePdu.Overflow, (uint)(wanted - expected)) : (ScsiResponsePdu.Underflow, (uint)(expected - wanted));
    }

    private void SendResponse(IscsiTask task, CommandResult result, byte flags, uint residual, uint dataPdus = 0)
    {
        Span<byte> sense = stackalloc byte[SenseData.MaxLength];
        int senseLength = SenseWriter.Write(sense, task.UnitNexus?.Unit, result);
        int data = senseLength == 0 ? 0 : 2 + senseLength;
        ScsiResponsePdu.Write(
            sender.NextHeader(data), task.InitiatorTaskTag, (byte)result.Status, flags, residual, dataPdus > 0 ? dataPdus : task.R2tSn);
        var payload = sender.FinishHeader(advanceStatSn: true, data);
        if (data == 0) return;
        payload[0] = 0;
        payload[1] = (byte)senseLength;
        sense[..senseLength].CopyTo(payload[2..]);
        sender.FinishData(data);
    }
}
