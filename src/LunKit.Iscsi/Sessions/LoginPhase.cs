using LunKit.Iscsi.Login;
using LunKit.Iscsi.Pdus;

namespace LunKit.Iscsi.Sessions;

/// <summary>
/// The login phase of a connection: text from PDUs to the negotiation and back, then a place in a session. Ends by making the
/// <see cref="FullFeaturePhase"/>. Only the connection's thread uses it.
/// </summary>
internal sealed class LoginPhase(IscsiConnection connection, PduSender sender, PduReceiver receiver)
{
    private readonly IscsiLimits _limits = connection.Limits;
    private readonly LoginNegotiation _negotiation = new(connection.Server, connection.Limits, connection.GroupTag);
    private readonly TextCollector _text = new(connection.Limits.MaxTextBytes);
    private int _rounds;

    /// <summary>What the initiator has named itself; empty before it did.</summary>
    public string InitiatorName => _negotiation.Parameters.InitiatorName;

    /// <summary>Serves a login request. Not null: the login is complete, and answered.</summary>
    public FullFeaturePhase? Handle(Bhs header, ReadOnlySpan<byte> data)
    {
        var pdu = new LoginPdu(header.Bytes);
        if (++_rounds > _limits.MaxNegotiationRounds) throw new IscsiProtocolException("a login that does not come to an end");
        if (_rounds == 1) connection.ConnectionId = pdu.ConnectionId;
        _negotiation.IsLeading = pdu.Tsih == 0;
        if (!_text.TryAdd(data)) throw new IscsiProtocolException($"more than {_limits.MaxTextBytes} bytes of text");
        if (pdu.VersionMin > 0)
        {
            Answer(header, new(LoginStatus.UnsupportedVersion, false, LoginStage.Security, [], $"version {pdu.VersionMin}"), 0);
            return null;
        }
        if (pdu.Continue)
        {
            if (pdu.Transit) throw new IscsiProtocolException("a login request with both T and C");
            Answer(header, new(LoginStatus.Success, false, pdu.CurrentStage, []), pdu.Tsih);
            return null;
        }
        var answer = _negotiation.Step(pdu.Transit, pdu.CurrentStage, pdu.NextStage, _text.Take());
        if (answer is not { Status: LoginStatus.Success, Transit: true, Next: LoginStage.FullFeature })
        {
            Answer(header, answer, pdu.Tsih);
            return null;
        }
        var (status, session, reason) = connection.Server.Admit(connection, _negotiation, pdu.Isid, pdu.Tsih, header.CmdSn);
        if (session is null)
        {
            Answer(header, new(status, false, LoginStage.Security, [], reason), pdu.Tsih);
            return null;
        }
        connection.Join(session);
        sender.Join(session.Window);
        Answer(header, answer, session.Tsih);
        return Complete(session, isFirst: pdu.Tsih == 0);
    }

    private FullFeaturePhase Complete(IscsiSession session, bool isFirst)
    {
        var parameters = _negotiation.Parameters;
        if (!isFirst) parameters.JoinSession(session.Parameters);
        var phase = new FullFeaturePhase(connection, session, parameters, sender, receiver);
        sender.Output.Grow();
        sender.EnterFullFeature(parameters, phase.Kept);
        receiver.EnterFullFeature(phase);
        LogMessages.LoggedIn(connection.Server.Log, parameters.InitiatorName, connection.Remote.ToString(),
            _negotiation.Target?.Name ?? "discovery", session.Tsih, _negotiation.User ?? "-");
        return phase;
    }

    private void Answer(Bhs request, LoginAnswer answer, ushort tsih)
    {
        var pdu = new LoginPdu(request.Bytes);
        var text = TextKeys.Format(answer.Keys);
        if (text.Length > 8192) throw new IscsiProtocolException("a login answer of more than 8192 bytes");
        LoginPdu.WriteResponse(sender.NextHeader(text.Length), answer.Transit, false, pdu.CurrentStage, answer.Next, pdu.Isid, tsih,
            request.InitiatorTaskTag, answer.Status, text.Length);
        var data = sender.FinishHeader(advanceStatSn: answer.Status == LoginStatus.Success, text.Length);
        text.CopyTo(data);
        sender.FinishData(text.Length);
        sender.SetWindowOfLogin(request.CmdSn);
        if (answer.Status == LoginStatus.Success) return;
        LogMessages.LoginRefused(connection.Server.Log, InitiatorName, connection.Remote.ToString(),
            ((ushort)answer.Status).ToString("x4", null), answer.Reason);
        connection.CloseWhenFlushed("login refused", endsTasks: true);
    }
}
