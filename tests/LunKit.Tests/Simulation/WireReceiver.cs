using System.Text;
using LunKit.Iscsi.Login;
using LunKit.Iscsi.Pdus;
using LunKit.Scsi;

namespace LunKit.Tests.Simulation;

/// <summary>What an initiator makes of the PDUs of a connection, and everything that is wrong with them.</summary>
internal sealed class WireReceiver(WireConnection connection)
{
    private bool _hasStatSn;

    private WireInitiator Initiator => connection.Initiator;
    private SimulatedWorld World => connection.World;

    /// <param name="header">The header.</param>
    /// <param name="data">The data segment.</param>
    /// <param name="first">When its first byte was sent.</param>
    /// <param name="last">When its last byte was sent.</param>
    public void Handle(byte[] header, byte[] data, long first, long last)
    {
        var bhs = new Bhs(header);
        CheckNumbers(header);
        switch (bhs.Opcode)
        {
            case PduOpcode.LoginResponse:
                LogIn(header, data);
                break;
            case PduOpcode.ScsiResponse:
                Respond(header, data, last);
                break;
            case PduOpcode.DataIn:
                TakeData(header, data, last);
                break;
            case PduOpcode.ReadyToTransfer:
                Solicit(header, last);
                break;
            case PduOpcode.TaskManagementResponse:
                EndFunction(header, first);
                break;
            case PduOpcode.NopIn:
                AnswerPing(header, data);
                break;
            case PduOpcode.LogoutResponse:
                Initiator.LoggedOut(connection, header[2]);
                break;
            case PduOpcode.AsyncMessage:
                if (header[36] == 1) Initiator.AskedToLogOut(connection);
                break;
            case PduOpcode.Reject:
                Reject(header, data);
                break;
            default:
                throw new SimulationException($"{connection} gets a PDU {bhs.Opcode}");
        }
    }

    private void CheckNumbers(byte[] header)
    {
        var bhs = new Bhs(header);
        bool isPing = bhs.Opcode == PduOpcode.NopIn && bhs.InitiatorTaskTag == Bhs.ReservedTag;
        bool hasStatus = bhs.Opcode != PduOpcode.DataIn || (header[1] & DataInPdu.HasStatus) != 0;
        if (bhs.Opcode == PduOpcode.LoginResponse && !_hasStatSn)
        {
            connection.ExpStatSn = bhs.StatSn;
            _hasStatSn = true;
        }
        if (hasStatus)
        {
            if (bhs.StatSn != connection.ExpStatSn)
                throw new SimulationException($"{connection} gets {bhs.Opcode} with StatSN {bhs.StatSn}, and expects {connection.ExpStatSn}");
            if (!isPing && bhs.Opcode != PduOpcode.ReadyToTransfer) connection.ExpStatSn++;
        }
        if (connection.IsLoggedIn) connection.Session!.TakeWindow(bhs.ExpCmdSn, bhs.MaxCmdSn);
    }

    private void LogIn(byte[] header, byte[] data)
    {
        var pdu = new LoginPdu(header);
        if (pdu.Status != 0)
        {
            World.Note($"{connection} is refused: {pdu.Status:x4}");
            Initiator.Refused(connection, (LoginStatus)pdu.Status);
            return;
        }
        if (connection.IsLoggedIn || !pdu.Transit || pdu.NextStage != LoginStage.FullFeature)
            throw new SimulationException($"{connection} gets a login response that it does not expect");
        var bhs = new Bhs(header);
        Initiator.LoggedIn(connection, pdu.Tsih, TextKeys.Parse(data).ToDictionary(k => k.Key, k => k.Value));
        connection.Session!.TakeWindow(bhs.ExpCmdSn, bhs.MaxCmdSn);
    }

    private void TakeData(byte[] header, byte[] data, long last)
    {
        var pdu = new DataInPdu(header);
        var bhs = new Bhs(header);
        var command = connection.Session!.Find(bhs.InitiatorTaskTag, last, connection, "data");
        if (command is { CoveredBy: not null, WasAdopted: true }) return;
        if (command.IsConcluded && !(command.CoveredBy is not null && last < command.CoveredTick))
            throw new SimulationException($"{connection} gets data of {command}, which is over ({command.CoveredBy ?? "answered"})");
        if (!command.Reads || pdu.BufferOffset != command.Received || pdu.DataSn != command.DataSn || data.Length == 0)
            throw new SimulationException($"{command} gets DataSN {pdu.DataSn} at {pdu.BufferOffset}, and expects {command.DataSn} at {command.Received}");
        if (command.Received + data.Length > command.Expected)
            throw new SimulationException($"{command} gets more than the {command.Expected} bytes that it expects");
        data.CopyTo(command.DataIn, command.Received);
        command.Received += data.Length;
        command.DataSn++;
        if ((header[1] & DataInPdu.HasStatus) != 0) Answer(command, (ScsiStatus)pdu.Status, header, last);
    }

