using System.Runtime.InteropServices;
using LunKit.Backstores;
using LunKit.Fabrics;
using LunKit.Linux;
using LunKit.LogicalUnits;
using LunKit.Scsi;
using LunKit.Tcmu.Devices;
using LunKit.Tcmu.Ring;
using Microsoft.Extensions.Logging;

namespace LunKit.Tcmu.Handler;

/// <summary>How the service of a ring has ended.</summary>
internal enum RingEnd
{
    /// <summary>It was asked to, and every command that was read is completed.</summary>
    Stopped,
    /// <summary>The producer is gone.</summary>
    ProducerGone,
    /// <summary>The ring broke its contract; it must be reset before it is served again.</summary>
    Broken,
}

/// <summary>
/// One logical unit behind one ring, on a thread of its own: reads what is there, executes what needs no waiting, publishes all
/// completions with one doorbell. The producer keeps unit attentions, reservations and ALUA states to itself, so the unit here starts
/// without a power-on unit attention. Owns the transport, not the unit.
/// </summary>
internal sealed class RingDevice : IDisposable
{
    // A wait ends at the latest after this, so that a lost doorbell costs a moment and not the command.
    private const int LookEveryMilliseconds = 1000;

    // Completions that are published together, where that costs no doorbell.
    private const int PublishEvery = 8;

    private readonly string _name;
    private readonly IRingTransport _transport;
    private readonly RingConsumer _ring;
    private readonly RingNexuses _nexuses;
    private readonly LogicalUnit _unit;
    private readonly SpinBudget? _spin;
    private readonly Func<int> _look;
    private readonly ILogger _log;
    private readonly Thread _thread;
    private readonly Timer? _tick;
    private readonly CompletionQueue<RingTask> _completed = new();
    private readonly AutoResetEvent _drains = new(false);
    private readonly Stack<RingTask> _freeTasks = new();
    private readonly TaskCompletionSource<RingEnd> _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private int _executing;
    private int _unpublished;
    private long _stopReported;
    private volatile bool _stopping;
    private volatile bool _draining;

    /// <summary>Attaches to the ring.</summary>
    /// <param name="name">Name of the device, e.g. <c>tcm-user/0/disk0/file//disk.img</c>.</param>
    /// <param name="transport">What carries the ring; disposed with the device, also when this throws.</param>
    /// <param name="unit">What answers.</param>
    /// <param name="log">Where to log.</param>
    /// <exception cref="RingException">There is no ring that can be served.</exception>
    public RingDevice(string name, IRingTransport transport, LogicalUnit unit, ILogger log)
    {
        _name = name;
        _transport = transport;
        _unit = unit;
        _log = log;
        _look = () => _ring!.IsDrained && _completed.IsEmpty && !_stopping ? -1 : 0;
        try
        {
            _ring = new RingConsumer(transport.Region);
            _ring.Say(new Survival(DurabilityOf(unit), unit is BlockUnit { KeepsModes: true }, unit is BlockUnit { ContinuesModes: true }));
        }
        catch
        {
            transport.Dispose();
            throw;
        }
        _nexuses = new RingNexuses(name, unit);
        // Where nobody is told that this side looks, a doorbell comes anyway.
        _spin = (_ring.Flags & MailboxFlags.Watch) != 0 ? new SpinBudget() : null;
        _tick = _spin is null ? new Timer(static t => ((IRingTransport)t!).Wake(), transport, LookEveryMilliseconds, LookEveryMilliseconds) : null;
        _thread = new Thread(Run, maxStackSize: 512 * 1024) { IsBackground = true, Name = name };
    }

    /// <summary>How its service has ended.</summary>
    public Task<RingEnd> Ended => _ended.Task;

    /// <summary>What the thread has allocated when it last waited: for the test that commands cost nothing.</summary>
    public long AllocatedBytes { get; private set; }

    /// <summary>How often the log says what holds up the end.</summary>
    public TimeSpan ReportEvery { get; init; } = TimeSpan.FromSeconds(10);

    public void Start() => _thread.Start();

    /// <summary>Stops reading; the device ends when what was read is completed. Any thread.</summary>
    public void Stop()
    {
        _stopping = true;
        _transport.Wake();
    }

    /// <summary>A task that went on after its batch is done. Any thread.</summary>
    public void Completed(RingTask task)
    {
        _completed.Add(task);
        if (_draining) _drains.Set();
        else _transport.Wake();
    }

