using LunKit.Iscsi;
using LunKit.Iscsi.Login;
using LunKit.Iscsi.Pdus;

namespace LunKit.Fuzz;

/// <summary>
/// Any text requests in full feature phase; pieces end at a byte FFh and begin with the F and C flags and, in bit 0, whether they go on
/// with the exchange. Nothing throws, no exchange goes on for ever, a refused one changes nothing.
/// </summary>
internal sealed class TextTarget() : FuzzTarget("text")
{
    public override void Run(byte[] input)
    {
        var (parameters, limits) = (new NegotiatedParameters(), new IscsiLimits { MaxTextBytes = 4096 });
        var exchange = new TextExchange(parameters, limits, value => value.Length == 0 ? null
            : [new("TargetName", value), new("TargetAddress", "192.0.2.1:3260,1")]);
        uint tag = Bhs.ReservedTag;
        for (int rounds = 1; input.Length > 1;)
        {
            int end = Array.IndexOf(input, (byte)0xFF, 1);
            var piece = end < 0 ? input[1..] : input[1..end];
            bool goesOn = (input[0] & 1) != 0 && tag != Bhs.ReservedTag;
            var (segment, alias) = (parameters.PeerMaxRecvDataSegmentLength, parameters.InitiatorAlias);
            bool final = (input[0] & TextPdu.Final) != 0, more = (input[0] & TextPdu.Continue) != 0;
            var reply = exchange.Take(final, more, goesOn ? tag : Bhs.ReservedTag, piece);
            rounds = goesOn ? rounds + 1 : 1;
            bool ends = reply.Rejection is not null || (reply.Flags & TextPdu.Final) != 0;
            if (ends != (reply.Rejection is not null || reply.TransferTag == Bhs.ReservedTag)) throw new InvalidOperationException("F does not go with the tag");
            if (!ends && reply.Flags == 0 && rounds > limits.MaxNegotiationRounds * 2 + 4096) throw new InvalidOperationException("an exchange without an end");
            if (reply.Text.Length > segment) throw new InvalidOperationException("more than the peer takes in one PDU");
            bool changed = (parameters.PeerMaxRecvDataSegmentLength, parameters.InitiatorAlias) != (segment, alias);
            if (changed != reply.HasNewParameters) throw new InvalidOperationException("parameters change without the end of the exchange");
            if (parameters.PeerMaxRecvDataSegmentLength is < 512 or > 0xFF_FFFF) throw new InvalidOperationException("a segment length out of bounds");
            tag = ends ? Bhs.ReservedTag : reply.TransferTag;
            if (end < 0) return;
            input = input[(end + 1)..];
        }
    }
}