    private void Respond(byte[] header, byte[] data, long last)
    {
        var bhs = new Bhs(header);
        var command = connection.Session!.Find(bhs.InitiatorTaskTag, last, connection, "a response");
        var status = (ScsiStatus)header[3];
        if (header[2] != 0) throw new SimulationException($"{command} is answered with response {header[2]}");
        bool hasSense = data.Length >= 2 + 8 && (data[2] & 0x7F) is 0x70 or 0x72;
        if (hasSense != (status == ScsiStatus.CheckCondition))
            throw new SimulationException($"{command} gets {status} with {data.Length} bytes of sense");
        if (hasSense) command.Sense = (data[2] & 0x7F) == 0x70 ? data[4] << 16 | data[14] << 8 | data[15]
            : data[3] << 16 | data[4] << 8 | data[5];
        Answer(command, status, header, last);
    }

    private void Answer(WireCommand command, ScsiStatus status, byte[] header, long last)
    {
        World.Note($"{command}: {status}{(status == ScsiStatus.CheckCondition ? $" {command.Sense & 0xFFFFF:x5}" : "")}");
        if (command is { CoveredBy: not null, WasAdopted: true }) return;
        CheckResidual(command, status, header);
        if (status == ScsiStatus.TaskAborted && !Initiator.Simulation.MayBeAborted(command.Unit, Initiator))
            throw new SimulationException($"{command} is aborted, and nobody else has done that");
        command.Answer(status, last);
    }

    private static void CheckResidual(WireCommand command, ScsiStatus status, byte[] header)
    {
        long residual = new Bhs(header).Get(44), signed = (header[1] & 6) switch
        {
            ScsiResponsePdu.Overflow => residual,
            ScsiResponsePdu.Underflow => -residual,
            0 => 0,
            _ => throw new SimulationException($"{command} has an overflow and an underflow"),
        };
        if ((header[1] & 6) == 0 && residual != 0) throw new SimulationException($"{command} has a residual without a flag");
        if (status == ScsiStatus.Good)
        {
            long moved = command.Reads ? command.Produces : command.Takes;
            if (command.Reads && command.Received != Math.Min(command.Produces, command.Expected))
                throw new SimulationException($"{command} gets {command.Received} bytes of {command.Produces}, and expects {command.Expected}");
            if (signed != moved - command.Expected)
                throw new SimulationException($"{command} has residual {signed}, not {moved - command.Expected}");
        }
        else if (command.Reads && !command.WasAdopted && (command.Received != 0 || signed != -command.Expected))
        {
            throw new SimulationException($"{command} fails with {command.Received} bytes and residual {signed}");
        }
    }

    private void Solicit(byte[] header, long last)
    {
        var pdu = new ReadyToTransferPdu(header);
        var bhs = new Bhs(header);
        var (session, command) = (connection.Session!, connection.Session!.Find(bhs.InitiatorTaskTag, last, connection, "a R2T"));
        World.Note($"{command} is asked for {pdu.DesiredLength} bytes at {pdu.BufferOffset}{(command.Withholds ? ", and withholds them" : "")}");
        if (command.IsConcluded)
        {
            if (command.CoveredBy is not null && last < command.CoveredTick) return;
            throw new SimulationException($"{connection} gets a R2T of {command}, which is over ({command.CoveredBy ?? "answered"})");
        }
        if (session.Level > 0)
        {
            // What it has got and what not is the target's to know, also when it asks again.
            (command.R2tSn, command.Solicited) = (pdu.R2tSn, Math.Min((int)pdu.BufferOffset, command.Takes));
        }
        if (!command.Writes || pdu.R2tSn != command.R2tSn || pdu.BufferOffset != command.Solicited)
            throw new SimulationException($"{command} gets R2TSN {pdu.R2tSn} at {pdu.BufferOffset}, and expects {command.R2tSn} at {command.Solicited}");
        if (pdu.DesiredLength == 0 || pdu.DesiredLength > session.MaxBurst || command.Solicited + pdu.DesiredLength > command.Takes)
            throw new SimulationException($"{command} is asked for {pdu.DesiredLength} bytes at {command.Solicited} of {command.Takes}");
        command.R2tSn++;
        command.Solicited += (int)pdu.DesiredLength;
        if (command.Withholds) return;
        var (tag, offset, length) = (bhs.TargetTransferTag, (int)pdu.BufferOffset, (int)pdu.DesiredLength);
        if (World.Chance(0.5)) Initiator.SendBurst(command, tag, offset, length);
        else World.After(TimeSpan.FromMilliseconds(World.Between(0, 200)), () => Initiator.SendBurst(command, tag, offset, length));
    }

