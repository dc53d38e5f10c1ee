using LunKit.Iscsi.Pdus;
using LunKit.Scsi;

namespace LunKit.Tests.Simulation;

/// <summary>A SCSI command as its initiator keeps it: from its PDU to whatever ends it.</summary>
internal sealed class WireCommand
{
    public required string Name { get; init; }
    public required WireUnit Unit { get; init; }
    public required byte[] Cdb { get; init; }
    public byte[] DataOut { get; init; } = [];

    /// <summary>Bytes that the initiator has room for, or has.</summary>
    public int Expected { get; init; }

    /// <summary>Bytes of data in with GOOD, whatever is expected.</summary>
    public int Produces { get; init; }

    /// <summary>Bytes of data out that the command takes, whatever is expected.</summary>
    public int Takes => DataOut.Length;

    public bool Reads { get; init; }
    public bool Writes { get; init; }
    public TaskAttribute Attribute { get; init; } = TaskAttribute.Simple;
    public bool IsImmediate { get; init; }
    public SeenWrite? Write { get; init; }
    public Action? WhenGood { get; set; }

    /// <summary>Called when it is certain that nothing of it happens any more.</summary>
    public Action? WhenOver { get; set; }

    /// <summary>An answer has come, also one to a command that is over already.</summary>
    public Action<ScsiStatus>? WhenAnswered { get; init; }

    /// <summary>The initiator never sends the data that it is asked for.</summary>
    public bool Withholds { get; init; }

    /// <summary>A function may have ended it, or not: it was an immediate command on another connection.</summary>
    public bool MayBeSilent { get; set; }

    // COMPARE AND WRITE found something else than it was to.
    private const int Miscompare = 0xE1D00;

    public WireSession Session { get; private set; } = null!;
    public WireConnection Connection { get; private set; } = null!;
    public uint Tag { get; private set; }
    public uint CmdSn { get; private set; }

    /// <summary>Number of the event in which it was sent.</summary>
    public long Start { get; private set; }

    public long Tick { get; private set; }

    public byte[] DataIn { get; private set; } = [];
    public int Received { get; set; }
    public uint DataSn { get; set; }
    public uint R2tSn { get; set; }

    /// <summary>Bytes that the target has or has asked for.</summary>
    public int Solicited { get; set; }

    public ScsiStatus? Status { get; private set; }

    /// <summary>Key, ASC and ASCQ.</summary>
    public int Sense { get; set; }
    public bool IsAnswered { get; private set; }

    /// <summary>What ended it instead of an answer.</summary>
    public string? CoveredBy { get; private set; }

    /// <summary>When the answer to that was sent.</summary>
    public long CoveredTick { get; private set; }

    /// <summary>Whether the target is known to have had it at some time: a R2T or the command window told.</summary>
    public bool WasReceived => R2tSn > 0 || !IsImmediate && Session.HasPassed(CmdSn);

    public bool IsConcluded => IsAnswered || CoveredBy is not null;

    public void Send(WireSession session, WireConnection connection, uint tag, uint cmdSn)
    {
        (Session, Connection, Tag, CmdSn) = (session, connection, tag, cmdSn);
        (Start, Tick) = (session.World.Step, session.Clock.Tick());
        DataIn = Reads ? new byte[Expected] : [];
    }

    /// <summary>Another connection has taken it over: what was on its way on the old one is lost.</summary>
    public bool WasAdopted { get; private set; }

    public void Adopt(WireConnection connection)
    {
        Connection = connection;
        WasAdopted = true;
    }

    public void Answer(ScsiStatus status, long sent)
    {
        if (IsAnswered) throw new SimulationException($"{this} is answered twice");
        WhenAnswered?.Invoke(status);
        if (CoveredBy is not null && WasAdopted) return;
        if (CoveredBy is not null && sent > CoveredTick)
            throw new SimulationException($"{this} is answered after {CoveredBy}, which covers it, was");
        IsAnswered = true;
        Status = status;
        bool isOver = CoveredBy is not null;
        if (status == ScsiStatus.Good && !isOver) WhenGood?.Invoke();
        if (!isOver) End(status == ScsiStatus.Good);
        Session.Conclude(this);
    }

    /// <summary>Something was answered that says that this is over.</summary>
    public void Cover(string what, long sent)
    {
        if (IsConcluded) return;
        (CoveredBy, CoveredTick) = (what, sent);
        End(false);
        Session.Conclude(this);
    }

    /// <summary>It is over, but may still be answered.</summary>
    public void Fence()
    {
        if (Write is { } write && !IsConcluded && Cdb[0] != 0x48) write.End = Math.Min(write.End, Session.World.Step);
    }

    private void End(bool isGood)
    {
        WhenOver?.Invoke();
        WhenOver = null;
        if (Write is not { } write) return;
        write.End = Math.Min(write.End, Session.World.Step);
        write.IsRefused = Status == ScsiStatus.CheckCondition && Sense == Miscompare;
        if (isGood) write.IsDone = true;
        // It may go on when its command was aborted.
        else if (Cdb[0] == 0x48 && (Status is null or ScsiStatus.TaskAborted)) write.End = long.MaxValue;
    }

    public override string ToString() => $"{Name} ({Session}, tag {Tag:x}, CmdSN {CmdSn}{(IsImmediate ? " immediate" : "")}, lun {Unit.Lun}, event {Start})";
}

/// <summary>A task management function that is not answered.</summary>
internal sealed class WireFunction
{
    public required TaskManagementFunction Function { get; init; }
    public required WireConnection Connection { get; init; }
    public required uint Tag { get; init; }
    public required WireUnit? Unit { get; init; }

    /// <summary>When it was sent, in virtual time.</summary>
    public required long Time { get; init; }

    /// <summary>The command of ABORT TASK.</summary>
    public WireCommand? Command { get; init; }

    /// <summary>Commands of the session that are over when it is complete.</summary>
    public required List<WireCommand> Covered { get; init; }

    /// <summary>Commands of others of which nothing can take effect any more.</summary>
    public required List<WireCommand> Fenced { get; init; }

    public Action? WhenOver { get; init; }

    public bool IsOfTaskSet => Function is not (TaskManagementFunction.AbortTask or TaskManagementFunction.TaskReassign);

    public override string ToString() => $"{Function}{(Command is { } c ? $" of {c.Name} tag {c.Tag:x}" : "")} of {Connection}";
}
