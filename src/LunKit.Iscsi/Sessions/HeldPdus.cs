using LunKit.Fabrics;
using LunKit.Iscsi.Pdus;

namespace LunKit.Iscsi.Sessions;

/// <summary>
/// Commands that came before their turn (an earlier one is on its way on another connection, or is sent again), with the data PDUs
/// that followed them. Bounded in number by the command window, in bytes by the connection's account and FirstBurstLength. Only the
/// connection's thread uses it.
/// </summary>
internal sealed class HeldPdus(int maxCommands, int maxUnsolicited, MemoryAccount memory, CommandWindow window)
{
    private sealed class Held
    {
        public readonly List<byte[]> Pdus = [];
        public uint Tag;
        public int DataBytes;

        /// <summary>There was no room for its data, which is gone: it is refused when it is its turn.</summary>
        public bool IsRefused;
    }

    private readonly Dictionary<uint, Held> _commands = [];

    public int Count => _commands.Count;

    /// <summary>Whether one more can be held. The first always can: what it waits for comes on another connection.</summary>
    public bool HasRoom => _commands.Count == 0 || _commands.Count < maxCommands && !memory.IsExhausted;

    /// <summary>
    /// Memory for a copy of a command and its data, held at its CmdSN; null when it is here already, or when there is no room: a SCSI command is
    /// then held without its data, to be refused.
    /// </summary>
    public byte[]? Add(Bhs header, int length)
    {
        if (_commands.Count >= maxCommands || _commands.ContainsKey(header.CmdSn)) return null;
        // What is no SCSI command and has data does not come here without room; the rest is short.
        bool isRefused = header.Opcode == PduOpcode.ScsiCommand && !HasRoom;
        var held = new Held { Tag = header.InitiatorTaskTag, IsRefused = isRefused };
        var pdu = Copy(header, isRefused ? 0 : length);
        held.Pdus.Add(pdu);
        _commands.Add(header.CmdSn, held);
        if (_commands.Count == 1) window.AddWaiter();
        return isRefused ? null : pdu;
    }

    /// <summary>Memory for a copy of a Data-Out whose command is held; null when none is.</summary>
    public byte[]? Follow(Bhs header, int length)
    {
        if (_commands.Count == 0) return null;
        foreach (var held in _commands.Values)
        {
            if (held.Tag != header.InitiatorTaskTag) continue;
            held.DataBytes += length;
            if (held.DataBytes > maxUnsolicited) throw new IscsiProtocolException("unsolicited data past FirstBurstLength");
            if (held.IsRefused) return null;
            var pdu = Copy(header, length);
            held.Pdus.Add(pdu);
            return pdu;
        }
        return null;
    }

    /// <summary>Forgets a PDU whose data turned out to be damaged.</summary>
    public void Drop(byte[] pdu)
    {
        foreach (var (cmdSn, held) in _commands)
        {
            if (!held.Pdus.Remove(pdu)) continue;
            memory.Refund(pdu.Length);
            if (held.Pdus.Count == 0) Remove(cmdSn);
            return;
        }
    }

    /// <summary>The PDUs of the command whose turn it is, if all that has begun of them is here.</summary>
    /// <param name="cmdSn">Its number.</param>
    /// <param name="incomplete">The copy that is being received.</param>
    /// <param name="isRefused">It has no data, and is answered TASK SET FULL.</param>
    public List<byte[]>? Take(uint cmdSn, byte[]? incomplete, out bool isRefused)
    {
        isRefused = false;
        if (!_commands.TryGetValue(cmdSn, out var held) || incomplete is not null && held.Pdus.Contains(incomplete)) return null;
        Remove(cmdSn);
        isRefused = held.IsRefused;
        return held.Pdus;
    }

    /// <summary>Whether <see cref="Take"/> would have something.</summary>
    public bool Has(uint cmdSn, byte[]? incomplete) => _commands.TryGetValue(cmdSn, out var held) && (incomplete is null || !held.Pdus.Contains(incomplete));

    /// <summary>Drops the commands whose turn has passed without them.</summary>
    public void DropBefore(uint cmdSn)
    {
        foreach (uint passed in _commands.Keys.Where(c => SerialNumber.IsBefore(c, cmdSn)).ToList()) Remove(passed);
    }

    /// <summary>Drops all.</summary>
    public void Clear()
    {
        foreach (uint cmdSn in _commands.Keys.ToList()) Remove(cmdSn);
    }

    private void Remove(uint cmdSn)
    {
        if (!_commands.Remove(cmdSn, out var held)) return;
        foreach (var pdu in held.Pdus) memory.Refund(pdu.Length);
        if (_commands.Count == 0) window.RemoveWaiter();
    }

    private byte[] Copy(Bhs header, int length)
    {
        var pdu = new byte[Bhs.Length + length];
        memory.Charge(pdu.Length);
        header.Bytes.CopyTo(pdu);
        return pdu;
    }
}
