using System.Net;
using LunKit.Iscsi.Login;
using LunKit.Iscsi.Pdus;
using Microsoft.Extensions.Logging;

namespace LunKit.Iscsi.Sessions;

/// <summary>
/// What a connection sends: headers with StatSN and the command window, digests, padding, and what is kept to be sent again. Writes
/// PDUs into the output queue in the order in which they leave. Only the connection's thread uses it, except <see cref="Holds"/>.
/// </summary>
internal sealed class PduSender(OutputQueue output, ILogger log, IPEndPoint remote)
{
    private CommandWindow? _window;
    private int _headerAt;
    private SentResponse? _keptLast;

    public OutputQueue Output => output;

    public bool HasHeaderDigest { get; private set; }
    public bool HasDataDigest { get; private set; }

    /// <summary>How reads are cut into PDUs. Another one after a text negotiation.</summary>
    public DataInLayout Layout { get; private set; } = new(new NegotiatedParameters());

    /// <summary>The StatSN of the next numbered PDU.</summary>
    public uint StatSn { get; private set; }

    /// <summary>What was sent and not acknowledged; null at error recovery level 0.</summary>
    public SentResponses? Sent { get; private set; }

    /// <summary>From here on headers show a session's command window.</summary>
    public void Join(CommandWindow window) => _window = window;

    /// <summary>
    /// The login has been answered: what follows has the digests that were agreed on, and is kept if the session recovers.
    /// </summary>
    public void EnterFullFeature(NegotiatedParameters parameters, SentResponses? sent)
    {
        HasHeaderDigest = parameters.HeaderDigest;
        HasDataDigest = parameters.DataDigest;
        Sent = sent;
        Renegotiate(parameters);
    }

    public void Renegotiate(NegotiatedParameters parameters) => Layout = new DataInLayout(parameters);

    /// <summary>Whether a task's response waits to be acknowledged. Any thread.</summary>
    public bool Holds(uint tag) => Sent?.Holds(tag) == true;

    /// <summary>Takes the next StatSN.</summary>
    public uint TakeStatSn() => StatSn++;

    /// <summary>The header of the next PDU to send, with room for its digests and <paramref name="dataLength"/> bytes after it.</summary>
    public Span<byte> NextHeader(int dataLength = 0)
    {
        int total = Bhs.Length + (HasHeaderDigest ? 4 : 0) + Bhs.Padded(dataLength) + (dataLength > 0 && HasDataDigest ? 4 : 0);
        _headerAt = output.Reserve(total);
        return output.Current.Array.AsSpan(_headerAt, Bhs.Length);
    }

    /// <summary>
    /// Numbers the header that <see cref="NextHeader"/> gave and seals it with its digest; returns where its data goes. The data is
    /// followed by <see cref="FinishData"/>.
    /// </summary>
    public Span<byte> FinishHeader(bool advanceStatSn, int dataLength, uint? statSn = null)
    {
        var header = output.Current.Array.AsSpan(_headerAt, Bhs.Length);
        var bhs = new Bhs(header) { DataLength = dataLength, StatSn = statSn ?? StatSn };
        _keptLast = null;
        if (advanceStatSn)
        {
            _keptLast = Sent?.Add(new SentResponse { StatSn = StatSn, Tag = bhs.InitiatorTaskTag, Header = header.ToArray() });
            StatSn++;
        }
        if (_window is { } window)
        {
            bhs.ExpCmdSn = window.ExpCmdSn;
            bhs.MaxCmdSn = window.MaxCmdSn;
        }
        int dataAt = _headerAt + Bhs.Length;
        if (HasHeaderDigest)
        {
            Crc32C.Write(header, output.Current.Array.AsSpan(dataAt));
            dataAt += 4;
        }
        return output.Current.Array.AsSpan(dataAt, dataLength);
    }

    public void FinishData(int dataLength)
    {
        int at = _headerAt + Bhs.Length + (HasHeaderDigest ? 4 : 0), padded = Bhs.Padded(dataLength);
        var array = output.Current.Array;
        if (_keptLast is not null) Sent?.SetSegment(_keptLast, array.AsSpan(at, dataLength));
        array.AsSpan(at + dataLength, padded - dataLength).Clear();
        if (HasDataDigest) Crc32C.Write(array.AsSpan(at, padded), array.AsSpan(at + padded));
    }

