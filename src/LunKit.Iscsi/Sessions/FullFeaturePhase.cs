using LunKit.Iscsi.Login;
using LunKit.Iscsi.Pdus;
using LunKit.Scsi;

namespace LunKit.Iscsi.Sessions;

/// <summary>
/// A connection in full feature phase: one that has a session. Takes each PDU to the object that serves it, in the order of the
/// session's commands. Only the connection's thread uses it, except where a member says otherwise.
/// </summary>
internal sealed class FullFeaturePhase
{
    private readonly HeldPdus _held;
    private readonly ControlRequests _control;
    private readonly Retransmission? _retransmission;

    public FullFeaturePhase(
        IscsiConnection connection, IscsiSession session, NegotiatedParameters parameters, PduSender sender, PduReceiver receiver)
    {
        Connection = connection;
        Session = session;
        Parameters = parameters;
        Sender = sender;
        Receiver = receiver;
        _held = new HeldPdus(connection.Limits.QueueDepth, session.Parameters.FirstBurstLength, connection.Memory, session.Window);
        if (parameters.ErrorRecoveryLevel > 0) Kept = new SentResponses(connection.Limits.MaxRetainedBytesPerConnection, connection.Memory);
        Responder = new TaskResponder(sender);
        Tasks = new ConnectionTasks(this);
        Transfers = new DataOutTransfers(this);
        Management = new TaskManagementRequests(this);
        _control = new ControlRequests(this);
        if (Kept is not { } kept) return;
        _retransmission = new Retransmission(sender, kept, Tasks, Transfers);
        if (parameters.ErrorRecoveryLevel == 2) Custody = new ConnectionCustody(this, kept, _retransmission);
    }

    public IscsiConnection Connection { get; }
    public IscsiSession Session { get; }
    public NegotiatedParameters Parameters { get; }
    public PduSender Sender { get; }
    public PduReceiver Receiver { get; }
    public TaskResponder Responder { get; }
    public ConnectionTasks Tasks { get; }
    public DataOutTransfers Transfers { get; }
    public TaskManagementRequests Management { get; }

    /// <summary>What was sent and is not acknowledged; null at error recovery level 0.</summary>
    public SentResponses? Kept { get; }

    /// <summary>What becomes of the tasks when the connection is lost; null below error recovery level 2.</summary>
    public ConnectionCustody? Custody { get; }

    /// <summary>
    /// Whether a PDU must stay unread: it is early, and there is no room to hold it. Not a SCSI command, which can be refused: what ends the wait
    /// for its turn may be behind it.
    /// </summary>
    public bool MustWait(Bhs header) => !_held.HasRoom && !header.IsImmediate && header.DataLength > 0 &&
        header.Opcode is (PduOpcode.NopOut or PduOpcode.TextRequest) && Session.Window.Look(header.CmdSn) == CommandOrder.Later;

    /// <summary>Serves one PDU that is here completely.</summary>
    public void Handle(Bhs header, Span<byte> ahs, Memory<byte> data)
    {
        Kept?.Acknowledge(header.ExpStatSn);
        switch (header.Opcode)
        {
            case PduOpcode.ScsiCommand:
                if (header.IsImmediate || IsTurnOf(header, ahs, data.Span)) Tasks.HandleCommand(header, ahs, data);
                break;
            case PduOpcode.DataOut:
                HandleDataOut(header, data.Span);
                break;
            case PduOpcode.LoginRequest:
                throw new IscsiProtocolException("login in full feature phase");
            case PduOpcode.NopOut or PduOpcode.TextRequest or PduOpcode.LogoutRequest or PduOpcode.TaskManagementRequest:
                if (header.IsImmediate || IsTurnOf(header, default, data.Span)) HandleControl(header, data.Span);
                break;
            case PduOpcode.SnackRequest:
                if (_retransmission is null) Sender.Reject(header, RejectReason.CommandNotSupported);
                else _retransmission.HandleSnack(header);
                break;
            default:
                Sender.Reject(header, RejectReason.CommandNotSupported);
                break;
        }
    }