    private void EndFunction(byte[] header, long first)
    {
        uint tag = new Bhs(header).InitiatorTaskTag;
        var (session, result) = (connection.Session!, new TaskManagementPdu(header).Response);
        var function = session.Functions.Find(f => f.Tag == tag && f.Connection == connection)
            ?? throw new SimulationException($"{connection} gets a task management response with tag {tag:x}, which no function there has");
        session.Functions.Remove(function);
        World.Note($"{function}: {result}");
        function.WhenOver?.Invoke();
        if (Initiator.Simulation.IsQuick && World.Now - function.Time > 30 * TimeSpan.TicksPerSecond)
            throw new SimulationException($"{function} takes {TimeSpan.FromTicks(World.Now - function.Time)}");
        if (function.Function == TaskManagementFunction.TaskReassign)
        {
            Initiator.Recovery.Reassigned(function, result);
            return;
        }
        switch (result)
        {
            case TaskManagementResult.Complete:
                foreach (var command in function.Covered) command.Cover(function.ToString(), first);
                foreach (var command in function.Fenced) command.Fence();
                Initiator.Simulation.Operations.Overwrite(Initiator, [.. function.Covered, .. function.Fenced]);
                break;
            case TaskManagementResult.TaskDoesNotExist when function.Command is { IsConcluded: false } command:
                if (command.Connection == connection && !Initiator.Simulation.MayBeSilent(command) && !session.Functions.Exists(f =>
                    f.Covered.Contains(command)))
                    throw new SimulationException($"{command} does not exist, and has never been answered");
                command.Cover(function.ToString(), first);
                break;
            case TaskManagementResult.LunDoesNotExist when function.Command is { } lost && lost.Connection != connection:
                // Numbers that were lost with a connection stay missing.
                Initiator.DropSession();
                break;
            case TaskManagementResult.TaskDoesNotExist or TaskManagementResult.LunDoesNotExist or TaskManagementResult.Rejected:
                break;
            default:
                throw new SimulationException($"{function} is answered {result}");
        }
    }

    private void AnswerPing(byte[] header, byte[] data)
    {
        var bhs = new Bhs(header);
        if (bhs.InitiatorTaskTag != Bhs.ReservedTag)
        {
            if (!connection.Session!.Busy.Remove(bhs.InitiatorTaskTag))
                throw new SimulationException($"{connection} gets a NOP-In with tag {bhs.InitiatorTaskTag:x}");
            if (Encoding.ASCII.GetString(data) != $"ping {bhs.InitiatorTaskTag:x}")
                throw new SimulationException($"{connection} gets back what it has not sent");
            return;
        }
        if (bhs.TargetTransferTag == Bhs.ReservedTag) return;
        var pdu = new byte[Bhs.Length];
        NopPdu.Write(pdu, PduOpcode.NopOut, bhs.Lun, Bhs.ReservedTag, bhs.TargetTransferTag, 0);
        _ = new Bhs(pdu) { IsImmediate = true, CmdSn = connection.Session!.CmdSn };
        connection.Send(pdu, []);
    }

    private void Reject(byte[] header, byte[] data)
    {
        var reason = (RejectReason)header[2];
        var refused = new Bhs(data.AsSpan(0, Bhs.Length));
        uint tag = refused.InitiatorTaskTag;
        World.Note($"{connection}: {refused.Opcode} tag {tag:x} is rejected: {reason}");
        if (reason != RejectReason.TooManyImmediateCommands)
            throw new SimulationException($"{connection}: {refused.Opcode} tag {tag:x} CmdSN {refused.CmdSn} is rejected: {reason}");
        var session = connection.Session!;
        if (session.Functions.Find(f => f.Tag == tag && f.Connection == connection) is { } function)
        {
            session.Functions.Remove(function);
            function.WhenOver?.Invoke();
            // What it was to end would be missing for ever.
            if (function.Function == TaskManagementFunction.AbortTask
                && function.Command?.Connection != connection) Initiator.DropSession();
        }
        else if (session.Open.Find(c => c.Tag == tag && c.Connection == connection) is { } command)
        {
            command.Cover("its rejection", session.Clock.Tick());
        }
    }
}
