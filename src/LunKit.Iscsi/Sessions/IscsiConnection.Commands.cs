using System.Buffers.Binary;
using LunKit.Backstores;
using LunKit.Iscsi.Login;
using LunKit.Iscsi.Pdus;
using LunKit.LogicalUnits;
using LunKit.Scsi;

namespace LunKit.Iscsi.Sessions;

/// <summary>SCSI commands: order, data from the initiator (immediate, unsolicited, solicited), execution.</summary>
internal sealed partial class IscsiConnection
{
    private readonly Stack<IscsiTask> _freeTasks = new();
    private readonly Dictionary<uint, IscsiTask> _tasks = [];
    private readonly SortedDictionary<uint, byte[]> _heldPdus = [];
    private readonly List<IscsiTask> _waitingForCredit = [];
    private long _solicited;
    private uint _nextTransferTag = 1;

    private void HandleCommand(Bhs header, Span<byte> ahs, Memory<byte> data)
    {
        if (!header.IsImmediate && !IsTurnOf(header, ahs, data.Span)) return;
        var pdu = new ScsiCommandPdu(header.Bytes);
        var task = NewTask(header, ahs, pdu, data.Length);
        var nexus = task.UnitNexus;
        if (nexus is not null && task.CollectLength <= data.Length && (pdu.IsFinal || task.CollectLength == 0))
        {
            // Everything is here: the command runs on the bytes where they were received.
            task.DataOut = new DataBuffer(data[..task.CollectLength]);
            Execute(task, data.Length > 0 && task.CollectLength > 0);
            return;
        }
        if (nexus is null)
        {
            Respond(task, AbsentUnit.Execute(task, LunAddress.Decode(task.Lun)));
            return;
        }
        StartCollecting(task);
        data.Span[..Math.Min(data.Length, task.CollectLength)].CopyTo(task.Collected);
        ContinueCommand(task, data.Length, pdu.IsFinal);
    }

    /// <summary>A command whose immediate data is still arriving: null when nobody wants its data.</summary>
    private IscsiTask? BeginCommand(Bhs header, Span<byte> ahs, int dataLength)
    {
        if (!header.IsImmediate) Session!.Window.Take(header.CmdSn);
        Session!.WakeOthers(this);
        var task = NewTask(header, ahs, new ScsiCommandPdu(header.Bytes), dataLength);
        if (task.UnitNexus is null)
        {
            Respond(task, AbsentUnit.Execute(task, LunAddress.Decode(task.Lun)));
            return null;
        }
        if (task.CollectLength == 0)
        {
            Execute(task, false);
            return null;
        }
        StartCollecting(task);
        return task;
    }

