using LunKit.Iscsi.Pdus;

namespace LunKit.Iscsi.Login;

/// <summary>What to answer to one Text Request: a Reject, or a Text Response.</summary>
/// <param name="Rejection">Why the request is rejected; null: it is answered.</param>
/// <param name="Flags">F and C of the response.</param>
/// <param name="TransferTag">Target transfer tag of the response.</param>
/// <param name="Text">Text of the response.</param>
/// <param name="HasNewParameters">Whether the exchange has ended and has changed what was negotiated.</param>
internal readonly record struct TextReply(
    RejectReason? Rejection, byte Flags, uint TransferTag, ReadOnlyMemory<byte> Text, bool HasNewParameters = false);

/// <summary>
/// Text negotiation in full feature phase (RFC 7143 6.4, 11.10): one exchange at a time on a connection, of one request or several, without
/// I/O. A request that breaks the rules is rejected and ends its exchange; what the exchange negotiated takes effect when it ends well.
/// Only the connection's thread uses it.
/// </summary>
/// <param name="parameters">The connection's parameters.</param>
/// <param name="limits">Bounds of one exchange.</param>
/// <param name="sendTargets">Answers SendTargets; null for a value that is refused.</param>
internal sealed class TextExchange(
    NegotiatedParameters parameters, IscsiLimits limits, Func<string, IReadOnlyList<KeyValuePair<string, string>>?> sendTargets)
{
    private readonly List<byte> _received = [];
    private readonly HashSet<string> _seen = new(StringComparer.Ordinal);
    private NegotiatedParameters? _draft;
    private ReadOnlyMemory<byte> _answer;
    private uint _tag = Bhs.ReservedTag;
    private uint _nextTag;
    private int _rounds;
    private bool _understood;
    private bool _ends;

    /// <summary>Takes one request: its final (F) and continue (C) flags, its target transfer tag and its data.</summary>
    public TextReply Take(bool final, bool more, uint transferTag, ReadOnlySpan<byte> data)
    {
        // A request without a tag of ours begins anew, whatever went on before (RFC 7143 11.10.4).
        if (transferTag == Bhs.ReservedTag) Reset();
        else if (transferTag != _tag) return new(RejectReason.InvalidPduField, 0, 0, default);
        if (!_answer.IsEmpty) return data.IsEmpty && !more ? NextPart() : Refuse();
        if (final && more || ++_rounds > limits.MaxNegotiationRounds || _received.Count + data.Length > limits.MaxTextBytes) return Refuse();
        _received.AddRange(data);
        // More of this text is to come: an empty answer asks for it (RFC 7143 11.11.2).
        if (more) return new(null, 0, _tag = NewTag(), default);
        bool parsed = TextKeys.TryParse([.. _received], out var pairs, out _);
        _received.Clear();
        _draft ??= parameters.Draft();
        var answer = new List<KeyValuePair<string, string>>();
        if (!parsed || !Answer(pairs, answer)) return Refuse();
        _ends = final;
        _answer = TextKeys.Format(answer);
        return NextPart();
    }

    /// <summary>
    /// False when the request is rejected as a whole: nothing in it is understood, a key stands twice, or a target is asked wrongly.
    /// </summary>
    private bool Answer(List<KeyValuePair<string, string>> pairs, List<KeyValuePair<string, string>> answer)
    {
        foreach (var (key, value) in pairs)
        {
            // An answer to what was said before ends the matter.
            bool isAnswer = NegotiableKeys.IsAnswer(value) || NegotiableKeys.IsOfTarget(key);
            if (!isAnswer && !_seen.Add(key)) return false;
            _understood |= isAnswer || key == "SendTargets" || NegotiableKeys.Table.ContainsKey(key);
            if (isAnswer) continue;
            if (key == "SendTargets")
            {
                if (sendTargets(value) is not { } targets) return false;
                answer.AddRange(targets);
                continue;
            }
            string? reply = !NegotiableKeys.Table.TryGetValue(key, out var negotiable) ? NegotiableKeys.NotUnderstood
                : (negotiable.Scope & KeyScope.FullFeature) == 0 ? NegotiableKeys.Reject : negotiable.Answer(_draft!, limits, value);
            if (reply is not null) answer.Add(new(key, reply));
        }
        return _understood;
    }

    /// <summary>
    /// The next part of the answer, as long as the initiator takes it in one PDU. With the last one a final request ends the exchange.
    /// </summary>
    private TextReply NextPart()
    {
        int length = Math.Min(_answer.Length, parameters.PeerMaxRecvDataSegmentLength);
        var part = _answer[..length];
        _answer = _answer[length..];
        if (!_answer.IsEmpty) return new(null, TextPdu.Continue, _tag = NewTag(), part);
        if (!_ends) return new(null, 0, _tag = NewTag(), part);
        bool changed = _draft is { } draft && (draft.PeerMaxRecvDataSegmentLength, draft.InitiatorAlias) !=
            (parameters.PeerMaxRecvDataSegmentLength, parameters.InitiatorAlias);
        if (changed) parameters.Take(_draft!);
        Reset();
        return new(null, TextPdu.Final, Bhs.ReservedTag, part, changed);
    }

    private TextReply Refuse()
    {
        Reset();
        return new(RejectReason.ProtocolError, 0, 0, default);
    }

    private void Reset()
    {
        _received.Clear();
        _seen.Clear();
        (_draft, _answer, _tag, _rounds, _understood, _ends) = (null, default, Bhs.ReservedTag, 0, false, false);
    }

    private uint NewTag() => _nextTag = _nextTag + 1 == Bhs.ReservedTag ? 0 : _nextTag + 1;
}
