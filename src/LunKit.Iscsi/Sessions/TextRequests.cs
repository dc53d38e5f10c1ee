using LunKit.Iscsi.Discovery;
using LunKit.Iscsi.Login;
using LunKit.Iscsi.Pdus;

namespace LunKit.Iscsi.Sessions;

/// <summary>Text negotiation in full feature phase (RFC 7143 11.10, 11.11). Only the connection's thread uses it.</summary>
internal sealed class TextRequests(FullFeaturePhase phase)
{
    private readonly TextCollector _text = new(phase.Connection.Limits.MaxTextBytes);
    private byte[] _answer = [];
    private int _sent;
    private uint _tag = Bhs.ReservedTag;

    public void Handle(Bhs header, ReadOnlySpan<byte> data)
    {
        bool goesOn = header.TargetTransferTag != Bhs.ReservedTag;
        if (goesOn && header.TargetTransferTag != _tag)
        {
            phase.Sender.Reject(header, RejectReason.InvalidPduField);
            return;
        }
        if (!_text.TryAdd(data))
        {
            // The exchange ends, the connection does not.
            _text.Clear();
            _tag = Bhs.ReservedTag;
            phase.Sender.Reject(header, RejectReason.InvalidPduField);
            return;
        }
        if ((header.Flags & TextPdu.Continue) != 0)
        {
            // More text is to come: an empty answer asks for it (RFC 7143 11.11.2).
            _tag = phase.Connection.NewTransferTag();
            Send(header.InitiatorTaskTag, 0, [], _tag);
            return;
        }
        if (!goesOn || !_text.IsEmpty)
        {
            _answer = TextKeys.Format(Answer(_text.Take()));
            _sent = 0;
        }
        int length = Math.Min(_answer.Length - _sent, phase.Parameters.PeerMaxRecvDataSegmentLength);
        bool last = _sent + length == _answer.Length;
        _tag = last ? Bhs.ReservedTag : phase.Connection.NewTransferTag();
        Send(header.InitiatorTaskTag, last ? TextPdu.Final : TextPdu.Continue, _answer.AsSpan(_sent, length), _tag);
        _sent += length;
    }

    private void Send(uint tag, byte flags, ReadOnlySpan<byte> text, uint transferTag)
    {
        TextPdu.Write(phase.Sender.NextHeader(text.Length), PduOpcode.TextResponse, flags, tag, transferTag, text.Length);
        text.CopyTo(phase.Sender.FinishHeader(advanceStatSn: true, text.Length));
        phase.Sender.FinishData(text.Length);
    }

    private List<KeyValuePair<string, string>> Answer(List<KeyValuePair<string, string>> keys)
    {
        var answer = new List<KeyValuePair<string, string>>();
        var (parameters, server) = (phase.Parameters, phase.Connection.Server);
        foreach (var (key, value) in keys)
        {
            if (key == "SendTargets")
            {
                answer.AddRange(SendTargets.Answer(value, parameters.IsDiscovery, phase.Session.Target, server.Targets,
                    server.Portals, parameters.InitiatorName, phase.Connection.Local.Address));
            }
            else if (!NegotiableKeys.Table.TryGetValue(key, out var negotiable))
            {
                answer.Add(new(key, NegotiableKeys.NotUnderstood));
            }
            else
            {
                bool allowed = (negotiable.Scope & KeyScope.FullFeature) != 0;
                string? reply = allowed ? negotiable.Answer(parameters, phase.Connection.Limits, value) : NegotiableKeys.Reject;
                if (reply is not null) answer.Add(new(key, reply));
                phase.Sender.Renegotiate(parameters);
            }
        }
        return answer;
    }
}

/// <summary>Text that comes in several PDUs.</summary>
internal sealed class TextCollector(int maxBytes)
{
    private readonly List<byte> _bytes = [];

    public bool IsEmpty => _bytes.Count == 0;

    /// <summary>Takes more text; false when it is more than there may be.</summary>
    public bool TryAdd(ReadOnlySpan<byte> data)
    {
        if (_bytes.Count + data.Length > maxBytes) return false;
        _bytes.AddRange(data);
        return true;
    }

    public void Clear() => _bytes.Clear();

    /// <summary>The keys of all that has come.</summary>
    public List<KeyValuePair<string, string>> Take()
    {
        var keys = TextKeys.Parse([.. _bytes]);
        _bytes.Clear();
        return keys;
    }
}
