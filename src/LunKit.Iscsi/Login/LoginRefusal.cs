using LunKit.Iscsi.Pdus;

namespace LunKit.Iscsi.Login;

/// <summary>
/// The Login Response with which a connection is turned away before it has a login of its own, e.g. with
/// <see cref="LoginStatus.OutOfResources"/> when there is no room for another one (RFC 7143 11.13.5).
/// </summary>
internal static class LoginRefusal
{
    /// <summary>
    /// The response, header only. <paramref name="request"/> is what has been received of the Login Request: with its whole header the
    /// response is the answer to it; with less it carries the same status for an initiator's log, and an initiator task tag that is none.
    /// </summary>
    public static byte[] Write(ReadOnlySpan<byte> request, LoginStatus status)
    {
        var response = new byte[Bhs.Length];
        Span<byte> header = stackalloc byte[Bhs.Length];
        bool answers = request.Length >= Bhs.Length && (PduOpcode)(request[0] & 0x3F) == PduOpcode.LoginRequest;
        if (answers) request[..Bhs.Length].CopyTo(header);
        var asked = new Bhs(header);
        var login = new LoginPdu(header);
        LoginPdu.WriteResponse(response, false, false, login.CurrentStage, LoginStage.Security, login.Isid, login.Tsih,
            answers ? asked.InitiatorTaskTag : Bhs.ReservedTag, status, 0);
        _ = new Bhs(response) { ExpCmdSn = asked.CmdSn, MaxCmdSn = asked.CmdSn };
        return response;
    }
}
