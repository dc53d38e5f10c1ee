using LunKit.Backstores;
using LunKit.LogicalUnits;
using LunKit.Scsi;

namespace LunKit.Tests.Simulation;

/// <summary>A command of a <see cref="SimulatedNexus"/>: what a fabric keeps of it, and what the initiator has seen.</summary>
internal sealed class SimulatedCommand(SimulatedNexus owner) : ScsiCommand
{
    private byte[] _dataOut = [];
    private byte[] _dataIn = [];

    public SimulatedNexus Owner => owner;
    public long Start { get; private set; }
    public int First { get; init; }
    public int Count { get; init; }

    /// <summary>Writes, also COMPARE AND WRITE and UNMAP; null for all else.</summary>
    public SeenWrite? Write { get; init; }

    public string Name { get; init; } = "";

    /// <summary>Called with GOOD.</summary>
    public Action? WhenGood { get; init; }

    /// <summary>Called when nothing of it is left, however it ended.</summary>
    public Action? WhenOver { get; init; }

    public bool IsCollecting { get; set; }
    public bool IsAnswered { get; private set; }
    public bool IsOver { get; private set; }

    /// <summary>The name of the function that was answered and covers this command: it must not be answered any more.</summary>
    public string? CoveredBy { get; set; }

    public byte[] DataIn => _dataIn;
    public long Charged { get; private set; }

    public void Prepare(UnitNexus nexus, byte[] cdb, byte[] dataOut, TaskAttribute attribute, long now)
    {
        Reset(cdb);
        (UnitNexus, Nexus, Attribute, Start) = (nexus, nexus.Nexus, attribute, now);
        _dataOut = dataOut;
        DataOut = new DataBuffer(dataOut);
        DataOutBufferSize = dataOut.Length;
        DataInBufferSize = 1 << 20;
    }

    public override DataBuffer RentDataIn(int length) => new(_dataIn = new byte[length]);

    protected internal override void OnAborted() => owner.World.Soon(() => owner.Sweep(this));

    protected internal override void Charge(long bytes) => Charged += bytes;

    public void Answer(CommandResult result)
    {
        if (IsAnswered) throw new SimulationException($"{this} is answered twice");
        if (CoveredBy is not null) throw new SimulationException($"{this} is answered after {CoveredBy} that covers it was");
        IsAnswered = true;
        if (Write is null) return;
        Write.End = Math.Min(Write.End, owner.World.Step);
        Write.IsDone = result.Status == ScsiStatus.Good;
    }

    /// <summary>The fabric has done with it: its memory is somebody else's.</summary>
    public void End()
    {
        if (IsOver) throw new SimulationException($"{this} is completed twice");
        IsOver = true;
        _dataOut.AsSpan().Fill(0xEE);
        WhenOver?.Invoke();
        if (Charged != 0) throw new SimulationException($"{this} still holds {Charged} bytes on the account");
    }

    public override string ToString() => $"{Name} of {owner} at {Start}";
}
