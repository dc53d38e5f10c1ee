using LunKit.Iscsi.Pdus;

namespace LunKit.Iscsi.Login;

/// <summary>
/// The Login Requests of one connection, from PDUs to complete texts and back (RFC 7143 6.3, 11.12). Puts together a text that is split
/// over PDUs, bounds what one login may send, and checks what must not change from one request to the next. Without I/O.
/// </summary>
internal sealed class LoginExchange(LoginNegotiation negotiation, IscsiLimits limits)
{
    /// <summary>What an initiator takes in one PDU during login (RFC 7143 13.12).</summary>
    private const int MaxAnswer = 8192;

    private readonly List<byte> _text = [];
    private (ulong Isid, ushort Tsih, ushort ConnectionId)? _identity;
    private int _rounds;

    /// <summary>Takes one request and says what to answer to it; after any status but success the login is over.</summary>
    public LoginAnswer Take(LoginPdu pdu, ReadOnlySpan<byte> data)
    {
        if (pdu.VersionMin > 0) return Failed(LoginStatus.UnsupportedVersion, $"version {pdu.VersionMin}");
        var identity = (pdu.Isid, pdu.Tsih, pdu.ConnectionId);
        _identity ??= identity;
        if (_identity != identity) return Failed(LoginStatus.InitiatorError, "ISID, TSIH or CID change during the login");
        negotiation.IsLeading = pdu.Tsih == 0;
        if (++_rounds > limits.MaxNegotiationRounds) return Failed(LoginStatus.InitiatorError, $"more than {limits.MaxNegotiationRounds} login requests");
        if (pdu is { Continue: true, Transit: true }) return Failed(LoginStatus.InitiatorError, "a login request with both T and C");
        if (_text.Count + data.Length > limits.MaxTextBytes) return Failed(LoginStatus.InitiatorError, $"more than {limits.MaxTextBytes} bytes of text");
        _text.AddRange(data);
        // More of this text is to come: an empty answer asks for it (RFC 7143 11.13).
        if (pdu.Continue) return new(LoginStatus.Success, false, pdu.CurrentStage, []);
        bool parsed = TextKeys.TryParse([.. _text], out var pairs, out string? fault);
        _text.Clear();
        if (!parsed) return Failed(LoginStatus.InitiatorError, fault!);
        var answer = negotiation.Step(pdu.Transit, pdu.CurrentStage, pdu.NextStage, pairs);
        return TextKeys.Format(answer.Keys).Length <= MaxAnswer ? answer
            : Failed(LoginStatus.InitiatorError, "more keys than fit into an answer");
    }

    private static LoginAnswer Failed(LoginStatus status, string reason) => LoginNegotiation.Failed(status, reason);
}
