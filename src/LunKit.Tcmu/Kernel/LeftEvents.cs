using System.Collections.Concurrent;
using LunKit.Tcmu.Devices;

namespace LunKit.Tcmu.Kernel;

/// <summary>
/// Events that other handlers have to answer, until they had time for it: who died before he answered leaves somebody waiting in the kernel. One that was
/// answered must not be answered again: when the kernel waits for another reply of that device at that moment, it takes the late one for it, drops the wait
/// from its list, and its writer never goes on (Linux 6.1 to 7.3, tcmu_genl_cmd_done). <see cref="Add"/>: any thread; the rest: one thread.
/// </summary>
/// <param name="isEnabled">
/// Whether a device is enabled, so that its Added event was answered. May wait for whoever removes the device; called on a thread of the pool.
/// </param>
/// <param name="clock">The time in milliseconds.</param>
internal sealed class LeftEvents(Func<TcmuEvent, bool> isEnabled, Func<long> clock)
{
    private const int PatienceMilliseconds = 5000;

    private readonly ConcurrentQueue<(TcmuEvent Event, long Due)> _left = new();
    private readonly List<(TcmuEvent Event, Task<bool> IsAnswered)> _looks = [];

    public void Add(TcmuEvent e) => _left.Enqueue((e, clock() + PatienceMilliseconds));

    /// <summary>Takes those whose time is over, and that nobody has answered as far as can be seen.</summary>
    public IReadOnlyList<TcmuEvent> Take()
    {
        while (_left.TryPeek(out var left) && left.Due <= clock() && _left.TryDequeue(out left))
        {
            var e = left.Event;
            _looks.Add((e, e.Kind == TcmuEventKind.Added ? Task.Run(() => isEnabled(e)) : Task.FromResult(false)));
        }
        // One look decides: what ends between two would be lost, and its writer would wait for ever.
        var over = _looks.Where(l => l.IsAnswered.IsCompleted).ToList();
        _looks.RemoveAll(over.Contains);
        // What cannot be read any more is gone.
        return [.. over.Where(l => l.IsAnswered is { IsCompletedSuccessfully: true, Result: false }).Select(l => l.Event)];
    }
}