    private void HandleControl(Bhs header, ReadOnlySpan<byte> data)
    {
        if (header.Opcode == PduOpcode.TaskManagementRequest) Management.Handle(header);
        else _control.Handle(header, data);
    }

    private void HandleDataOut(Bhs header, ReadOnlySpan<byte> data)
    {
        if (Transfers.Find(header, data.Length, out int offset) is { } task) Transfers.Take(task, header, offset, data);
        else if (_held.Follow(header, data.Length) is { } held) data.CopyTo(held.AsSpan(Bhs.Length));
    }

    /// <summary>
    /// The rule for a PDU whose data digest is wrong (RFC 7143 7.8): it is rejected, and its data comes again or its command fails.
    /// </summary>
    public void RefuseDamaged(Bhs header)
    {
        Kept?.Acknowledge(header.ExpStatSn);
        Sender.Reject(header, RejectReason.DataDigestError);
        if (header.Opcode == PduOpcode.DataOut && Transfers.Find(header, header.DataLength, out _) is { } task)
            Transfers.Damage(task, header, Sense.ProtocolServiceCrcError);
    }

    /// <summary>Where a long data segment goes while it is being received.</summary>
    public DirectSegment BeginDirect(Bhs header, Span<byte> ahs, int dataLength) => header.Opcode switch
    {
        PduOpcode.ScsiCommand => BeginDirectCommand(header, ahs, dataLength),
        PduOpcode.DataOut => BeginDirectDataOut(header, dataLength),
        _ => DirectSegment.OfControl(dataLength, Connection.Memory),
    };

    /// <summary>A command's immediate data goes to its task, to a held copy of the PDU, or nowhere.</summary>
    private DirectSegment BeginDirectCommand(Bhs header, Span<byte> ahs, int dataLength)
    {
        var order = header.IsImmediate ? CommandOrder.Now : Session.Window.Look(header.CmdSn);
        if (order == CommandOrder.Now)
        {
            if (Tasks.Refusal(header) is { } reason) return new() { Refusal = reason };
            var task = Tasks.Create(header, ahs, dataLength);
            return new() { Memory = task.CollectLength == 0 ? default : Transfers.RoomForUnsolicited(task), Task = task };
        }
        if (order != CommandOrder.Later || _held.Add(header, ahs.Length + dataLength) is not { } held) return default;
        ahs.CopyTo(held.AsSpan(Bhs.Length));
        return new() { Memory = held.AsMemory(Bhs.Length + ahs.Length), Held = held };
    }

    private DirectSegment BeginDirectDataOut(Bhs header, int dataLength)
    {
        if (Transfers.Find(header, dataLength, out int offset) is { } task)
        {
            var target = task.Collected[..Math.Min(task.CollectLength, task.Collected.Length)];
            return new() { Memory = target[Math.Min(offset, target.Length)..], Task = task };
        }
        return _held.Follow(header, dataLength) is { } held ? new() { Memory = held.AsMemory(Bhs.Length), Held = held } : default;
    }

    /// <summary>A data segment that was received directly is here completely.</summary>
    public void EndDirect(DirectSegment target, Bhs header, bool damaged)
    {
        if (target.Control is { } control)
        {
            try
            {
                if (damaged) RefuseDamaged(header);
                else Handle(header, default, control.AsMemory(0, header.DataLength));
            }
            finally
            {
                // Also of one that ends the connection: the account is all connections'.
                target.ReleaseControl(Connection.Memory);
            }
            return;
        }
        Kept?.Acknowledge(header.ExpStatSn);
        if (damaged)
        {
            Sender.Reject(header, RejectReason.DataDigestError);
            if (target.Held is not null) _held.Drop(target.Held);
            if (target.Task is null) return;
            if (header.Opcode == PduOpcode.ScsiCommand) Tasks.Free(target.Task);
            else Transfers.Damage(target.Task, header, Sense.ProtocolServiceCrcError);
            return;
        }
        if (target.Task is { } task && header.Opcode == PduOpcode.DataOut)
        {
            Transfers.Finish(task, header, header.DataLength);
            return;
        }
        if (target.Task is null && target.Refusal is null) return;
        // Only now: until its data has proven right the command counts as not received (RFC 7143 7.8).
        bool isTurn = header.IsImmediate || TakeTurn(header) == CommandOrder.Now;
        if (target.Task is not { } command)
        {
            if (isTurn && target.Refusal is { } reason) Sender.Reject(header, reason);
        }
        else if (isTurn)
        {
            Tasks.StartDirect(command, header);
        }
        else
        {
            Tasks.Free(command);
        }
    }

