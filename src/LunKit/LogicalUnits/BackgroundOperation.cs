using LunKit.Backstores;
using LunKit.Diagnostics;
using LunKit.Scsi;

namespace LunKit.LogicalUnits;

/// <summary>
/// The one long operation that a block unit can be in: FORMAT UNIT or SANITIZE. While it runs, the unit answers NOT READY with progress; resets do not
/// end it. One that failed, or that a restart interrupted, is remembered: what has failed to sanitize answers nothing else (SBC-4 4.11), and a medium
/// whose format failed is not read or written (SBC-4 5.4), until another attempt succeeds. Thread safe.
/// </summary>
internal sealed class BackgroundOperation(BlockUnit unit)
{
    private sealed record Operation(string Name, bool IsSanitize, bool MayExit, bool HasFailed);

    private readonly Lock _gate = new();
    private readonly CancellationTokenSource _stop = new();
    private Task _running = Task.CompletedTask;
    private volatile Operation? _now;
    private long _progressPermyriad;

    /// <summary>Whether medium access is refused.</summary>
    public bool IsActive => _now is not null;

    public bool IsFailed => _now is { HasFailed: true };

    /// <summary>Whether a command is refused, with <see cref="Sense"/>, because of it.</summary>
    public bool Refuses(CommandDescriptor row) => _now is { } now &&
        (now is { HasFailed: true, IsSanitize: false } ? row.Has(CommandTraits.NeedsMedium) && row.Opcode != Opcode.FormatUnit : !row.Has(CommandTraits.DuringSanitize));

    /// <summary>NOT READY, SANITIZE or FORMAT IN PROGRESS, with progress indication; or the failure.</summary>
    public SenseDetail Sense
    {
        get
        {
            // It may have ended since the command was refused.
            if (_now is not { } now) return new SenseDetail(Scsi.Sense.BecomingReady);
            if (now.HasFailed) return new SenseDetail(now.IsSanitize ? Scsi.Sense.SanitizeFailed : Scsi.Sense.FormatCommandFailed);
            return new SenseDetail(now.IsSanitize ? Scsi.Sense.SanitizeInProgress : Scsi.Sense.FormatInProgress)
            {
                KeySpecific = SenseDetail.Progress(Volatile.Read(ref _progressPermyriad) / 10000.0),
            };
        }
    }

    /// <summary>Enters the failure state that a previous process left.</summary>
    public void ResumeFailed() => _now = unit.Memory.Read(s => s.Sanitize is { } name
        ? new Operation(name, IsSanitize: true, s.SanitizeMayExit, HasFailed: true)
        : s.Format ? new Operation("FORMAT UNIT", IsSanitize: false, MayExit: false, HasFailed: true) : null);

    private static void Remember(UnitState state, Operation operation, bool isPending)
    {
        if (!operation.IsSanitize) state.Format = isPending;
        else (state.Sanitize, state.SanitizeMayExit) = (isPending ? operation.Name : null, operation.MayExit);
    }

    /// <summary>
    /// Starts <paramref name="work"/>, which reports its progress from 0 to 1. Null: one runs already; one that failed may be started again
    /// (SBC-4 4.11.3). The unit is not ready from here on. Started: the unit remembers the operation, until it has succeeded; fails when it cannot, and
    /// nothing was done then. Ended: the operation's end, with its failure.
    /// </summary>
    public (Task Started, Task Ended)? TryStart(string name, bool isSanitize, bool mayExit, Func<IProgress<double>, CancellationToken, Task> work)
    {
        var started = new TaskCompletionSource();
        var operation = new Operation(name, isSanitize, mayExit, HasFailed: false);
        lock (_gate)
        {
            if (IsActive && !IsFailed) return null;
            var before = _now;
            Volatile.Write(ref _progressPermyriad, 0);
            _now = operation;
            return (started.Task, _running = RunAsync(operation, before, work, started));
        }
    }

    private async Task RunAsync(Operation operation, Operation? before, Func<IProgress<double>, CancellationToken, Task> work, TaskCompletionSource started)
    {
        // The command's thread goes on; the operation does not hold it.
        await unit.Runtime.Queue.YieldAsync().ConfigureAwait(false);
        try
        {
            await unit.Memory.UpdateAsync(s => Remember(s, operation, isPending: true)).ConfigureAwait(false);
            started.SetResult();
        }
        catch (Exception e)
        {
            _now = before;
            started.SetException(e);
            return;
        }
        long start = unit.Runtime.Time.GetTimestamp();
        string outcome = "done";
        try
        {
            await work(new Progress(this), _stop.Token).ConfigureAwait(false);
            await unit.Store.FlushAsync(CancellationToken.None).ConfigureAwait(false);
            await unit.Memory.UpdateAsync(s => Remember(s, operation, isPending: false)).ConfigureAwait(false);
            _now = null;
        }
        catch (Exception e)
        {
            outcome = $"failed: {e.Message}";
            _now = operation with { HasFailed = true };
            throw;
        }
        finally
        {
            LogMessages.LongOperationEnded(unit.Log, unit.Identity.Name, operation.Name, unit.Runtime.Time.GetElapsedTime(start).TotalSeconds, outcome);
        }
    }

    /// <summary>EXIT FAILURE MODE (SBC-4 5.30.5): false when the failed sanitize did not allow it (AUSE = 0).</summary>
    public async ValueTask<bool> TryExitFailureAsync()
    {
        // The command has the unit for itself: nothing is started meanwhile.
        if (_now is not { HasFailed: true, IsSanitize: true } failed) return true;
        if (!failed.MayExit) return false;
        await unit.Memory.UpdateAsync(s => Remember(s, failed, isPending: false)).ConfigureAwait(false);
        _now = null;
        return true;
    }

    /// <summary>Ends the operation for the process to stop; it stays remembered as not done.</summary>
    public async ValueTask StopAsync()
    {
        try
        {
            _stop.Cancel();
        }
        catch (AggregateException e)
        {
            LogMessages.CancellationThrew(unit.Log, e, unit.Identity.Name);
        }
        await _running.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    private sealed class Progress(BackgroundOperation operation) : IProgress<double>
    {
        public void Report(double value) => Volatile.Write(ref operation._progressPermyriad, (long)(value * 10000));
    }
}
