using System.Buffers.Binary;
using LunKit.Backstores;
using LunKit.Fabrics;
using LunKit.Iscsi.Pdus;
using LunKit.LogicalUnits;
using LunKit.Scsi;

namespace LunKit.Iscsi.Sessions;

/// <summary>
/// The commands of one connection: from the PDU to a task, its execution, and its end. Only the connection's thread uses it, except
/// <see cref="Completed"/>.
/// </summary>
internal sealed class ConnectionTasks(FullFeaturePhase phase)
{
    // INVALID FIELD IN COMMAND INFORMATION UNIT: no command of any device type here has data in both directions.
    private static readonly Sense s_invalidInformationUnit = new(SenseKey.IllegalRequest, 0x0E, 0x03);

    private readonly Stack<IscsiTask> _free = new();
    private readonly Dictionary<uint, IscsiTask> _tasks = [];
    private readonly CompletionQueue<IscsiTask> _completed = new();
    private readonly PolledUnits _polled = new();
    private readonly Lock _ghostGate = new();
    private int _executing;
    private int _immediate;
    private volatile bool _ended;

    private MemoryAccount Memory => phase.Connection.Memory;
    private IscsiSession Session => phase.Session;

    /// <summary>Tasks that live past their batch.</summary>
    public IEnumerable<IscsiTask> All => _tasks.Values;

    public bool IsEmpty => _tasks.Count == 0;

    /// <summary>Whether units have commands of this connection.</summary>
    public bool AreExecuting => _executing > 0;

    public bool HaveCompleted => !_completed.IsEmpty;

    public IscsiTask? Find(uint tag) => _tasks.GetValueOrDefault(tag);

    /// <summary>A task that went on after its batch has ended. Any thread.</summary>
    public void Completed(IscsiTask task)
    {
        _completed.Add(task);
        if (_ended) ReleaseGhosts();
        else phase.Connection.WakeForCompletion();
    }

    /// <summary>Why a command PDU is rejected (RFC 7143 11.17.1); null when it is not.</summary>
    public RejectReason? Refusal(Bhs header) => _tasks.ContainsKey(header.InitiatorTaskTag) ? RejectReason.TaskInProgress
        : header.IsImmediate && _immediate >= phase.Connection.Limits.MaxImmediateCommands ? RejectReason.TooManyImmediateCommands : null;

    public void HandleCommand(Bhs header, Span<byte> ahs, Memory<byte> data)
    {
        if (Refusal(header) is { } reason)
        {
            phase.Sender.Reject(header, reason);
            return;
        }
        var task = Create(header, ahs, data.Length);
        if (Refuse(task)) return;
        if (task.CollectLength <= data.Length && (header.IsFinal || task.CollectLength == 0))
        {
            // Everything is here: the command runs on the bytes where they were received.
            task.DataOut = new DataBuffer(data[..task.CollectLength]);
            Execute(task, data.Length > 0 && task.CollectLength > 0);
            return;
        }
        if (data.Length > 0) data.Span[..Math.Min(data.Length, task.CollectLength)].CopyTo(phase.Transfers.RoomForUnsolicited(task).Span);
        phase.Transfers.Start(task, data.Length, header.IsFinal);
    }

    /// <summary>Goes on with a command whose immediate data was received directly, and is now here and whole.</summary>
    public void StartDirect(IscsiTask task, Bhs header)
    {
        if (Refuse(task)) return;
        if (task.CollectLength == 0) Execute(task, false);
        else phase.Transfers.Start(task, header.DataLength, header.IsFinal);
    }

    /// <summary>
    /// Answers a command that no unit gets: nothing is at the LUN, it has data in both directions, or there is no room for it.
    /// </summary>
    private bool Refuse(IscsiTask task)
    {
        if (RefuseAbsent(task)) return true;
        if (task.Reads && task.Writes) Respond(task, CommandResult.CheckCondition(s_invalidInformationUnit));
        else if (Memory.IsExhausted) Respond(task, CommandResult.TaskSetFull);
        else return false;
        return true;
    }

    /// <summary>
    /// Answers a command at whose LUN there is nothing, or nothing any more: its unit went while its data was received, and whoever manages tasks
    /// does not find it there.
    /// </summary>
    public bool RefuseAbsent(IscsiTask task)
    {
        if (task.UnitNexus is { IsUnmapped: false }) return false;
        Respond(task, AbsentUnit.Execute(task, LunAddress.Decode(task.Lun)));
        return true;
    }

    /// <summary>Answers a command for whose data there was no room while it waited for its turn.</summary>
    public void RefuseFull(Bhs header)
    {
        if (Refusal(header) is { } reason)
        {
            phase.Sender.Reject(header, reason);
            return;
        }
        var task = Create(header, default, 0);
        if (!RefuseAbsent(task)) Respond(task, CommandResult.TaskSetFull);
    }

