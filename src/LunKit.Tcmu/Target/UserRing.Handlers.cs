using LunKit.Linux;
using LunKit.LogicalUnits;
using LunKit.Tcmu.Ring;

namespace LunKit.Tcmu.Target;

/// <summary>Handlers come and go.</summary>
internal sealed partial class UserRing
{
    /// <summary>
    /// Prepares the ring for a handler: empty but for the commands that are out. The handler before is gone.
    /// </summary>
    /// <returns>What the handler gets; the caller closes the lease's copy.</returns>
    public HandlerGrant Attach()
    {
        HandlerGrant grant;
        List<EndedCommand>? ended;
        lock (_gate)
        {
            // First: for want of a descriptor nothing has happened.
            var lease = new Lease();
            _region.Producer.Reset();
            if (_pollers > 0) _region.Producer.Say(Watch.Looks);
            _notices.Clear();
            if (_writes.ResetIsOwed) _notices.OweReset();
            _lease = lease;
            _attached = true;
            _writes.Attached();
            _notices.Tell(_region.Producer);
            _commands.Repost();
            _region.Producer.Publish();
            grant = new HandlerGrant(_region.File.Handle, _toHandler.Handle, _toTarget.Handle, _lease.Held);
            ended = _commands.TakeEnded();
        }
        // The thread watches the new lease from here on; the handler looks at the ring when it attaches.
        _toTarget.Signal();
        _commands.Answer(ended);
        return grant;
    }

    /// <summary>The handler lied. Its commands end as BUSY, which initiators repeat, and it keeps the old memory for itself.</summary>
    private void Break(string reason)
    {
        LogMessages.RingBroken(_log, _name, reason);
        List<EndedCommand>? ended;
        // First: if there is none to be had, the old one stays, and the next round tries again.
        var fresh = new RingRegion(this, _name, _options, _budget);
        lock (_gate)
        {
            _commands.Replace(fresh);
            ended = _commands.TakeEnded();
            _region.Release();
            _region = fresh;
            _broken = null;
            BrokenCount++;
        }
        _commands.Answer(ended);
        Broken?.Invoke();
    }

    private void End(Lease lease)
    {
        bool lost = false;
        List<EndedCommand>? ended;
        lock (_gate)
        {
            if (_lease != lease) return;
            _lease = null;
            lease.Dispose();
            _commands.HandlerIsGone();
            bool hasLeft = _attached && _region.Producer.ConsumerHasLeft, isFlushed = hasLeft && !_region.Producer.ConsumerHasLeftUnflushed;
            if (hasLeft)
            {
                _commands.NothingIsBegun();
                _writes.Says(_region.Producer.ConsumerSurvival, Nexuses);
                _writes.Left(isFlushed);
            }
            // A flush that has failed says that more is amiss than what was written since the last.
            _isDurable = hasLeft ? isFlushed : _writes.AreDurable;
            if (lost = _writes.HandlerDied(Nexuses))
            {
                LossCount++;
                _commands.WritesAreLost();
            }
            _attached = false;
            ended = _commands.TakeEnded();
        }
        if (lost) LogMessages.WritesLost(_log, _name);
        _commands.Answer(ended);
        HandlerGone?.Invoke();
        TaskCompletionSource? free;
        lock (_gate) free = _free;
        // Last: without a thread of its own the ring may be disposed in here.
        free?.TrySetResult();
    }

    /// <summary>
    /// Waits until the handler has let go of the device, which somebody has told it to do; there is no next one. False: acknowledged writes are lost, or not on
    /// the medium.
    /// </summary>
    /// <exception cref="TimeoutException">It has not done so in <see cref="UserRingOptions.LeavingTime"/>.</exception>
    public async Task<bool> LetGoAsync(TimeProvider time)
    {
        var free = Task.CompletedTask;
        lock (_gate)
        {
            if (_lease is not null) free = (_free = new(_runtime.HasThread ? TaskCreationOptions.RunContinuationsAsynchronously : TaskCreationOptions.None)).Task;
        }
        using var late = new CancellationTokenSource();
        // Not WaitAsync, which goes on by the thread pool: a simulation has none.
        bool isFree = await Task.WhenAny(free, Task.Delay(_options.LeavingTime, time, late.Token)).ConfigureAwait(false) == free;
        late.Cancel();
        if (!isFree) throw new TimeoutException();
        lock (_gate) return _isDurable;
    }
}
