using LunKit.Iscsi.Discovery;
using LunKit.Iscsi.Login;
using LunKit.Iscsi.Pdus;

namespace LunKit.Iscsi.Sessions;

/// <summary>NOP, text, logout, and asynchronous messages.</summary>
internal sealed partial class IscsiConnection
{
    private readonly TextExchange _text;
    private uint _pingTag;

    private void HandleControl(Bhs header, Memory<byte> data)
    {
        if (!header.IsImmediate && !IsTurnOf(header, default, data.Span)) return;
        switch (header.Opcode)
        {
            case PduOpcode.NopOut:
                HandleNop(header, data.Span);
                break;
            case PduOpcode.TextRequest:
                HandleText(header, data.Span);
                break;
            case PduOpcode.LogoutRequest:
                HandleLogout(header);
                break;
            default:
                HandleTaskManagement(header);
                break;
        }
    }

    private void HandleNop(Bhs header, ReadOnlySpan<byte> data)
    {
        // The answer to a ping of ours carries a target transfer tag and asks for nothing.
        if (header.InitiatorTaskTag == Bhs.ReservedTag) return;
        int length = Math.Min(data.Length, _negotiation.Parameters.PeerMaxRecvDataSegmentLength);
        NopPdu.Write(NextHeader(length), PduOpcode.NopIn, 0, header.InitiatorTaskTag, Bhs.ReservedTag, length);
        data[..length].CopyTo(FinishHeader(advanceStatSn: true, length));
        FinishData(length);
    }

    private void SendPing()
    {
        _pingTag = NewTransferTag();
        NopPdu.Write(NextHeader(), PduOpcode.NopIn, 0, Bhs.ReservedTag, _pingTag, 0);
        FinishHeader(advanceStatSn: false, 0);
    }

    private void HandleText(Bhs header, ReadOnlySpan<byte> data)
    {
        var reply = _text.Take(header.IsFinal, (header.Flags & TextPdu.Continue) != 0, header.TargetTransferTag, data);
        if (reply.Rejection is { } reason)
        {
            Reject(header, reason);
            return;
        }
        int length = reply.Text.Length;
        TextPdu.Write(NextHeader(length), PduOpcode.TextResponse, reply.Flags, header.InitiatorTaskTag, reply.TransferTag, length);
        reply.Text.Span.CopyTo(FinishHeader(advanceStatSn: true, length));
        FinishData(length);
        if (reply.HasNewParameters) DataInLayout = new DataInLayout(_negotiation.Parameters);
    }

    private List<KeyValuePair<string, string>>? AnswerSendTargets(string value) => SendTargets.Answer(
        value, _negotiation.Parameters.IsDiscovery, Session!.Target, _server.Targets, _server.Portals,
        _negotiation.Parameters.InitiatorName, Local.Address);

    private void HandleLogout(Bhs header)
    {
        var pdu = new LogoutPdu(header.Bytes);
        // 0: the session; 1: a connection of it, this or another; 2: the same, but its tasks are to be taken over by another.
        var (session, id) = (Session!, pdu.ConnectionId);
        var others = session.Connections.Where(c => c != this).ToList();
        var named = id == ConnectionId ? this : others.Concat(session.Keepers).FirstOrDefault(c => c.ConnectionId == id);
        byte response = pdu.Reason switch
        {
            0 => 0,
            1 or 2 when named is null => 1,
            1 => 0,
            2 when session.Parameters.ErrorRecoveryLevel == 2 => LogOutForRecovery(named!),
            _ => 2,
        };
        bool endsSession = pdu.Reason == 0 || pdu.Reason == 1 && others.Count == 0 && named == this;
        // The nexus ends before the initiator hears so: what it held (RESERVE, PREVENT) must be free for its next command elsewhere.
        if (response == 0 && endsSession) session.Nexus.Close();
        LogoutPdu.WriteResponse(NextHeader(), header.InitiatorTaskTag, response,
            _negotiation.Parameters.DefaultTime2Wait, _negotiation.Parameters.DefaultTime2Retain);
        FinishHeader(advanceStatSn: true, 0);
        if (response != 0) return;
        if (endsSession) session.Close("the session was logged out", except: this);
        else if (pdu.Reason == 1 && named != this) named!.Abort("logged out through another connection");
        if (pdu.Reason != 0 && named != this) return;
        _endReason ??= "logged out";
        _endsTasks = pdu.Reason != 2;
        _closeAfterFlush = true;
    }

    /// <summary>Gives a connection up for recovery; the response code.</summary>
    private byte LogOutForRecovery(IscsiConnection named)
    {
        if (named == this)
        {
            IsLoggedOutForRecovery = true;
            return 0;
        }
        named.LogOutForRecovery("logged out for recovery");
        return named.Released.Wait(TimeSpan.FromSeconds(5)) ? (byte)0 : (byte)3;
    }

    private void SendAsyncLogoutRequest(int seconds)
    {
        AsyncMessagePdu.Write(NextHeader(), 1, 0, 0, seconds);
        FinishHeader(advanceStatSn: true, 0);
    }
}