    /// <summary>Makes the task of a command PDU with <paramref name="immediate"/> bytes of data.</summary>
    public IscsiTask Create(Bhs header, Span<byte> ahs, int immediate)
    {
        var pdu = new ScsiCommandPdu(header.Bytes);
        var parameters = Session.Parameters;
        if (Session.Target is null) throw new IscsiProtocolException("a SCSI command in a discovery session");
        uint expected = pdu.ExpectedDataTransferLength;
        if (immediate > 0 && (!pdu.Writes || !parameters.ImmediateData))
            throw new IscsiProtocolException("immediate data that was not agreed on");
        if (immediate > parameters.FirstBurstLength || immediate > expected)
            throw new IscsiProtocolException($"{immediate} bytes of immediate data, over FirstBurstLength or the expected length");
        var task = _free.TryPop(out var free) ? free : new IscsiTask(phase);
        Span<byte> cdb = stackalloc byte[ScsiCommand.MaxCdbLength];
        int length = CopyCdb(pdu, ahs, cdb);
        task.Prepare(header.InitiatorTaskTag, header.Lun, pdu.Reads, pdu.Writes, expected, cdb[..length]);
        task.IsImmediate = header.IsImmediate;
        task.CmdSn = header.CmdSn;
        task.Attribute = (TaskAttribute)pdu.Attribute;
        task.Nexus = Session.Nexus;
        int lun = LunAddress.Decode(header.Lun);
        task.UnitNexus = lun < 0 ? null : Session.Nexus.Luns.Find(lun);
        if (task.UnitNexus is { } nexus && !(pdu.Reads && pdu.Writes))
        {
            task.WantedLength = nexus.Unit.DataOutLength(task.Cdb, pdu.Writes ? expected : 0);
            task.CollectLength = pdu.Writes ? (int)Math.Min(Math.Min(expected, task.WantedLength), BlockLimits.MaxTransferBytes) : 0;
        }
        return task;
    }

    /// <summary>The CDB: 16 bytes of the header at its opcode's length, or more from the extended CDB AHS (RFC 7143 11.2.2.3).</summary>
    private static int CopyCdb(ScsiCommandPdu pdu, Span<byte> ahs, Span<byte> cdb)
    {
        pdu.Cdb.CopyTo(cdb);
        if (cdb[0] == (byte)Opcode.VariableLength)
        {
            int wanted = 8 + cdb[7], have = 16;
            for (int at = 0; at + 4 <= ahs.Length;)
            {
                int length = BinaryPrimitives.ReadUInt16BigEndian(ahs[at..]);
                if (length < 1 || at + 3 + length > ahs.Length) throw new IscsiProtocolException("an AHS longer than its PDU");
                if (ahs[at + 2] == 1)
                {
                    int extra = Math.Min(length - 1, Math.Min(cdb.Length, wanted) - 16);
                    if (extra > 0) ahs.Slice(at + 4, extra).CopyTo(cdb[16..]);
                    have += Math.Max(0, extra);
                }
                at += 3 + length + 3 & ~3;
            }
            return Math.Min(have, wanted);
        }
        return (cdb[0] >> 5) switch { 0 => 6, 1 or 2 => 10, 4 => 16, 5 => 12, _ => 16 };
    }

    /// <summary>From here on the task lives past its batch.</summary>
    public void Register(IscsiTask task)
    {
        if (task.IsRegistered) return;
        task.IsRegistered = true;
        _tasks.Add(task.InitiatorTaskTag, task);
        if (task.IsImmediate) _immediate++;
        Memory.Charge(IscsiTask.Bytes);
        Session.Window.Hold();
    }

    private void Unregister(IscsiTask task)
    {
        if (!task.IsRegistered) return;
        task.IsRegistered = false;
        _tasks.Remove(task.InitiatorTaskTag);
        if (task.IsImmediate) _immediate--;
        Memory.Refund(IscsiTask.Bytes);
        Session.Window.Release();
        phase.Transfers.Forget(task);
    }

    public void Execute(IscsiTask task, bool dataInReceiveBuffer)
    {
        var unit = task.UnitNexus!.Unit;
        // Memory that it may need after its batch is there before it begins: what the unit executes does not get lost here.
        _tasks.EnsureCapacity(_tasks.Count + 1);
        _polled.EnsureRoom();
        var running = unit.ExecuteAsync(task);
        if (running.IsCompleted)
        {
            Respond(task, running.Result);
            return;
        }
        // From here on the task lives past its batch: it keeps what it uses of the batch's memory.
        Register(task);
        _executing++;
        try
        {
            _polled.Add(unit);
            if (dataInReceiveBuffer)
            {
                task.HeldBuffer = phase.Receiver.Buffer;
                task.HeldBuffer.AddReference();
            }
            if (task.IsDataInInline)
            {
                phase.Sender.Output.Detach(task.DataInStart);
                task.IsDataInInline = false;
            }
        }
        finally
        {
            // Whatever becomes of the connection: the unit has it, and its end is waited for.
            task.Await(running);
        }
    }

