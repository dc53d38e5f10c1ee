using System.Diagnostics;
using LunKit.Iscsi.Login;
using LunKit.Iscsi.Pdus;

namespace LunKit.Iscsi.Sessions;

/// <summary>The login phase: text from PDUs to the negotiation and back, then a place in a session.</summary>
internal sealed partial class IscsiConnection
{
    private readonly LoginNegotiation _negotiation;
    private readonly long _accepted = Stopwatch.GetTimestamp();
    private readonly List<byte> _text = [];
    private int _rounds;

    private bool IsFullFeature { get; set; }

    private void HandleLogin(Bhs header, ReadOnlySpan<byte> data)
    {
        var pdu = new LoginPdu(header.Bytes);
        if (++_rounds > _limits.MaxNegotiationRounds) throw new IscsiProtocolException("a login that does not come to an end");
        if (_rounds == 1) ConnectionId = pdu.ConnectionId;
        _negotiation.IsLeading = pdu.Tsih == 0;
        AddText(data);
        if (pdu.VersionMin > 0)
        {
            Answer(header, new(LoginStatus.UnsupportedVersion, false, LoginStage.Security, [], $"version {pdu.VersionMin}"), 0);
            return;
        }
        if (pdu.Continue)
        {
            if (pdu.Transit) throw new IscsiProtocolException("a login request with both T and C");
            Answer(header, new(LoginStatus.Success, false, pdu.CurrentStage, []), pdu.Tsih);
            return;
        }
        var answer = _negotiation.Step(pdu.Transit, pdu.CurrentStage, pdu.NextStage, TextKeys.Parse([.. _text]));
        _text.Clear();
        ushort tsih = pdu.Tsih;
        if (answer is { Status: LoginStatus.Success, Transit: true, Next: LoginStage.FullFeature })
        {
            var (status, session, reason) = _server.Admit(this, _negotiation, pdu.Isid, pdu.Tsih, header.CmdSn);
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

    private void AddText(ReadOnlySpan<byte> data)
    {
        if (_text.Count + data.Length > _limits.MaxTextBytes) throw new IscsiProtocolException($"more than {_limits.MaxTextBytes} bytes of text");
        _text.AddRange(data);
    }

    private void Answer(Bhs request, LoginAnswer answer, ushort tsih)
    {
        var pdu = new LoginPdu(request.Bytes);
        var text = TextKeys.Format(answer.Keys);
        if (text.Length > 8192) throw new IscsiProtocolException("a login answer of more than 8192 bytes");
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
        LogMessages.LoginRefused(_server.Log, _negotiation.Parameters.InitiatorName, Remote.ToString(), ((ushort)answer.Status).ToString("x4", null), answer.Reason);
        _closeAfterFlush = true;
    }
}
