using LunKit.Iscsi.Discovery;
using LunKit.Iscsi.Login;
using LunKit.Iscsi.Pdus;

namespace LunKit.Iscsi.Sessions;

/// <summary>Text Requests in full feature phase (RFC 7143 11.10, 11.11): from PDUs to the exchange and back. Only the connection's thread uses it.</summary>
internal sealed class TextRequests
{
    private readonly FullFeaturePhase _phase;
    private readonly TextExchange _exchange;

    public TextRequests(FullFeaturePhase phase)
    {
        _phase = phase;
        _exchange = new TextExchange(phase.Parameters, phase.Connection.Limits, AnswerSendTargets);
    }

    public void Handle(Bhs header, ReadOnlySpan<byte> data)
    {
        var reply = _exchange.Take(header.IsFinal, (header.Flags & TextPdu.Continue) != 0, header.TargetTransferTag, data);
        var sender = _phase.Sender;
        if (reply.Rejection is { } reason)
        {
            sender.Reject(header, reason);
            return;
        }
        int length = reply.Text.Length;
        TextPdu.Write(sender.NextHeader(length), PduOpcode.TextResponse, reply.Flags, header.InitiatorTaskTag, reply.TransferTag, length);
        reply.Text.Span.CopyTo(sender.FinishHeader(advanceStatSn: true, length));
        sender.FinishData(length);
        if (reply.HasNewParameters) sender.Renegotiate(_phase.Parameters);
    }

    private List<KeyValuePair<string, string>>? AnswerSendTargets(string value)
    {
        var (parameters, server) = (_phase.Parameters, _phase.Connection.Server);
        return SendTargets.Answer(value, parameters.IsDiscovery, _phase.Session.Target, server.Targets, server.Portals,
            parameters.InitiatorName, _phase.Connection.Local.Address);
    }
}