    /// <summary>Sends a PDU that is a header alone.</summary>
    public void FinishPdu(bool advanceStatSn) => FinishHeader(advanceStatSn, 0);

    /// <summary>Before there is a session the window's numbers are the login request's own (RFC 7143 11.13.4).</summary>
    public void SetWindowOfLogin(uint cmdSn)
    {
        if (_window is not null) return;
        _ = new Bhs(output.Current.Array.AsSpan(_headerAt, Bhs.Length)) { ExpCmdSn = cmdSn, MaxCmdSn = cmdSn };
    }

    /// <summary>
    /// Writes the headers between the data of a read, and the status into the last one (phase collapse, RFC 7143 11.7.3). Returns the
    /// number of PDUs.
    /// </summary>
    public uint WriteDataIn(
        DataInLayout layout, uint tag, byte[] array, int start, int length, byte residualFlags, uint residual, bool withStatus = true)
    {
        // What error recovery may ask for again is kept as one run; what has a status of its own is not.
        var kept = !withStatus ? null : Sent?.Add(new SentResponse
        {
            StatSn = StatSn, Tag = tag, Layout = layout, ResidualFlags = residualFlags, Residual = residual,
        }.WithData(length));
        uint dataSn = 0;
        for (int offset = 0; offset < length;)
        {
            int segment = layout.SegmentLength(offset, length), end = offset + segment, total = layout.PduLength(segment);
            if (kept is not null) array.AsSpan(start + layout.HeaderLength, segment).CopyTo(kept.Data.AsSpan(offset));
            bool last = end == length && withStatus;
            byte flags = FlagsOf(layout, end, length, last, residualFlags);
            SealDataIn(array.AsSpan(start, total), layout, tag, segment, dataSn++, offset, flags, last ? StatSn : 0, last ? residual : 0);
            start += total;
            offset = end;
        }
        if (withStatus) StatSn++;
        return dataSn;
    }

    /// <summary>The flags of a Data-In that ends at an offset.</summary>
    public static byte FlagsOf(DataInLayout layout, int end, int length, bool withStatus, byte residualFlags) =>
        (byte)((layout.EndsSequence(end, length) ? DataInPdu.Final : 0) | (withStatus ? DataInPdu.HasStatus | residualFlags : 0));

    /// <summary>Writes header, padding and digests around a segment that is in its place already.</summary>
    public void SealDataIn(
        Span<byte> pdu, DataInLayout layout, uint tag, int segment, uint dataSn, int offset, byte flags, uint statSn, uint residual)
    {
        SealHeader(pdu, tag, segment, dataSn, offset, flags, statSn, residual);
        int padded = Bhs.Padded(segment);
        var data = pdu.Slice(layout.HeaderLength, padded);
        data[segment..].Clear();
        if (HasDataDigest) Crc32C.Write(data, pdu[(layout.HeaderLength + padded)..]);
    }

    public void SealHeader(Span<byte> pdu, uint tag, int segment, uint dataSn, int offset, byte flags, uint statSn, uint residual)
    {
        var header = pdu[..Bhs.Length];
        DataInPdu.Write(header, tag, segment, dataSn, (uint)offset, flags);
        var bhs = new Bhs(header) { StatSn = statSn };
        bhs.Set(44, residual);
        if (_window is { } window)
        {
            bhs.ExpCmdSn = window.ExpCmdSn;
            bhs.MaxCmdSn = window.MaxCmdSn;
        }
        if (HasHeaderDigest) Crc32C.Write(header, pdu[Bhs.Length..]);
    }

    /// <summary>Refuses a PDU and shows which (RFC 7143 11.17).</summary>
    public void Reject(Bhs rejected, RejectReason reason)
    {
        RejectPdu.Write(NextHeader(Bhs.Length), reason, Bhs.Length);
        rejected.Bytes.CopyTo(FinishHeader(advanceStatSn: true, Bhs.Length));
        FinishData(Bhs.Length);
        LogMessages.Rejected(log, remote.ToString(), (byte)rejected.Opcode, reason.ToString());
    }
}