    private IscsiTask NewTask(Bhs header, Span<byte> ahs, ScsiCommandPdu pdu, int immediate)
    {
        var parameters = Session!.Parameters;
        if (Session.Target is null) throw new IscsiProtocolException("a SCSI command in a discovery session");
        uint expected = pdu.ExpectedDataTransferLength;
        if (immediate > 0 && (!pdu.Writes || !parameters.ImmediateData)) throw new IscsiProtocolException("immediate data that was not agreed on");
        if (immediate > parameters.FirstBurstLength || immediate > expected)
            throw new IscsiProtocolException($"{immediate} bytes of immediate data, over FirstBurstLength or the expected length");
        if (pdu.Reads && pdu.Writes) throw new IscsiProtocolException("a bidirectional command");
        if (_tasks.ContainsKey(header.InitiatorTaskTag)) throw new IscsiProtocolException($"initiator task tag {header.InitiatorTaskTag:x8} is in use");
        var task = _freeTasks.TryPop(out var free) ? free : new IscsiTask(this);
        Span<byte> cdb = stackalloc byte[ScsiCommand.MaxCdbLength];
        int length = CopyCdb(pdu, ahs, cdb);
        task.Prepare(header.InitiatorTaskTag, header.Lun, pdu.Reads, pdu.Writes, expected, cdb[..length]);
        task.Attribute = (TaskAttribute)pdu.Attribute;
        task.Nexus = Session.Nexus;
        int lun = LunAddress.Decode(header.Lun);
        task.UnitNexus = lun < 0 ? null : Session.Nexus.Luns.Find(lun);
        if (task.UnitNexus is { } nexus)
        {
            task.WantedLength = nexus.Unit.DataOutLength(task.Cdb);
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

    private void StartCollecting(IscsiTask task)
    {
        task.Collect(task.CollectLength);
        Register(task);
        task.UnitNexus!.Unit.Arrive(task);
    }

    private void Register(IscsiTask task)
    {
        if (task.IsRegistered) return;
        task.IsRegistered = true;
        _tasks.Add(task.InitiatorTaskTag, task);
        Session!.Window.Hold();
    }

    /// <summary>The immediate data is in place: what comes next, or execution.</summary>
    private void ContinueCommand(IscsiTask task, int immediate, bool final)
    {
        task.Received = Math.Min(immediate, task.CollectLength);
        task.Solicited = immediate;
        if (!final)
        {
            if (Session!.Parameters.InitialR2T) throw new IscsiProtocolException("unsolicited data although InitialR2T=Yes");
            task.ExpectsUnsolicited = true;
            return;
        }
        Solicit(task);
    }

    private void Solicit(IscsiTask task)
    {
        if (task.IsAborted)
        {
            Drop(task);
            return;
        }
        if (task.Received >= task.CollectLength && task.R2Ts.Count == 0)
        {
            task.DataOut = new DataBuffer(task.Collected.AsMemory(0, task.CollectLength));
            Execute(task, false);
            return;
        }
        var parameters = Session!.Parameters;
        task.Solicited = Math.Max(task.Solicited, task.Received);
        while (task.Solicited < task.CollectLength && task.R2Ts.Count < parameters.MaxOutstandingR2T)
        {
            int length = Math.Min(parameters.MaxBurstLength, task.CollectLength - task.Solicited);
            if (_solicited > 0 && _solicited + length > _limits.MaxSolicitedBytesPerConnection)
            {
                if (!_waitingForCredit.Contains(task)) _waitingForCredit.Add(task);
                return;
            }
            _solicited += length;
            uint tag = _nextTransferTag++;
            if (_nextTransferTag == Bhs.ReservedTag) _nextTransferTag = 1;
            task.R2Ts.Add(new OutstandingR2T { TransferTag = tag, Offset = task.Solicited, Length = length });
            ReadyToTransferPdu.Write(NextHeader(), task.Lun, task.InitiatorTaskTag, tag, task.R2tSn++, (uint)task.Solicited, (uint)length);
            // An R2T carries the next StatSN without using it (RFC 7143 11.8.3).
            FinishHeader(advanceStatSn: false, 0);
            task.Solicited += length;
        }
    }

    /// <summary>Goes on with the writes that waited for solicited bytes of others to arrive.</summary>
    private void SolicitWaiting()
    {
        while (_waitingForCredit.Count > 0 && _solicited < _limits.MaxSolicitedBytesPerConnection)
        {
            var task = _waitingForCredit[0];
            _waitingForCredit.RemoveAt(0);
            Solicit(task);
            // Still no room for its next burst: it waits on, and so does everyone behind it.
            if (_waitingForCredit.Contains(task)) return;
        }
    }

    private void HandleDataOut(Bhs header, ReadOnlySpan<byte> data)
    {
        if (CheckDataOut(header, data.Length, out int offset) is not { } task) return;
        if (offset < task.CollectLength) data[..Math.Min(data.Length, task.CollectLength - offset)].CopyTo(task.Collected.AsSpan(offset));
        FinishDataOut(task, header, data.Length);
    }

    /// <summary>
    /// The task of a Data-Out, if its place in the sequence is right. Null: data of a task that has ended (refused or aborted), which
    /// is dropped. A wrong place ends the task, a wrong length the connection (RFC 7143 7.8, error recovery level 0).
    /// </summary>
    private IscsiTask? CheckDataOut(Bhs header, int length, out int offset)
    {
        var pdu = new DataOutPdu(header.Bytes);
        offset = 0;
        if (pdu.BufferOffset > int.MaxValue) throw new IscsiProtocolException("a Data-Out past the expected length");
        offset = (int)pdu.BufferOffset;
        if (!_tasks.TryGetValue(header.InitiatorTaskTag, out var task) || task.IsExecuting) return null;
        if (header.TargetTransferTag == Bhs.ReservedTag)
        {
            if (!task.ExpectsUnsolicited) throw new IscsiProtocolException("unsolicited data after its burst has ended");
            if (offset != task.Solicited || pdu.DataSn != task.NextUnsolicitedDataSn) return FailTransfer(task);
            if (offset + (long)length > Math.Min((uint)Session!.Parameters.FirstBurstLength, task.ExpectedLength))
                throw new IscsiProtocolException("unsolicited data past FirstBurstLength or the expected length");
            return task;
        }
        int index = FindR2T(task, header.TargetTransferTag);
        if (index < 0) throw new IscsiProtocolException($"Data-Out with unknown target transfer tag {header.TargetTransferTag:x8}");
        var r2t = task.R2Ts[index];
        if (offset != r2t.Offset + r2t.Received || pdu.DataSn != r2t.NextDataSn) return FailTransfer(task);
        if (length > r2t.Length - r2t.Received) throw new IscsiProtocolException("Data-Out past the solicited length");
        if (header.IsFinal && length < r2t.Length - r2t.Received) throw new IscsiProtocolException("a solicited burst that ends early");
        return task;
    }

    /// <summary>A PDU of the data is missing or came twice: the command fails, what still comes for it is dropped.</summary>
    private IscsiTask? FailTransfer(IscsiTask task)
    {
        Respond(task, CommandResult.CheckCondition(Sense.DataPhaseError));
        return null;
    }

    private static int FindR2T(IscsiTask task, uint transferTag)
    {
        for (int i = 0; i < task.R2Ts.Count; i++)
            if (task.R2Ts[i].TransferTag == transferTag) return i;
        return -1;
    }

    private void FinishDataOut(IscsiTask task, Bhs header, int length)
    {
        if (header.TargetTransferTag == Bhs.ReservedTag)
        {
            task.NextUnsolicitedDataSn++;
            task.Solicited += length;
            task.Received = Math.Min(task.Solicited, task.CollectLength);
            if (!header.IsFinal) return;
            task.ExpectsUnsolicited = false;
            Solicit(task);
            return;
        }
        int index = FindR2T(task, header.TargetTransferTag);
        var r2t = task.R2Ts[index];
        r2t.Received += length;
        r2t.NextDataSn++;
        task.Received += length;
        task.R2Ts[index] = r2t;
        if (r2t.Received < r2t.Length) return;
        task.R2Ts.RemoveAt(index);
        _solicited -= r2t.Length;
        Solicit(task);
    }

    private void Execute(IscsiTask task, bool dataInReceiveBuffer)
    {
        var running = task.UnitNexus!.Unit.ExecuteAsync(task);
        if (running.IsCompleted)
        {
            Respond(task, running.Result);
            return;
        }
        // From here on the task lives past its batch: it keeps what it uses of the batch's memory.
        Register(task);
        task.IsExecuting = true;
        _executing++;
        if (dataInReceiveBuffer)
        {
            task.HeldBuffer = _rx;
            _rx.AddReference();
        }
        if (task.IsDataInInline)
        {
            Output.Detach(task.DataInStart);
            task.IsDataInDetached = true;
        }
        task.Await(running);
    }

    /// <summary>Takes a non-immediate command's turn. One that is early is kept, one outside the window is ignored.</summary>
    private bool IsTurnOf(Bhs header, Span<byte> ahs, ReadOnlySpan<byte> data)
    {
        switch (Session!.Window.Take(header.CmdSn))
        {
            case CommandOrder.Now:
                Session.WakeOthers(this);
                return true;
            case CommandOrder.Later when Session.Parameters.MaxConnections > 1 && _heldPdus.Count < _limits.QueueDepth:
                var pdu = new byte[Bhs.Length + ahs.Length + data.Length];
                header.Bytes.CopyTo(pdu);
                ahs.CopyTo(pdu.AsSpan(Bhs.Length));
                data.CopyTo(pdu.AsSpan(Bhs.Length + ahs.Length));
                _heldPdus[header.CmdSn] = pdu;
                return false;
            default:
                return false;
        }
    }

    /// <summary>Serves commands that waited for earlier ones on other connections of the session.</summary>
    private void ServeHeldCommands()
    {
        while (_heldPdus.Count > 0 && _heldPdus.Remove(Session!.Window.ExpCmdSn, out var pdu))
        {
            var header = new Bhs(pdu.AsSpan(0, Bhs.Length));
            int dataAt = Bhs.Length + header.AhsLength;
            Handle(header, pdu.AsSpan(Bhs.Length, header.AhsLength), pdu.AsMemory(dataAt));
        }
    }

    /// <summary>Ends a task without a response; its memory goes back.</summary>
    private void Drop(IscsiTask task)
    {
        task.UnitNexus!.Unit.Withdraw(task);
        Free(task);
    }

    private void Free(IscsiTask task)
    {
        if (task.IsRegistered)
        {
            _tasks.Remove(task.InitiatorTaskTag);
            Session!.Window.Release();
            task.IsRegistered = false;
            // What it solicited and did not get comes no more, or is dropped.
            foreach (var r2t in task.R2Ts) _solicited -= r2t.Length;
            if (_waitingForCredit.Count > 0) _waitingForCredit.Remove(task);
        }
        if (task.HeldBuffer is { } held)
        {
            if (held.Release()) _server.ReturnReceiveBuffer(held);
            task.HeldBuffer = null;
        }
        task.ReleaseData();
        _freeTasks.Push(task);
    }

    /// <summary>Drops the tasks that were aborted while their data was still to come.</summary>
    private void SweepAborted()
    {
        if (_tasks.Count == 0) return;
        foreach (var task in _tasks.Values.Where(t => t.IsAborted && !t.IsExecuting && t != _directTask).ToList())
        {
            if (task.ReportAborted) Respond(task, CommandResult.TaskAborted);
            else Drop(task);
        }
    }
}
