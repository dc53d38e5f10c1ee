using System.Buffers.Binary;
using LunKit.Backstores;
using LunKit.Iscsi.Login;
using LunKit.Iscsi.Pdus;
using LunKit.LogicalUnits;
using LunKit.Scsi;

namespace LunKit.Iscsi.Sessions;

/// <summary>SCSI commands: from the PDU to a task, and its execution.</summary>
internal sealed partial class IscsiConnection
{
    private readonly Stack<IscsiTask> _freeTasks = new();
    private readonly Dictionary<uint, IscsiTask> _tasks = [];

    private void HandleCommand(Bhs header, Span<byte> ahs, Memory<byte> data)
    {
        if (!header.IsImmediate && !IsTurnOf(header, ahs, data.Span)) return;
        var pdu = new ScsiCommandPdu(header.Bytes);
        var task = NewTask(header, ahs, pdu, data.Length);
        if (Refuse(task)) return;
        if (task.CollectLength <= data.Length && (pdu.IsFinal || task.CollectLength == 0))
        {
            // Everything is here: the command runs on the bytes where they were received.
            task.DataOut = new DataBuffer(data[..task.CollectLength]);
            Execute(task, data.Length > 0 && task.CollectLength > 0);
            return;
        }
        if (data.Length > 0) data.Span[..Math.Min(data.Length, task.CollectLength)].CopyTo(RoomForUnsolicited(task).Span);
        StartCollecting(task, data.Length, pdu.IsFinal);
    }

    /// <summary>Goes on with a command whose immediate data was received directly, and is now here and whole.</summary>
    private void HandleDirectCommand(IscsiTask task, Bhs header)
    {
        if (!header.IsImmediate)
        {
            // Only now: until its data has proven right the command counts as not received (RFC 7143 7.8).
            if (Session!.Window.Take(header.CmdSn) != CommandOrder.Now)
            {
                Free(task);
                return;
            }
            Session.WakeOthers(this);
        }
        if (Refuse(task)) return;
        if (task.CollectLength == 0) Execute(task, false);
        else StartCollecting(task, header.DataLength, header.IsFinal);
    }

    /// <summary>Answers a command that no unit gets: nothing is at the LUN, or there is no room for its data.</summary>
    private bool Refuse(IscsiTask task)
    {
        if (task.UnitNexus is null) Respond(task, AbsentUnit.Execute(task, LunAddress.Decode(task.Lun)));
        else if (task.ExpectedLength > 0 && _memory.IsExhausted) Respond(task, CommandResult.TaskSetFull);
        else return false;
        return true;
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

    private void Register(IscsiTask task)
    {
        if (task.IsRegistered) return;
        task.IsRegistered = true;
        _tasks.Add(task.InitiatorTaskTag, task);
        Session!.Window.Hold();
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
        _executing++;
        WillPoll(task.UnitNexus.Unit);
        if (dataInReceiveBuffer)
        {
            task.HeldBuffer = _rx;
            _rx.AddReference();
        }
        if (task.IsDataInInline)
        {
            Output.Detach(task.DataInStart);
            task.IsDataInInline = false;
        }
        task.Await(running);
    }

    /// <summary>Ends a task without a response; its memory goes back.</summary>
    private void Drop(IscsiTask task)
    {
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
            if (held.Release())
            {
                _memory.Refund(ReceiveBuffer.Size);
                _server.ReturnReceiveBuffer(held);
            }
            task.HeldBuffer = null;
        }
        task.ReleaseData();
        task.UnitNexus?.Unit.Complete(task);
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
