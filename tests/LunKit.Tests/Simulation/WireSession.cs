using LunKit.Iscsi.Sessions;
using LunKit.Scsi;

namespace LunKit.Tests.Simulation;

/// <summary>A session as its initiator keeps it: numbers, tags, commands, what was agreed on.</summary>
internal sealed class WireSession(WireInitiator initiator, ushort tsih, uint firstCmdSn, IReadOnlyDictionary<string, string> keys)
{
    // Few, so that they are used again soon.
    private const uint Tags = 24;

    private uint _lastTag = 0x1000;
    private readonly List<(uint CmdSn, WireConnection Connection)> _numbers = [];
    private readonly List<WireCommand> _recent = [];

    public WireInitiator Initiator => initiator;
    public SimulatedWorld World => initiator.World;
    public WireClock Clock => initiator.Clock;
    public ushort Tsih => tsih;

    /// <summary>CmdSN of the next command.</summary>
    public uint CmdSn { get; private set; } = firstCmdSn;

    public uint ExpCmdSn { get; private set; } = firstCmdSn;
    public uint MaxCmdSn { get; private set; } = firstCmdSn - 1;

    public bool InitialR2T { get; } = keys["InitialR2T"] == "Yes";
    public bool ImmediateData { get; } = keys["ImmediateData"] == "Yes";
    public int MaxBurst { get; } = int.Parse(keys["MaxBurstLength"], null);
    public int FirstBurst { get; } = int.Parse(keys["FirstBurstLength"], null);
    public int MaxConnections { get; } = int.Parse(keys["MaxConnections"], null);
    public int Level { get; } = int.Parse(keys["ErrorRecoveryLevel"], null);
    public int MaxSegment { get; } = int.Parse(keys["MaxRecvDataSegmentLength"], null);

    public List<WireConnection> Connections { get; } = [];

    /// <summary>Commands that nothing has concluded.</summary>
    public List<WireCommand> Open { get; } = [];

    public List<WireFunction> Functions { get; } = [];

    /// <summary>Functions whose connection was lost: they may still be executed, at any time.</summary>
    public List<WireFunction> Lost { get; } = [];

    /// <summary>Tags of other requests that wait for an answer.</summary>
    public HashSet<uint> Busy { get; } = [];

    /// <summary>Nothing is sent in it any more.</summary>
    public bool IsOver { get; set; }

    public bool HasRoom => !SerialNumber.IsBefore(MaxCmdSn, CmdSn);

    public bool HasPassed(uint cmdSn) => SerialNumber.IsBefore(cmdSn, ExpCmdSn);

    /// <summary>A new number for what is sent over a connection.</summary>
    public uint TakeNumber(WireConnection connection)
    {
        _numbers.Add((CmdSn, connection));
        return CmdSn++;
    }

    /// <summary>Numbers that were sent over connections that are lost, and that the target has not passed.</summary>
    public List<uint> Missing() =>
        [.. _numbers.Where(n => n.Connection.IsLost && !HasPassed(n.CmdSn)).Select(n => n.CmdSn)];

    public void TakeWindow(uint exp, uint max)
    {
        if (SerialNumber.IsBefore(CmdSn, exp))
            throw new SimulationException($"{this} is told ExpCmdSN {exp}, but has sent no more than {CmdSn - 1}");
        if (SerialNumber.IsBefore(max, exp - 1)) throw new SimulationException($"{this} is told MaxCmdSN {max} with ExpCmdSN {exp}");
        if (SerialNumber.IsBefore(ExpCmdSn, exp)) ExpCmdSn = exp;
        if (SerialNumber.IsBefore(MaxCmdSn, max)) MaxCmdSn = max;
        _numbers.RemoveAll(n => HasPassed(n.CmdSn));
    }

    /// <summary>A tag that nothing uses, or null.</summary>
    /// <param name="ofFunction">Functions find one also where commands have all of theirs.</param>
    public uint? NewTag(bool ofFunction = false)
    {
        // An answer that was not acknowledged is still the target's when its connection is recovered, and its tag means that one.
        if (Level == 2) return ++_lastTag;
        uint first = (uint)World.Between(0, (int)Tags - 1);
        for (uint i = 0; i < (ofFunction ? 4 * Tags : Tags); i++)
        {
            uint tag = 0x100 + (i < Tags ? (first + i) % Tags : i);
            bool isUsed = Busy.Contains(tag) || Open.Exists(c => c.Tag == tag) || Functions.Exists(f => f.Tag == tag || f.Command?.Tag == tag);
            if (!isUsed) return tag;
        }
        return null;
    }

    public void Begin(WireCommand command)
    {
        Open.Add(command);
        _recent.Add(command);
        if (_recent.Count > 500) _recent.RemoveRange(0, 250);
    }

    public void Conclude(WireCommand command)
    {
        Open.Remove(command);
        command.Connection.Forget(command);
    }

    /// <summary>The command that something with a tag, sent at a time, is about.</summary>
    public WireCommand Find(uint tag, long sent, WireConnection connection, string what) =>
        _recent.FindLast(c => c.Tag == tag && c.Tick < sent && c.Connection == connection)
            ?? throw new SimulationException($"{connection} gets {what} with tag {tag:x}, which no command there has");

    /// <summary>Whether commands for a unit have to follow a function on its connection.</summary>
    public WireConnection? Bound(int lun) =>
        Functions.Find(f => f.IsOfTaskSet && (f.Unit is null || f.Unit.Lun == lun))?.Connection;

    /// <summary>The nexus is gone, and another one or nothing is in its place: what it had open is over.</summary>
    public void Cover(string what, Func<WireCommand, bool>? which = null, long? sent = null)
    {
        long tick = sent ?? Clock.Tick();
        foreach (var command in Open.Where(c => which?.Invoke(c) ?? true).ToList()) command.Cover(what, tick);
    }

    public override string ToString() => $"{initiator}/{tsih}";
}
