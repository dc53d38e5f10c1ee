using System.Diagnostics;
using LunKit.Iscsi.Login;
using LunKit.Iscsi.Pdus;

namespace LunKit.Iscsi.Sessions;

/// <summary>The login phase: text from PDUs to the negotiation and back, then a place in a session.</summary>
internal sealed partial class IscsiConnection
{
    private readonly LoginNegotiation _negotiation;
    private readonly long _accepted = Stopwatch.GetTimestamp();
    private readonly LoginExchange _login;

    private bool IsFullFeature { get; set; }

    private void HandleLogin(Bhs header, ReadOnlySpan<byte> data)
    {
        var pdu = new LoginPdu(header.Bytes);
        var answer = _login.Take(pdu, data);
        // The exchange refuses another one in a later request.
        ConnectionId = pdu.ConnectionId;
        ushort tsih = pdu.Tsih;
        if (answer is { Status: LoginStatus.Success, Transit: true, Next: LoginStage.FullFeature })
        {
            var (status, session, reason) =
                _server.Sessions.Admit(this, _negotiation, pdu.Isid, pdu.Tsih, header.CmdSn, _limits.QueueDepth);
            if (status == LoginStatus.Success)
            {
                Session = session;
                tsih = session!.Tsih;
            }
            else
            {
                answer = new(status, false, LoginStage.Security, [], reason);
            }
        }
        Answer(header, answer, tsih);
        if (Session is null) return;
        IsFullFeature = true;
        if (pdu.Tsih != 0) _negotiation.Parameters.JoinSession(Session.Parameters);
        DataInLayout = new DataInLayout(_negotiation.Parameters);
        if (CanRetry) _sent = new SentResponses(_limits.MaxRetainedBytesPerConnection, _memory);
        LogMessages.LoggedIn(_server.Log, _negotiation.Parameters.InitiatorName, Remote.ToString(),
            _negotiation.Target?.Name ?? "discovery", Session.Tsih, _negotiation.User ?? "-");
    }

    private void Answer(Bhs request, LoginAnswer answer, ushort tsih)
    {
        var pdu = new LoginPdu(request.Bytes);
        var text = TextKeys.Format(answer.Keys);
        LoginPdu.WriteResponse(NextHeader(text.Length), answer.Transit, false, pdu.CurrentStage, answer.Next, pdu.Isid, tsih,
            request.InitiatorTaskTag, answer.Status, text.Length);
        var data = FinishHeader(advanceStatSn: answer.Status == LoginStatus.Success, text.Length);
        text.CopyTo(data);
        FinishData(text.Length);
        if (Session is null)
        {
            // Before there is a session its numbers are the request's own (RFC 7143 11.13.4).
            var header = new Bhs(Output.Current.Array.AsSpan(_headerAt, Bhs.Length)) { ExpCmdSn = request.CmdSn };
            header.MaxCmdSn = request.CmdSn;
        }
        if (answer.Status == LoginStatus.Success) return;
        LogMessages.LoginRefused(_server.Log, _negotiation.Parameters.InitiatorName, Remote.ToString(),
            ((ushort)answer.Status).ToString("x4", null), answer.Reason);
        _closeAfterFlush = true;
    }
}
