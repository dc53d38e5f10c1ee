namespace LunKit.Iscsi.Sessions;

/// <summary>What becomes of a command by its CmdSN.</summary>
internal enum CommandOrder
{
    /// <summary>It is its turn.</summary>
    Now,
    /// <summary>It is its turn, and task management has ended it before it came: it never runs.</summary>
    Aborted,
    /// <summary>Earlier commands are still on their way on another connection.</summary>
    Later,
    /// <summary>Outside the window or seen before: ignored without an answer (RFC 7143 4.2.2.1).</summary>
    Ignore,
}

/// <summary>
/// The CmdSN window of a session (RFC 7143 4.2.2.1), shared by its connections, and the commands that task management has ended
/// before their turn (RFC 7143 11.6.1). Thread safe.
/// </summary>
internal sealed class CommandWindow(uint firstCmdSn, int depth)
{
    /// <summary>No command is addressed so: what is not a command, or a fence for all LUNs.</summary>
    public const int NoLun = -1;

    // Functions that wait for missing commands at a time. An initiator has a few; with more the window stands still for a reason of
    // its own.
    private const int MaxFences = 64;

    /// <summary>Commands before <paramref name="CmdSn"/> at a LUN, or at all, that have not come yet, never run.</summary>
    private readonly record struct Fence(uint CmdSn, int Lun);

    private readonly Lock _gate = new();
    private readonly HashSet<uint> _skipped = [];
    private readonly List<Fence> _fences = [];
    private uint _expCmdSn = firstCmdSn;
    private uint _maxCmdSn = firstCmdSn + (uint)depth - 1;
    private int _held;
    private int _waiters;
    private volatile bool _hasSkipped;

    public uint ExpCmdSn => Volatile.Read(ref _expCmdSn);

    public uint MaxCmdSn => Volatile.Read(ref _maxCmdSn);

    /// <summary>Whether commands were ever skipped: held ones may be among them.</summary>
    public bool HasSkipped => _hasSkipped;

    /// <summary>Where a command stands, without taking its place.</summary>
    public CommandOrder Look(uint cmdSn)
    {
        lock (_gate) return cmdSn == _expCmdSn ? CommandOrder.Now : Elsewhere(cmdSn);
    }

    /// <summary>Takes the place of a non-immediate command in the order.</summary>
    /// <param name="cmdSn">Its number.</param>
    /// <param name="lun">The LUN of a SCSI command.</param>
    /// <param name="waits">Whether the caller itself holds commands.</param>
    /// <param name="wakes">Whether another connection holds commands, whose turn it may be now.</param>
    public CommandOrder Take(uint cmdSn, int lun, bool waits, out bool wakes)
    {
        lock (_gate)
        {
            wakes = false;
            if (cmdSn != _expCmdSn) return Elsewhere(cmdSn);
            bool fenced = _fences.Count > 0 && lun != NoLun && IsFenced(cmdSn, lun);
            Advance();
            wakes = _waiters > (waits ? 1 : 0);
            return fenced ? CommandOrder.Aborted : CommandOrder.Now;
        }
    }

    /// <summary>
    /// ABORT TASK of a command that has not come: it counts as received and never runs (RFC 7143 11.6.1). False: its number is not in
    /// the window, or it came already.
    /// </summary>
    public bool Skip(uint cmdSn)
    {
        lock (_gate)
        {
            if (SerialNumber.IsBefore(cmdSn, _expCmdSn) || SerialNumber.IsBefore(_maxCmdSn, cmdSn)) return false;
            _hasSkipped = true;
            if (cmdSn == _expCmdSn) Advance();
            else _skipped.Add(cmdSn);
            return true;
        }
    }

    /// <summary>
    /// A function for a task set, with the number <paramref name="cmdSn"/>: commands before it that have not come never run. False:
    /// too many such functions wait.
    /// </summary>
    /// <param name="cmdSn">Number of the function; one that was not immediate has had its turn, and nothing before it is missing.</param>
    /// <param name="lun">The commands of which LUN, or <see cref="NoLun"/> for all.</param>
    public bool TryFence(uint cmdSn, int lun)
    {
        lock (_gate)
        {
            if (!SerialNumber.IsBefore(_expCmdSn, cmdSn)) return true;
            // A number past the window says no more than "all of the window".
            var fence = new Fence(SerialNumber.IsBefore(_maxCmdSn, cmdSn) ? _maxCmdSn + 1 : cmdSn, lun);
            if (_fences.Contains(fence)) return true;
            if (_fences.Count >= MaxFences) return false;
            _fences.Add(fence);
            return true;
        }
    }

    /// <summary>A connection holds commands: it is woken when the order goes on elsewhere, until <see cref="RemoveWaiter"/>.</summary>
    public void AddWaiter()
    {
        lock (_gate) _waiters++;
    }

    public void RemoveWaiter()
    {
        lock (_gate) _waiters--;
    }

    private bool IsFenced(uint cmdSn, int lun) =>
        _fences.Exists(f => SerialNumber.IsBefore(cmdSn, f.CmdSn) && (f.Lun == NoLun || f.Lun == lun));

    private CommandOrder Elsewhere(uint cmdSn) =>
        SerialNumber.IsBefore(cmdSn, _expCmdSn) || SerialNumber.IsBefore(_maxCmdSn, cmdSn) || _skipped.Contains(cmdSn)
            ? CommandOrder.Ignore : CommandOrder.Later;

    private void Advance()
    {
        uint next = _expCmdSn + 1;
        while (_skipped.Count > 0 && _skipped.Remove(next)) next++;
        Volatile.Write(ref _expCmdSn, next);
        if (_fences.Count > 0) DropFences(next);
        Open();
    }

    // Apart: what it captures would be allocated for every command.
    private void DropFences(uint next) => _fences.RemoveAll(f => !SerialNumber.IsBefore(next, f.CmdSn));

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
