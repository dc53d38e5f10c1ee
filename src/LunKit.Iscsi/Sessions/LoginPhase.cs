using LunKit.Iscsi.Login;
using LunKit.Iscsi.Pdus;

namespace LunKit.Iscsi.Sessions;

/// <summary>
/// The login phase of a connection: text from PDUs to the negotiation and back, then a place in a session. Ends by making the
/// <see cref="FullFeaturePhase"/>. Only the connection's thread uses it.
/// </summary>
internal sealed class LoginPhase
{
    private readonly IscsiConnection _connection;
    private readonly PduSender _sender;
    private readonly PduReceiver _receiver;
    private readonly LoginNegotiation _negotiation;
    private readonly LoginExchange _exchange;
    private byte[] _request = [];
    private LoginAnswer _answer;
    private SessionClaim? _claim;

    public LoginPhase(IscsiConnection connection, PduSender sender, PduReceiver receiver)
    {
        (_connection, _sender, _receiver) = (connection, sender, receiver);
        _negotiation = new LoginNegotiation(connection.Server, connection.Limits, connection.GroupTag);
        _exchange = new LoginExchange(_negotiation, connection.Limits);
    }

    /// <summary>What the initiator has named itself; empty before it did.</summary>
    public string InitiatorName => _negotiation.Parameters.InitiatorName;

    /// <summary>Serves a login request. Not null: the login is complete, and answered.</summary>
    public FullFeaturePhase? Handle(Bhs header, ReadOnlySpan<byte> data)
    {
        var pdu = new LoginPdu(header.Bytes);
        var answer = _connection.Refusal is { } refusal
            ? LoginNegotiation.Failed(LoginStatus.OutOfResources, refusal) : _exchange.Take(pdu, data);
        // The exchange refuses another one in a later request.
        _connection.ConnectionId = pdu.ConnectionId;
        if (answer is not { Status: LoginStatus.Success, Transit: true, Next: LoginStage.FullFeature })
        {
            Answer(header, answer, pdu.Tsih);
            return null;
        }
        _request = header.Bytes.ToArray();
        _answer = answer;
        _claim = _connection.Server.Sessions.Claim(_connection, _negotiation, pdu.Isid, pdu.Tsih, header.CmdSn);
        return Continue();
    }

    /// <summary>Whether the login is complete but for its place in a session.</summary>
    public bool IsWaiting => _claim is not null;

    /// <summary>Asks for the place again. Not null: the login is complete, and answered.</summary>
    public FullFeaturePhase? Continue()
    {
        if (_claim?.Ask(out _claim) is not { } place) return null;
        _claim = null;
        var header = new Bhs(_request);
        var pdu = new LoginPdu(_request);
        if (place.Session is not { } session)
        {
            Answer(header, new(place.Status, false, LoginStage.Security, [], place.Reason), pdu.Tsih);
            return null;
        }
        _connection.Join(session);
        _sender.Join(session.Window);
        Answer(header, _answer, session.Tsih);
        return Complete(session, isFirst: pdu.Tsih == 0);
    }

    /// <summary>The connection ends: its place is free for others.</summary>
    public void Abandon()
    {
        _claim?.Abandoned?.Invoke();
        _claim = null;
    }

    private FullFeaturePhase Complete(IscsiSession session, bool isFirst)
    {
        var parameters = _negotiation.Parameters;
        if (!isFirst) parameters.JoinSession(session.Parameters);
        var phase = new FullFeaturePhase(_connection, session, parameters, _sender, _receiver);
        _sender.Output.Grow();
        _sender.EnterFullFeature(parameters, phase.Kept);
        _receiver.EnterFullFeature(phase);
        LogMessages.LoggedIn(_connection.Server.Log, parameters.InitiatorName, _connection.Remote.ToString(),
            _negotiation.Target?.Name ?? "discovery", session.Tsih, _negotiation.User ?? "-");
        return phase;
    }

    private void Answer(Bhs request, LoginAnswer answer, ushort tsih)
    {
        var pdu = new LoginPdu(request.Bytes);
        var text = TextKeys.Format(answer.Keys);
        LoginPdu.WriteResponse(_sender.NextHeader(text.Length), answer.Transit, false, pdu.CurrentStage, answer.Next, pdu.Isid, tsih,
            request.InitiatorTaskTag, answer.Status, text.Length);
        var data = _sender.FinishHeader(advanceStatSn: answer.Status == LoginStatus.Success, text.Length);
        text.CopyTo(data);
        _sender.FinishData(text.Length);
        _sender.SetWindowOfLogin(request.CmdSn);
        if (answer.Status == LoginStatus.Success) return;
        LogMessages.LoginRefused(_connection.Server.Log, InitiatorName, _connection.Remote.ToString(),
            ((ushort)answer.Status).ToString("x4", null), answer.Reason);
        _connection.CloseWhenFlushed("login refused", endsTasks: true);
    }
}