    /// <summary>
    /// Takes a non-immediate command's turn. One that is early is kept; one that is outside the window, seen before, or aborted
    /// before it came, is ignored.
    /// </summary>
    private bool IsTurnOf(Bhs header, Span<byte> ahs, ReadOnlySpan<byte> data)
    {
        var order = TakeTurn(header);
        if (order == CommandOrder.Later && _held.Add(header, ahs.Length + data.Length) is { } pdu)
        {
            ahs.CopyTo(pdu.AsSpan(Bhs.Length));
            data.CopyTo(pdu.AsSpan(Bhs.Length + ahs.Length));
        }
        return order == CommandOrder.Now;
    }

    private CommandOrder TakeTurn(Bhs header)
    {
        int lun = header.Opcode == PduOpcode.ScsiCommand ? LunAddress.Decode(header.Lun) : CommandWindow.NoLun;
        var order = Session.Window.Take(header.CmdSn, lun, _held.Count > 0, out bool wakes);
        if (wakes) Session.WakeOthers(Connection);
        return order;
    }

    /// <summary>
    /// One turn of the connection's loop: serves what waited for something else than input. True: it found something to do.
    /// </summary>
    public bool Turn()
    {
        bool any = Tasks.TakeCompletions();
        any |= ServeHeldCommands();
        any |= Transfers.SolicitWaiting();
        any |= Management.Check();
        any |= _control.Check();
        return any;
    }

    /// <summary>Whether it is the turn of a command that is held here.</summary>
    public bool HoldsTurn => _held.Count > 0 && _held.Has(Session.Window.ExpCmdSn, Receiver.DirectHeld);

    private bool ServeHeldCommands()
    {
        bool any = false;
        if (_held.Count > 0 && Session.Window.HasSkipped) _held.DropBefore(Session.Window.ExpCmdSn);
        while (_held.Count > 0 && _held.Take(Session.Window.ExpCmdSn, Receiver.DirectHeld, out bool isRefused) is { } pdus)
        {
            any = true;
            if (isRefused)
            {
                var refused = new Bhs(pdus[0]);
                if (TakeTurn(refused) == CommandOrder.Now) Tasks.RefuseFull(refused);
                continue;
            }
            foreach (var pdu in pdus)
            {
                var header = new Bhs(pdu.AsSpan(0, Bhs.Length));
                int dataAt = Bhs.Length + header.AhsLength;
                Handle(header, pdu.AsSpan(Bhs.Length, header.AhsLength), pdu.AsMemory(dataAt));
            }
        }
        return any;
    }

    /// <summary>Something may have changed elsewhere, or time has passed.</summary>
    public void RunTimers(long now)
    {
        Tasks.SweepAborted();
        Transfers.RetryStalled(now);
        Custody?.TakeAdopted();
    }

    /// <summary>Milliseconds until <see cref="Turn"/> has something to check although nothing was signalled.</summary>
    public int NextCheckMilliseconds =>
        Management.AwaitsOthers || _control.IsPending ? 5 : Transfers.AreWaiting || Receiver.AwaitsRoom ? 20 : 1000;

    /// <summary>The connection is gone for the network: what waited for its turn is forgotten.</summary>
    public void Disconnect()
    {
        _held.Clear();
        Tasks.EndPolling();
    }

    /// <summary>Sends a NOP-In that asks for an answer.</summary>
    public void SendPing() => _control.SendPing();

    /// <summary>Asks the initiator to log out.</summary>
    public void RequestLogout(int seconds) => _control.RequestLogout(seconds);
}
