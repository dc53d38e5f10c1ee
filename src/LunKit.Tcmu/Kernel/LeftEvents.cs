using System.Collections.Concurrent;
using LunKit.Linux;
using LunKit.Tcmu.Devices;

namespace LunKit.Tcmu.Kernel;

/// <summary>An event that another handler has to answer.</summary>
/// <param name="Event">The event.</param>
/// <param name="WasFree">Whether nobody had its device open when it was last looked at.</param>
internal readonly record struct LeftEvent(TcmuEvent Event, bool WasFree);

/// <summary>
/// Events that other handlers have to answer, until they had time for it: who died before he answered leaves somebody waiting in the kernel. One that was
/// answered must not be answered again: when the kernel waits for another reply of that device at that moment, it takes the late one for it, drops the wait
/// from its list, and its writer never goes on (Linux 6.1 to 7.3, tcmu_genl_cmd_done). A device has one wait at a time, so a newer event ends the older ones.
/// <see cref="Take"/>: one thread; the rest: any thread.
/// </summary>
/// <param name="isInForce">
/// Whether a device is as an event asks for. That it is so now, and was not when the event came, says that the event was answered. May wait for whoever removes
/// the device; called on a thread of the pool.
/// </param>
/// <param name="clock">The time in milliseconds.</param>
internal sealed class LeftEvents(Func<TcmuEvent, bool> isInForce, Func<long> clock)
{
    private const int PatienceMilliseconds = 5000;

    // Who lets a device go answers at once, but not at that moment.
    private const int LetGoMilliseconds = 1000;

    private readonly Lock _lock = new();
    private readonly List<(LeftEvent Left, long Due)> _left = [];
    private readonly List<(LeftEvent Left, Task<bool> IsAnswered)> _looks = [];

    // By the number of the device: never more than there were devices at once. With a change: whether the device was so already.
    private readonly ConcurrentDictionary<uint, (TcmuEvent Event, Task<bool>? WasInForce)> _newest = new();

    /// <summary>Whether there are none.</summary>
    public bool IsEmpty
    {
        get { lock (_lock) return _left.Count == 0 && _looks.Count == 0; }
    }

    /// <summary>An event has come.</summary>
    public void Told(TcmuEvent e) => _newest[e.Minor] = (e, e.Kind == TcmuEventKind.Reconfigured ? Task.Run(() => isInForce(e)) : null);

    /// <summary>The last event of the device with that number; null when none has come.</summary>
    public TcmuEvent? NewestOf(int number) => _newest.TryGetValue((uint)number, out var newest) ? newest.Event : null;

    /// <summary>Whether no newer event of its device has come: whoever waited for the answer to an older one waits no more.</summary>
    public bool IsNewest(TcmuEvent e) => !_newest.TryGetValue(e.Minor, out var newest) || ReferenceEquals(newest.Event, e);

    /// <summary>Whether a change asks for what was there already, so that it can be done by nobody, and cannot be seen to be answered.</summary>
    public bool ChangesNothing(TcmuEvent e) =>
        _newest.TryGetValue(e.Minor, out var newest) && ReferenceEquals(newest.Event, e) && newest.WasInForce is { IsCompletedSuccessfully: true, Result: true };

    private async Task<bool> IsAnsweredAsync(TcmuEvent e)
    {
        if (e.Kind == TcmuEventKind.Removed) return false;
        if (_newest.TryGetValue(e.Minor, out var newest) && ReferenceEquals(newest.Event, e) && newest.WasInForce is { } look)
        {
            await Task.WhenAny(look).ConfigureAwait(false);
            // What was there before, as far as could be told, says nothing.
            if (look is not { IsCompletedSuccessfully: true, Result: false }) return false;
        }
        return await Task.Run(() => isInForce(e)).ConfigureAwait(false);
    }

    /// <summary>Leaves an event to others. The others have time, to answer it or to let its device go.</summary>
    public void Add(TcmuEvent e) => Add(new LeftEvent(e, WasFree: false), PatienceMilliseconds);

    /// <summary>Looks again soon at one whose device nobody had open.</summary>
    public void AddFree(TcmuEvent e) => Add(new LeftEvent(e, WasFree: true), LetGoMilliseconds);

    /// <summary>Looks at once at one that nobody else was told.</summary>
    public void AddUntold(TcmuEvent e) => Add(new LeftEvent(e, WasFree: true), 0);

    private void Add(LeftEvent left, int patience)
    {
        lock (_lock) _left.Add((left, clock() + patience));
    }

    /// <summary>Takes those whose time is over, and that nobody has answered as far as can be seen.</summary>
    public IReadOnlyList<LeftEvent> Take()
    {
        lock (_lock)
        {
            long now = clock();
            _left.RemoveAll(l => !IsNewest(l.Left.Event));
            _looks.RemoveAll(l => !IsNewest(l.Left.Event));
            foreach (var (left, _) in _left.Where(l => l.Due <= now))
                _looks.Add((left, IsAnsweredAsync(left.Event)));
            _left.RemoveAll(l => l.Due <= now);
            // One look decides: what ends between two would be lost, and its writer would wait for ever.
            var over = _looks.Where(l => l.IsAnswered.IsCompleted).ToList();
            _looks.RemoveAll(over.Contains);
            // Where the look has failed for want of something, it is repeated; what else cannot be read any more is gone.
            foreach (var (left, look) in over.Where(l => l.IsAnswered.Exception?.InnerException is { } e && LinuxException.IsShortage(e))) Add(left, PatienceMilliseconds);
            return [.. over.Where(l => l.IsAnswered is { IsCompletedSuccessfully: true, Result: false }).Select(l => l.Left)];
        }
    }
}