    /// <summary>
    /// Polls the units that have commands of this connection, until <see cref="EndPolling"/>. True: one of them had something.
    /// </summary>
    public bool Poll()
    {
        _polled.Begin();
        return _polled.Poll();
    }

    /// <summary>One look at the units, and at what has completed.</summary>
    public bool PollAgain() => _polled.Poll() || HaveCompleted;

    public void EndPolling() => _polled.End(forget: !AreExecuting);

    /// <summary>Answers the tasks that have completed.</summary>
    public bool TakeCompletions()
    {
        if (_completed.IsEmpty) return false;
        var completed = TakeCompleted();
        while (completed.TryTake(out var task)) Respond(task, task.Result);
        return true;
    }

    /// <summary>The tasks that have completed, which are not executing any more.</summary>
    public CompletedTasks<IscsiTask> TakeCompleted()
    {
        var completed = _completed.Take();
        _executing -= completed.Count;
        var all = completed;
        while (all.TryTake(out var task)) task.IsExecuting = false;
        return completed;
    }

    /// <summary>
    /// Ends a task, and sends its answer. An aborted task gets none (RFC 7143 4.2.3.3), unless TAS asks for TASK ABORTED.
    /// </summary>
    public void Respond(IscsiTask task, CommandResult result)
    {
        // First: the answer shows the place in the window that becomes free with it.
        Unregister(task);
        try
        {
            if (!task.IsAborted) phase.Responder.Answer(task, result);
            else if (task.ReportAborted) phase.Responder.Answer(task, CommandResult.TaskAborted);
        }
        finally
        {
            // Also one that cannot be answered, which ends the connection: nobody else would take it out of its unit.
            Free(task);
        }
    }

    /// <summary>Gives back what a task holds, and the task. It leaves its unit here: its answer is queued, or there is none.</summary>
    public void Free(IscsiTask task)
    {
        Unregister(task);
        // Nothing is received into memory that may be another's from here on.
        if (task == phase.Receiver.DirectTask) phase.Receiver.LeaveDirect();
        ReleaseMemory(task);
        task.UnitNexus?.Unit.Complete(task);
        _free.Push(task);
    }

    private void ReleaseMemory(IscsiTask task)
    {
        phase.Responder.Drop(task);
        if (task.HeldBuffer is { } held) phase.Receiver.Release(held);
        task.HeldBuffer = null;
        task.ReleaseData();
    }

    /// <summary>Takes over a task that waits for data.</summary>
    public void Adopt(IscsiTask task)
    {
        task.Owner = phase;
        Memory.Charge(task.Collected.Length + IscsiTask.Bytes);
        if (task.IsImmediate) _immediate++;
        _tasks[task.InitiatorTaskTag] = task;
    }

    /// <summary>Gives a task that waits for data into custody.</summary>
    public void GiveUp(IscsiTask task)
    {
        phase.Transfers.Forget(task);
        Memory.Refund(task.Collected.Length + IscsiTask.Bytes);
        if (task.IsImmediate) _immediate--;
        _tasks.Remove(task.InitiatorTaskTag);
    }

    /// <summary>Ends the tasks that were aborted while their data was still to come.</summary>
    public void SweepAborted()
    {
        if (_tasks.Count == 0) return;
        foreach (var task in _tasks.Values.Where(t => t is { IsAborted: true, IsExecuting: false }).ToList()) Respond(task, CommandResult.TaskAborted);
    }

    /// <summary>
    /// The connection has ended: what waits for data is given up, what executes is aborted. Those that units do not end at once keep
    /// their memory on the account, and their blocks for themselves, until they do, on the thread that ends them.
    /// </summary>
    public void Abandon()
    {
        foreach (var task in _tasks.Values.Where(t => !t.IsExecuting).ToList()) Free(task);
        // A copy has commands of its own, at any unit that its initiator sees.
        var units = _tasks.Values.Select(t => t.UnitNexus!.Unit).ToList();
        if (units.Count > 0) units.AddRange(Session.Nexus.Luns.Entries.Values.Select(e => e.Unit));
        foreach (var unit in units.Distinct()) unit.TaskManager.ConnectionLost(IsExecutingHere);
        foreach (var task in _tasks.Values) Session.Window.Release();
        _ended = true;
        Interlocked.MemoryBarrier();
        ReleaseGhosts();
    }

    private bool IsExecutingHere(ScsiCommand command) =>
        (command is InternalCommand part ? part.For : command) is IscsiTask { IsExecuting: true } task && task.Owner == phase;

    private void ReleaseGhosts()
    {
        lock (_ghostGate)
        {
            var completed = _completed.Take();
            while (completed.TryTake(out var task))
            {
                task.IsExecuting = false;
                ReleaseMemory(task);
                Memory.Refund(IscsiTask.Bytes);
                task.UnitNexus!.Unit.Complete(task);
            }
        }
    }
}
