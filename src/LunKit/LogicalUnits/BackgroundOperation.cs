using LunKit.Backstores;
using LunKit.Diagnostics;
using LunKit.Scsi;

namespace LunKit.LogicalUnits;

/// <summary>
/// The one long operation that a block unit can be in: FORMAT UNIT or SANITIZE. While it runs (or after a sanitize failed) the
/// unit answers NOT READY with progress; resets do not end it, and a sanitize that a restart interrupted is a failed one
/// (SBC-4 4.11). Thread safe.
/// </summary>
internal sealed class BackgroundOperation(BlockUnit unit)
{
    private readonly Lock _gate = new();
    private readonly CancellationTokenSource _stop = new();
    private Task _running = Task.CompletedTask;
    private string? _name;
    private bool _failed;
    private bool _mayExit;
    private long _progressPermyriad;

    /// <summary>Whether medium access is refused.</summary>
    public bool IsActive => Volatile.Read(ref _name) is not null;

    public bool IsFailed => IsActive && _failed;

    /// <summary>NOT READY, SANITIZE or FORMAT IN PROGRESS, with progress indication; or the failure.</summary>
    public SenseDetail Sense
    {
        get
        {
            if (_failed) return new SenseDetail(Scsi.Sense.SanitizeFailed);
            return new SenseDetail(_name == "FORMAT UNIT" ? Scsi.Sense.FormatInProgress : Scsi.Sense.SanitizeInProgress)
            {
                KeySpecific = SenseDetail.Progress(Volatile.Read(ref _progressPermyriad) / 10000.0),
            };
        }
    }

    /// <summary>Enters the failure state that a previous process left.</summary>
    public void ResumeFailed()
    {
        var (name, mayExit) = unit.Memory.Read(s => (s.Sanitize, s.SanitizeMayExit));
        if (name is null) return;
        _name = name;
        _failed = true;
        _mayExit = mayExit;
    }

    /// <summary>
    /// Starts <paramref name="work"/>, which reports its progress from 0 to 1. Null: one runs already; a sanitize that failed may be started again
    /// (SBC-4 4.11.3). The unit is not ready from here on. Started: the unit remembers a sanitize, until it has succeeded; fails when it cannot, and
    /// nothing was done then. Ended: the operation's end, with its failure.
    /// </summary>
    public (Task Started, Task Ended)? TryStart(string name, bool isSanitize, bool mayExit, Func<IProgress<double>, CancellationToken, Task> work)
    {
        var started = new TaskCompletionSource();
        lock (_gate)
        {
            if (IsActive && !_failed) return null;
            var before = (_name, _failed, _mayExit);
            Volatile.Write(ref _progressPermyriad, 0);
            _failed = false;
            _mayExit = mayExit;
            Volatile.Write(ref _name, name);
            return (started.Task, _running = RunAsync(name, isSanitize, before, work, started));
        }
    }

    private async Task RunAsync(
        string name, bool isSanitize, (string? Name, bool Failed, bool MayExit) before, Func<IProgress<double>, CancellationToken, Task> work,
        TaskCompletionSource started)
    {
        // The command's thread goes on; the operation does not hold it.
        await unit.Runtime.Queue.YieldAsync().ConfigureAwait(false);
        try
        {
            if (isSanitize) await unit.Memory.UpdateAsync(s => (s.Sanitize, s.SanitizeMayExit) = (name, _mayExit)).ConfigureAwait(false);
            started.SetResult();
        }
        catch (Exception e)
        {
            lock (_gate)
            {
                (_failed, _mayExit) = (before.Failed, before.MayExit);
                Volatile.Write(ref _name, before.Name);
            }
            started.SetException(e);
            return;
        }
        long start = unit.Runtime.Time.GetTimestamp();
        string outcome = "done";
        try
        {
            await work(new Progress(this), _stop.Token).ConfigureAwait(false);
            await unit.Store.FlushAsync(CancellationToken.None).ConfigureAwait(false);
            if (isSanitize) await unit.Memory.UpdateAsync(s => s.Sanitize = null).ConfigureAwait(false);
            Volatile.Write(ref _name, null);
        }
        catch (Exception e)
        {
            outcome = $"failed: {e.Message}";
            _failed = isSanitize;
            if (!isSanitize) Volatile.Write(ref _name, null);
            throw;
        }
        finally
        {
            LogMessages.LongOperationEnded(unit.Log, unit.Identity.Name, name, unit.Runtime.Time.GetElapsedTime(start).TotalSeconds, outcome);
        }
    }

    /// <summary>EXIT FAILURE MODE (SBC-4 5.30.5): false when the failed sanitize did not allow it (AUSE = 0).</summary>
    public async ValueTask<bool> TryExitFailureAsync()
    {
        // The command has the unit for itself: nothing is started meanwhile.
        if (!_failed) return true;
        if (!_mayExit) return false;
        await unit.Memory.UpdateAsync(s => s.Sanitize = null).ConfigureAwait(false);
        lock (_gate)
        {
            _failed = false;
            Volatile.Write(ref _name, null);
        }
        return true;
    }

    /// <summary>Ends the operation for the process to stop; a sanitize stays remembered as not done.</summary>
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
