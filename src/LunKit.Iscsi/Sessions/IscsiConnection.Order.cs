using LunKit.Iscsi.Pdus;

namespace LunKit.Iscsi.Sessions;

/// <summary>The order of a session's commands (RFC 7143 4.2.2.1): each waits for its turn.</summary>
internal sealed partial class IscsiConnection
{
    private readonly HeldPdus _held;

    /// <summary>Takes a non-immediate command's turn. One that is early is kept, one outside the window or seen before is ignored.</summary>
    private bool IsTurnOf(Bhs header, Span<byte> ahs, ReadOnlySpan<byte> data)
    {
        switch (Session!.Window.Take(header.CmdSn))
        {
            case CommandOrder.Now:
                Session.WakeOthers(this);
                return true;
            case CommandOrder.Later when _held.Add(header, ahs.Length + data.Length) is { } pdu:
                ahs.CopyTo(pdu.AsSpan(Bhs.Length));
                data.CopyTo(pdu.AsSpan(Bhs.Length + ahs.Length));
                return false;
            default:
                return false;
        }
    }

    /// <summary>Serves commands that waited for earlier ones.</summary>
    private void ServeHeldCommands()
    {
        while (_held.Count > 0 && _held.Take(Session!.Window.ExpCmdSn) is { } pdus)
        {
            foreach (var pdu in pdus)
            {
                var header = new Bhs(pdu.AsSpan(0, Bhs.Length));
                int dataAt = Bhs.Length + header.AhsLength;
                Handle(header, pdu.AsSpan(Bhs.Length, header.AhsLength), pdu.AsMemory(dataAt));
            }
        }
    }
}
