using LunKit.Backstores;
using LunKit.Iscsi.Login;
using LunKit.Iscsi.Pdus;

namespace LunKit.Iscsi.Sessions;

/// <summary>
/// How the data of a read lies in the output: header, data, digest, header, data ... so that the unit reads it to where it is sent
/// from. Segments end at the peer's MaxRecvDataSegmentLength and at MaxBurstLength (RFC 7143 11.7).
/// </summary>
internal sealed class DataInLayout(NegotiatedParameters parameters)
{
    private readonly int _segment = Math.Min(parameters.PeerMaxRecvDataSegmentLength, Math.Max(512, parameters.MaxBurstLength));
    private readonly int _burst = parameters.MaxBurstLength;

    /// <summary>Longest data of one PDU.</summary>
    public int MaxSegmentLength => Math.Min(_segment, _burst);

    public int HeaderLength { get; } = Bhs.Length + (parameters.HeaderDigest ? 4 : 0);

    public int DigestLength { get; } = parameters.DataDigest ? 4 : 0;

    /// <summary>Data bytes of the PDU that begins at an offset.</summary>
    public int SegmentLength(int offset, int length)
    {
        int inBurst = _burst - offset % _burst;
        return Math.Min(Math.Min(_segment, inBurst), length - offset);
    }

    /// <summary>Whether a PDU ends its sequence: at a burst's end or at the data's.</summary>
    public bool EndsSequence(int end, int length) => end == length || end % _burst == 0;

    /// <summary>Bytes of the PDU that carries a segment.</summary>
    public int PduLength(int segment) => HeaderLength + Bhs.Padded(segment) + DigestLength;

    public int TotalLength(int length)
    {
        if (length <= _segment && length <= _burst) return PduLength(length);
        int total = 0;
        for (int offset = 0; offset < length;)
        {
            int segment = SegmentLength(offset, length);
            total += PduLength(segment);
            offset += segment;
        }
        return total;
    }

    public DataBuffer Slices(byte[] array, int start, int length, ref Memory<byte>[] segments)
    {
        if (length <= _segment && length <= _burst) return new DataBuffer(array.AsMemory(start + HeaderLength, length));
        int count = 0;
        for (int offset = 0; offset < length;)
        {
            int segment = SegmentLength(offset, length);
            if (count == segments.Length) Array.Resize(ref segments, count * 2);
            segments[count++] = array.AsMemory(start + HeaderLength, segment);
            start += PduLength(segment);
            offset += segment;
        }
        return new DataBuffer(segments, count);
    }
}
