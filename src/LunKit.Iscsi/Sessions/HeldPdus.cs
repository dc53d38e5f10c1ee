using LunKit.Fabrics;
using LunKit.Iscsi.Pdus;

namespace LunKit.Iscsi.Sessions;

/// <summary>
/// Commands that came before their turn (an earlier one is on its way on another connection, or is sent again), with the data PDUs
/// that followed them. Bounded in number by the command window, in bytes by the connection's account. Only the connection's thread
/// uses it.
/// </summary>
internal sealed class HeldPdus(int maxCommands, MemoryAccount memory)
{
    private readonly SortedDictionary<uint, List<byte[]>> _commands = [];

    public int Count => _commands.Count;

    /// <summary>Memory for a copy of a command and its data, held at its CmdSN; null when there is no room.</summary>
    public byte[]? Add(Bhs header, int length)
    {
        if (_commands.Count >= maxCommands || memory.IsExhausted || _commands.ContainsKey(header.CmdSn)) return null;
        var pdu = Copy(header, length);
        _commands.Add(header.CmdSn, [pdu]);
        return pdu;
    }

    /// <summary>Memory for a copy of a Data-Out whose command is held; null when none is, or when there is no room.</summary>
    public byte[]? Follow(Bhs header, int length)
    {
        if (_commands.Count == 0 || memory.IsExhausted) return null;
        foreach (var pdus in _commands.Values)
        {
            if (new Bhs(pdus[0].AsSpan(0, Bhs.Length)).InitiatorTaskTag != header.InitiatorTaskTag) continue;
            var pdu = Copy(header, length);
            pdus.Add(pdu);
            return pdu;
        }
        return null;
    }

    /// <summary>Forgets a PDU whose data turned out to be damaged.</summary>
    public void Drop(byte[] pdu)
    {
        foreach (var (cmdSn, pdus) in _commands)
        {
            if (!pdus.Remove(pdu)) continue;
            memory.Refund(pdu.Length);
            if (pdus.Count == 0) _commands.Remove(cmdSn);
            return;
        }
    }

    /// <summary>The PDUs of the command whose turn it is, if it is here.</summary>
    public List<byte[]>? Take(uint cmdSn)
    {
        if (!_commands.Remove(cmdSn, out var pdus)) return null;
        foreach (var pdu in pdus) memory.Refund(pdu.Length);
        return pdus;
    }

    private byte[] Copy(Bhs header, int length)
    {
        var pdu = new byte[Bhs.Length + length];
        memory.Charge(pdu.Length);
        header.Bytes.CopyTo(pdu);
        return pdu;
    }
}
