using LunKit.Iscsi.Pdus;

namespace LunKit.Iscsi.Sessions;

/// <summary>
/// Sends again what was lost on the way: SNACK (RFC 7143 11.16), from error recovery level 1 on, and answers that were taken over
/// from another connection. Only the connection's thread uses it.
/// </summary>
internal sealed class Retransmission(PduSender sender, SentResponses sent, ConnectionTasks tasks, DataOutTransfers transfers)
{
    private OutputQueue Output => sender.Output;

    public void HandleSnack(Bhs header)
    {
        var snack = new SnackPdu(header.Bytes);
        RejectReason? refusal = snack.Type switch
        {
            SnackType.Status => ResendStatus(snack.BegRun, snack.RunLength),
            SnackType.Data => ResendData(header.InitiatorTaskTag, snack.BegRun, snack.RunLength),
            SnackType.ResegmentedData => ResendResegmented(header.InitiatorTaskTag, snack.SnackTag),
            // No data is ever sent with the A bit, so there is none to acknowledge.
            SnackType.DataAck => RejectReason.InvalidDataAck,
            _ => RejectReason.InvalidPduField,
        };
        if (refusal is { } reason) sender.Reject(header, reason);
    }

    private RejectReason? ResendStatus(uint begRun, uint runLength)
    {
        bool IsAsked(uint statSn) =>
            !SerialNumber.IsBefore(statSn, begRun) && (runLength == 0 || SerialNumber.IsBefore(statSn, begRun + runLength));

        var asked = sent.Unacknowledged.Where(r => IsAsked(r.StatSn)).ToList();
        uint wanted = runLength == 0 ? sender.StatSn - begRun : runLength;
        // Not sent yet, or acknowledged already (RFC 7143 11.16.1).
        if (wanted == 0 || asked.Count != wanted) return RejectReason.ProtocolError;
        if (asked.Exists(r => r.Header is null && r.IsForgotten)) return RejectReason.SnackReject;
        foreach (var response in asked)
        {
            if (response.Header is not null) SendPdu(response);
            else SendDataIn(response, DataInCount(response) - 1, uint.MaxValue);
        }
        return null;
    }

    private RejectReason? ResendData(uint tag, uint begRun, uint runLength)
    {
        uint end = runLength == 0 ? uint.MaxValue : begRun + runLength;
        if (tasks.Find(tag) is { } task)
        {
            var asked = task.R2Ts.Where(r => r.R2tSn >= begRun && r.R2tSn < end).ToList();
            if (asked.Count == 0 || runLength != 0 && asked.Count != runLength) return RejectReason.ProtocolError;
            foreach (var r2t in asked) transfers.WriteR2T(task, r2t);
            return null;
        }
        if (sent.FindTask(tag) is not { Layout: not null } response) return RejectReason.ProtocolError;
        if (response.IsForgotten) return RejectReason.SnackReject;
        uint count = DataInCount(response);
        if (begRun < response.FirstDataSn || begRun >= count || runLength != 0 && end > count) return RejectReason.ProtocolError;
        SendDataIn(response, begRun, end);
        return null;
    }

    /// <summary>
    /// All data of a read again, cut for the initiator's present MaxRecvDataSegmentLength, and its status in a response of its own.
    /// </summary>
    private RejectReason? ResendResegmented(uint tag, uint snackTag)
    {
        if (sent.FindTask(tag) is not { Layout: not null } response) return RejectReason.ProtocolError;
        if (response.IsForgotten) return RejectReason.SnackReject;
        response.Layout = sender.Layout;
        response.FirstDataSn = 0;
        response.FirstOffset = 0;
        var header = new byte[Bhs.Length];
        ScsiResponsePdu.Write(header, tag, 0, response.ResidualFlags, response.Residual, DataInCount(response));
        _ = new Bhs(header) { TargetTransferTag = snackTag, StatSn = response.StatSn };
        response.Header = header;
        SendDataIn(response, 0, uint.MaxValue);
        SendPdu(response);
        return null;
    }

    /// <summary>
    /// Sends the answer of a task that was taken over: the data that the initiator lacks, from ExpDataSN on and cut for this
    /// connection, and the status.
    /// </summary>
    public void SendAdopted(SentResponse response, uint expDataSn)
    {
        response.StatSn = sender.TakeStatSn();
        if (response.Layout is not null && !response.IsForgotten)
        {
            uint dataSn = response.FirstDataSn;
            int offset = response.FirstOffset;
            for (; dataSn < expDataSn && offset < response.DataLength; dataSn++)
                offset += response.Layout.SegmentLength(offset, response.DataLength);
            (response.FirstDataSn, response.FirstOffset, response.Layout) = (dataSn, offset, sender.Layout);
            // A response of its own when all data is there: the status needs a PDU that carries it.
            response.Header = new byte[Bhs.Length];
            ScsiResponsePdu.Write(response.Header, response.Tag, 0, response.ResidualFlags, response.Residual, DataInCount(response));
        }
        else if (response.IsForgotten)
        {
            response.Header = new byte[Bhs.Length];
            ScsiResponsePdu.Write(response.Header, response.Tag, (byte)Scsi.ScsiStatus.Busy, 0, 0, 0);
            response.Layout = null;
        }
        if (response.Header is { } header) _ = new Bhs(header) { TargetTransferTag = 0 };
        sent.Add(response);
        if (response.Layout is not null) SendDataIn(response, response.FirstDataSn, uint.MaxValue);
        SendPdu(response);
    }

    /// <summary>The DataSN after the last one.</summary>
    private static uint DataInCount(SentResponse response)
    {
        uint dataSn = response.FirstDataSn;
        for (int offset = response.FirstOffset; offset < response.DataLength; dataSn++)
            offset += response.Layout!.SegmentLength(offset, response.DataLength);
        return dataSn;
    }

    private void SendPdu(SentResponse response)
    {
        int length = response.Segment.Length;
        response.Header.CopyTo(sender.NextHeader(length));
        var data = sender.FinishHeader(advanceStatSn: false, length, response.StatSn);
        response.Segment.CopyTo(data);
        if (length > 0) sender.FinishData(length);
    }

    /// <summary>
    /// Sends the Data-In PDUs [<paramref name="first"/>, <paramref name="end"/>) of a read, the status in the last if it was there.
    /// </summary>
    private void SendDataIn(SentResponse response, uint first, uint end)
    {
        var (data, layout, length) = (response.Data!, response.Layout!, response.DataLength);
        uint dataSn = response.FirstDataSn;
        for (int offset = response.FirstOffset; offset < length && dataSn < end; dataSn++)
        {
            int segment = layout.SegmentLength(offset, length), next = offset + segment;
            if (dataSn >= first)
            {
                bool status = next == length && response.Header is null;
                byte flags = PduSender.FlagsOf(layout, next, length, status, response.ResidualFlags);
                int at = Output.Reserve(layout.PduLength(segment));
                var pdu = Output.Current.Array.AsSpan(at, layout.PduLength(segment));
                data.AsSpan(offset, segment).CopyTo(pdu[layout.HeaderLength..]);
                sender.SealDataIn(pdu, layout, response.Tag, segment, dataSn, offset, flags,
                    status ? response.StatSn : 0, status ? response.Residual : 0);
            }
            offset = next;
        }
    }
}