    /// <summary>The unit's new size was, or will be, told to initiators by whoever ordered it. Any thread.</summary>
    public void CapacityIsTold()
    {
        if (TellsInitiators) _nexuses.Clear(Sense.CapacityChanged);
    }

    private void Run()
    {
        var end = RingEnd.Stopped;
        try
        {
            end = Loop();
        }
        catch (RingException e)
        {
            end = RingEnd.Broken;
            LogMessages.RingBroken(_log, _name, e.Message);
        }
        catch (Exception e)
        {
            end = RingEnd.Broken;
            LogMessages.DeviceCrashed(_log, e, _name);
        }
        // What still executes uses the shared memory: it is unmapped only afterwards.
        Drain();
        _tick?.Dispose();
        if (end == RingEnd.Stopped) Leave(isFlushed: TryFlush());
        else _nexuses.Close();
        _transport.Dispose();
        _ended.SetResult(end);
    }

    private static Durability DurabilityOf(LogicalUnit unit) => unit switch
    {
        BlockUnit block when block.Store.Has(BackstoreFeatures.Ephemeral) => Durability.Nothing,
        BlockUnit block when block.Store.Has(BackstoreFeatures.SurvivesProcess) => Durability.Acknowledged,
        CustomUnit { SurvivesProcess: true } => Durability.Acknowledged,
        _ => Durability.Flushed,
    };

    /// <summary>Whether the producer tells initiators apart.</summary>
    private bool TellsInitiators => (_ring.Flags & MailboxFlags.Origin) != 0;

    private RingEnd Loop()
    {
        _ring.Say(Watch.Looks);
        while (true)
        {
            if (Turn()) continue;
            if (_stopping && _executing == 0) return RingEnd.Stopped;
            if (_look() == 0 && (!_stopping || !_completed.IsEmpty)) continue;
            if (_stopping) ReportWhatHangs();
            if (!Sleep()) return RingEnd.ProducerGone;
        }
    }

    /// <summary>Answers what has ended, and begins what has come; whether anything had.</summary>
    private bool Turn()
    {
        TakeCompletions();
        bool read = !_stopping && ReadBatch();
        if (_ring.Publish()) _transport.Notify();
        return read;
    }

    /// <summary>
    /// One turn of a device that has no thread: it is not <see cref="Start"/>ed, and asks for turns by its transport (<see cref="IRingTransport.Wake"/>),
    /// as the producer does by its doorbell. True: there is more to do.
    /// </summary>
    /// <exception cref="RingException">The producer broke the ring.</exception>
    public bool Step()
    {
        _ring.Say(Watch.Looks);
        if (Turn()) return true;
        _ring.Say(Watch.Sleeps);
        return !_completed.IsEmpty || !_stopping && !_ring.IsDrained;
    }

    /// <summary>Whether a device without a thread that was stopped has completed all that it had read.</summary>
    public bool IsOver => _stopping && _executing == 0;

    /// <summary>The producer may know that what was read is completed, and whether all that was acknowledged is durable.</summary>
    public void Leave(bool isFlushed = true)
    {
        _ring.Say(isFlushed ? Watch.HasLeft : Watch.HasLeftUnflushed);
        _nexuses.Close();
    }

    /// <summary>Waits for commands or completions: looking for a while, where the producer knows that, then asleep. False when the producer is gone.</summary>
    private bool Sleep()
    {
        AllocatedBytes = GC.GetAllocatedBytesForCurrentThread();
        // The kernel's timers cost a command more than a timer of one's own costs a second.
        if (_spin is null) return _transport.Wait(-1);
        if (!_stopping && _spin.Look(_look) == 0) return true;
        _ring.Say(Watch.Sleeps);
        bool present = !_ring.IsDrained && !_stopping || !_completed.IsEmpty || _transport.Wait(LookEveryMilliseconds);
        _ring.Say(Watch.Looks);
        return present;
    }

    /// <summary>Reads and begins everything that is there; whether there was anything.</summary>
    private bool ReadBatch()
    {
        bool any = false;
        while (true)
        {
            if (!_freeTasks.TryPop(out var task)) task = new RingTask(this);
            switch (_ring.TryRead(task.Entry))
            {
                case RingOpcode.Command:
                    Execute(task);
                    break;
                case RingOpcode.TaskManagement:
                    Abort(task.Entry.TaskManagement);
                    _freeTasks.Push(task);
                    break;
                default:
                    _freeTasks.Push(task);
                    return any;
            }
            any = true;
            // The initiators work on the first answers while the rest of the batch is served.
            if (_spin is null || ++_unpublished < PublishEvery) continue;
            _unpublished = 0;
            TakeCompletions();
            if (_ring.Publish()) _transport.Notify();
        }
    }

