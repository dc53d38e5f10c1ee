namespace LunKit.Iscsi.Sessions;

/// <summary>What becomes of a command by its CmdSN.</summary>
internal enum CommandOrder
{
    /// <summary>It is its turn.</summary>
    Now,
    /// <summary>Earlier commands are still on their way on another connection.</summary>
    Later,
    /// <summary>Outside the window or seen before: ignored without an answer (RFC 7143 4.2.2.1).</summary>
    Ignore,
}

/// <summary>The CmdSN window of a session (RFC 7143 4.2.2.1), shared by its connections. Thread safe.</summary>
internal sealed class CommandWindow(uint firstCmdSn, int depth)
{
    private readonly Lock _gate = new();
    private uint _expCmdSn = firstCmdSn;
    private uint _maxCmdSn = firstCmdSn + (uint)depth - 1;
    private int _held;

    public uint ExpCmdSn => Volatile.Read(ref _expCmdSn);

    public uint MaxCmdSn => Volatile.Read(ref _maxCmdSn);

    /// <summary>Where a command stands, without taking its place.</summary>
    public CommandOrder Look(uint cmdSn)
    {
        lock (_gate) return cmdSn == _expCmdSn ? CommandOrder.Now : Elsewhere(cmdSn);
    }

    /// <summary>Takes the place of a non-immediate command in the order.</summary>
    public CommandOrder Take(uint cmdSn)
    {
        lock (_gate)
        {
            if (cmdSn == _expCmdSn)
            {
                _expCmdSn++;
                Open();
                return CommandOrder.Now;
            }
            return Elsewhere(cmdSn);
        }
    }

    private CommandOrder Elsewhere(uint cmdSn) =>
        SerialNumber.IsBefore(cmdSn, _expCmdSn) || SerialNumber.IsBefore(_maxCmdSn, cmdSn) ? CommandOrder.Ignore : CommandOrder.Later;

    /// <summary>A command goes on after its batch: it keeps one place of the window.</summary>
    public void Hold()
    {
        lock (_gate) _held++;
    }

    public void Release()
    {
        lock (_gate)
        {
            _held--;
            Open();
        }
    }

    /// <summary>MaxCmdSN never goes back, whatever is held (RFC 7143 4.2.2.1).</summary>
    private void Open()
    {
        uint max = _expCmdSn + (uint)Math.Max(0, depth - _held) - 1;
        if (SerialNumber.IsBefore(_maxCmdSn, max)) Volatile.Write(ref _maxCmdSn, max);
    }
}
