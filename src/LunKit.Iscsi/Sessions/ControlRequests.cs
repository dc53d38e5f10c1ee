using LunKit.Iscsi.Pdus;

namespace LunKit.Iscsi.Sessions;

/// <summary>NOP, text, logout, and asynchronous messages. Only the connection's thread uses it.</summary>
internal sealed class ControlRequests(FullFeaturePhase phase)
{
    // Nobody gives up more connections at once than a session has.
    private const int MaxPendingLogouts = 16;

    private static readonly TimeSpan s_release = TimeSpan.FromSeconds(5);

    /// <summary>A logout that gave up another connection, and is answered when that is gone.</summary>
    private readonly record struct PendingLogout(uint Tag, IscsiConnection Connection, long Since);

    private readonly TextRequests _text = new(phase);
    private readonly List<PendingLogout> _logouts = [];

    private PduSender Sender => phase.Sender;
    private TimeProvider Clock => phase.Connection.Clock;

    /// <summary>Whether logouts wait for other connections.</summary>
    public bool IsPending => _logouts.Count > 0;

    public void Handle(Bhs header, ReadOnlySpan<byte> data)
    {
        switch (header.Opcode)
        {
            case PduOpcode.NopOut:
                HandleNop(header, data);
                break;
            case PduOpcode.TextRequest:
                _text.Handle(header, data);
                break;
            default:
                HandleLogout(header);
                break;
        }
    }

    private void HandleNop(Bhs header, ReadOnlySpan<byte> data)
    {
        // The answer to a ping of ours carries a target transfer tag and asks for nothing.
        if (header.InitiatorTaskTag == Bhs.ReservedTag) return;
        int length = Math.Min(data.Length, phase.Parameters.PeerMaxRecvDataSegmentLength);
        NopPdu.Write(Sender.NextHeader(length), PduOpcode.NopIn, 0, header.InitiatorTaskTag, Bhs.ReservedTag, length);
        data[..length].CopyTo(Sender.FinishHeader(advanceStatSn: true, length));
        Sender.FinishData(length);
    }

    public void SendPing()
    {
        NopPdu.Write(Sender.NextHeader(), PduOpcode.NopIn, 0, Bhs.ReservedTag, phase.Connection.NewTransferTag(), 0);
        Sender.FinishPdu(advanceStatSn: false);
    }

    private void HandleLogout(Bhs header)
    {
        var pdu = new LogoutPdu(header.Bytes);
        // 0: the session; 1: a connection of it, this or another; 2: the same, but its tasks are to be taken over by another.
        var (session, own, id) = (phase.Session, phase.Connection, pdu.ConnectionId);
        var others = session.Connections.Where(c => c != own).ToList();
        var named = id == own.ConnectionId ? own : others.Concat(session.Keepers).FirstOrDefault(c => c.ConnectionId == id);
        switch (pdu.Reason)
        {
            case 0:
                // The nexus ends before the initiator hears so: what it held (RESERVE, PREVENT) must be free for its next command
                // elsewhere.
                session.Nexus.Close();
                Respond(header.InitiatorTaskTag, 0);
                session.Close("the session was logged out", except: own);
                own.CloseWhenFlushed("logged out", endsTasks: true);
                break;
            case 1 or 2 when named is null:
                Respond(header.InitiatorTaskTag, 1);
                break;
            case 1 when named == own:
                if (others.Count == 0) session.Nexus.Close();
                Respond(header.InitiatorTaskTag, 0);
                if (others.Count == 0) session.Close("the session was logged out", except: own);
                own.CloseWhenFlushed("logged out", endsTasks: true);
                break;
            case 1:
                Respond(header.InitiatorTaskTag, 0);
                named.Abort("logged out through another connection");
                break;
            case 2 when session.Parameters.ErrorRecoveryLevel == 2:
                LogOutForRecovery(header, named);
                break;
            default:
                Respond(header.InitiatorTaskTag, 2);
                break;
        }
    }

    /// <summary>Gives a connection up for recovery. Another one is answered for when it is gone for the network.</summary>
    private void LogOutForRecovery(Bhs header, IscsiConnection named)
    {
        if (named == phase.Connection)
        {
            Respond(header.InitiatorTaskTag, 0);
            named.CloseForRecovery("logged out");
            return;
        }
        if (_logouts.Count >= MaxPendingLogouts)
        {
            Respond(header.InitiatorTaskTag, 3);
            return;
        }
        named.LogOutForRecovery("logged out for recovery");
        _logouts.Add(new(header.InitiatorTaskTag, named, Clock.GetTimestamp()));
        Check();
    }

    /// <summary>Answers the logouts whose connection is gone, or does not go.</summary>
    public bool Check()
    {
        bool any = false;
        for (int i = 0; i < _logouts.Count; i++)
        {
            var (tag, named, since) = _logouts[i];
            bool released = named.Released.IsCompleted;
            if (!released && Clock.GetElapsedTime(since) < s_release) continue;
            _logouts.RemoveAt(i--);
            Respond(tag, released ? (byte)0 : (byte)3);
            any = true;
        }
        return any;
    }

    /// <param name="tag">Of the request.</param>
    /// <param name="response">0 done, 1 no such connection, 2 no connection recovery, 3 clean-up failed.</param>
    private void Respond(uint tag, byte response)
    {
        LogoutPdu.WriteResponse(Sender.NextHeader(), tag, response, phase.Parameters.DefaultTime2Wait, phase.Parameters.DefaultTime2Retain);
        Sender.FinishPdu(advanceStatSn: true);
    }

    /// <summary>Asks the initiator to log out.</summary>
    public void RequestLogout(int seconds)
    {
        AsyncMessagePdu.Write(Sender.NextHeader(), 1, 0, 0, seconds);
        Sender.FinishPdu(advanceStatSn: true);
    }
}