    private void Execute(RingTask task)
    {
        task.Prepare(_nexuses.Of(task.Entry.Origin));
        var running = _unit.ExecuteAsync(task);
        if (running.IsCompleted)
        {
            Complete(task, running.Result);
            return;
        }
        _executing++;
        task.Await(running);
    }

    private void Complete(RingTask task, CommandResult result)
    {
        if (task.IsAborted) result = CommandResult.TaskAborted;
        try
        {
            int readLength = task.FinishData(result, (_ring.Flags & MailboxFlags.ReadLength) != 0);
            if (result.Status == ScsiStatus.CheckCondition) CompleteWithSense(task, result, readLength);
            else _ring.Complete(task.Entry.Id, (byte)result.Status, default, readLength);
        }
        finally
        {
            // Also one for whose answer the ring has no place: the unit outlives the ring.
            task.ReleaseScratch();
            _unit.Complete(task);
            _freeTasks.Push(task);
        }
    }

    private void CompleteWithSense(RingTask task, CommandResult result, int readLength)
    {
        Span<byte> sense = stackalloc byte[SenseData.MaxLength];
        int length = SenseWriter.Write(sense, _unit, result);
        _ring.Complete(task.Entry.Id, (byte)result.Status, sense[..length], readLength);
    }

    /// <summary>
    /// Cancels what a task management function named. Each command is completed when it is over, and not before, whatever the ring offers
    /// (<c>KEEP_BUF</c>): who aborts takes the completion for the end of all that the command does.
    /// </summary>
    private void Abort(RingTaskManagement management)
    {
        if (management.Type == TaskManagementAbi.NexusLost)
        {
            if (management.CommandIds.Length == 4) _nexuses.Lose(MemoryMarshal.Read<ulong>(MemoryMarshal.AsBytes<ushort>(management.CommandIds)));
            return;
        }
        LogMessages.TaskManagement(_log, _name, management.Type, management.CommandIds.Length);
        // Where initiators are told apart, what they have left here (medium removal prevented, mode parameters) ends with a reset.
        if (management.Type == TaskManagementAbi.LunReset && TellsInitiators) _nexuses.Reset();
        if (management.CommandIds.Length == 0) return;
        var ids = management.CommandIds.ToHashSet();
        _unit.TaskManager.AbortTasks(c => c is RingTask task && task.Device == this && ids.Contains(task.Entry.Id));
        TakeCompletions();
    }

    private bool TryFlush()
    {
        try
        {
            _unit.FlushAsync().AsTask().GetAwaiter().GetResult();
            return true;
        }
        catch (Exception e)
        {
            LogMessages.FlushFailed(_log, _name, e.Message);
            return false;
        }
    }

    private void TakeCompletions()
    {
        var completed = _completed.Take();
        try
        {
            while (completed.TryTake(out var task))
            {
                _executing--;
                task.IsExecuting = false;
                Complete(task, task.Result);
            }
        }
        finally
        {
            // The ring is broken: the rest is for the end, which waits for all that execute.
            while (completed.TryTake(out var left)) _completed.Add(left);
        }
    }

    /// <summary>
    /// Waits for the commands that the unit still executes, which nobody hears of any more: they use the shared memory. However long that
    /// is; the log says what it waits for.
    /// </summary>
    private void Drain()
    {
        _draining = true;
        if (_executing > 0) _unit.TaskManager.AbortTasks(c => c is RingTask { Device: var device } && device == this);
        while (true)
        {
            var completed = _completed.Take();
            while (completed.TryTake(out var task))
            {
                _executing--;
                task.ReleaseScratch();
                _unit.Complete(task);
            }
            if (_executing == 0) return;
            _drains.WaitOne(ReportEvery);
            ReportWhatHangs();
        }
    }

    /// <summary>Says what holds up the end, now and then.</summary>
    private void ReportWhatHangs()
    {
        long now = Environment.TickCount64;
        if (_stopReported == 0) _stopReported = now;
        if (now - _stopReported < (long)ReportEvery.TotalMilliseconds) return;
        _stopReported = now;
        LogMessages.Hangs(_log, _name, string.Join("; ", _unit.Tasks.Describe(8)));
    }

    /// <summary>Stops, and waits for the end.</summary>
    public void Dispose()
    {
        Stop();
        if (_thread.ThreadState.HasFlag(ThreadState.Unstarted)) _transport.Dispose();
        else _thread.Join();
        _drains.Dispose();
    }
}
