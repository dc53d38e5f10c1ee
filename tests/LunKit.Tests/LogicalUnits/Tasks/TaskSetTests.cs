using System.Diagnostics;
using LunKit.Backstores;
using LunKit.LogicalUnits;
using LunKit.Scsi;
using LunKit.Targets;

namespace LunKit.Tests.LogicalUnits.Tasks;

/// <summary>The task set itself, on one thread.</summary>
public class TaskSetTests
{
    private sealed class Command : ScsiCommand
    {
        public int Aborts { get; private set; }
        public bool? Granted { get; private set; }
        public int Answers { get; private set; }
        public override DataBuffer RentDataIn(int length) => throw new NotSupportedException();
        protected internal override void OnAborted() => Aborts++;
        public void Reuse() => Reset([0, 0, 0, 0, 0, 0]);

        public async Task Wait()
        {
            Granted = await WaitGrantAsync().ConfigureAwait(false);
            Answers++;
        }
    }

    private readonly ManualQueue _queue = new();
    private readonly List<Exception> _faults = [];
    private readonly TaskSet _set;
    private readonly UnitNexus _one, _two;

    public TaskSetTests()
    {
        SynchronizationContext.SetSynchronizationContext(null);
        _set = new TaskSet(_queue, _faults.Add);
        var port = new TargetPort("t,t,0x0001", 1, 0, "t");
        _one = new UnitNexus(new Nexus("i1", "i1,i,0x0", [], port), null!, 0);
        _two = new UnitNexus(new Nexus("i2", "i2,i,0x0", [], port), null!, 0);
    }

    private Command Enter(TaskAttribute attribute = TaskAttribute.Simple, UnitNexus? nexus = null)
    {
        var command = new Command { Attribute = attribute, UnitNexus = nexus ?? _one, Nexus = (nexus ?? _one).Nexus };
        _set.Enter(command);
        return command;
    }

    private TaskGrant Begin(Command command, long start = 0, long end = 0, bool exclusive = false, bool changes = false)
    {
        var grant = _set.Begin(command, new BlockLease(new(start, end), exclusive, changes), _set.Version);
        if (grant == TaskGrant.Blocked) _ = command.Wait();
        return grant;
    }

    private Command Start(TaskGrant expected, long start = 0, long end = 0, bool exclusive = false, TaskAttribute attribute = TaskAttribute.Simple,
        UnitNexus? nexus = null, bool changes = false)
    {
        var command = Enter(attribute, nexus);
        Assert.Equal(expected, Begin(command, start, end, exclusive, changes));
        return command;
    }

    private void Over(Command command)
    {
        _set.End(command);
        _set.Leave(command);
        _queue.RunAll();
    }

    [Fact]
    public void EntersOnce()
    {
        var command = Enter();
        Assert.Throws<InvalidOperationException>(() => _set.Enter(command));
        _set.Leave(command);
        Assert.Equal(0, _set.Count);
        _set.Enter(command);
        Assert.Equal(1, _set.Count);
    }

    [Fact]
    public void EndsAndLeavesOnce()
    {
        var first = Start(TaskGrant.Running, 0, 4, exclusive: true);
        var second = Start(TaskGrant.Blocked, 1, 2);
        _set.End(first);
        _set.End(first);
        Assert.Equal(TaskState.Ended, first.Place.State);
        Assert.Equal(2, _set.Count);
        _queue.RunAll();
        Assert.True(second.Granted);
        _set.Leave(first);
        _set.Leave(first);
        _set.End(first);
        Assert.Equal(TaskState.Outside, first.Place.State);
        Assert.Equal(1, _set.Count);
        Over(second);
        Assert.Equal(1, second.Answers);
    }

    [Fact]
    public void LeavingEndsToo()
    {
        var first = Start(TaskGrant.Running, 0, 4, exclusive: true);
        var second = Start(TaskGrant.Blocked, 1, 2);
        _set.Leave(first);
        _queue.RunAll();
        Assert.True(second.Granted);
        Assert.Equal(TaskState.Running, second.Place.State);
    }

    [Fact]
    public void AGrantIsNoMatterOfTheOldestOnly()
    {
        var first = Start(TaskGrant.Running, 0, 8, exclusive: true);
        var a = Start(TaskGrant.Blocked, 0, 2);
        var b = Start(TaskGrant.Blocked, 2, 4, exclusive: true);
        var c = Start(TaskGrant.Blocked, 3, 5);
        var beside = Start(TaskGrant.Running, 8, 9);
        Over(first);
        Assert.Equal((TaskState.Running, TaskState.Running, TaskState.Blocked), (a.Place.State, b.Place.State, c.Place.State));
        Over(b);
        Assert.True(c.Granted);
        Over(a);
        Over(c);
        Over(beside);
        Assert.Equal(0, _set.Count);
    }

    /// <summary>The oldest goes first.</summary>
    [Fact]
    public void GrantsKeepTheOrderOfArrival()
    {
        var first = Start(TaskGrant.Running, 0, 8, exclusive: true);
        var waiting = Enumerable.Range(0, 5).Select(i => Start(TaskGrant.Blocked, i, i + 1)).ToList();
        _set.End(first);
        foreach (var command in waiting)
        {
            Assert.Null(command.Granted);
            Assert.True(_queue.RunOne());
            Assert.True(command.Granted);
        }
        Assert.False(_queue.RunOne());
    }

    [Fact]
    public void AGrantNeverRunsOnTheStackOfTheEnd()
    {
        var first = Start(TaskGrant.Running, 0, 8, exclusive: true);
        var second = Start(TaskGrant.Blocked, 0, 1);
        _set.End(first);
        Assert.Equal(TaskState.Running, second.Place.State);
        Assert.Null(second.Granted);
    }

    [Fact]
    public void WhatWasCheckedBeforeABarrierEndedIsStale()
    {
        var barrier = Start(TaskGrant.Running, 0, 8, exclusive: true);
        var command = Enter();
        int version = _set.Version;
        _set.EndExclusive(barrier);
        Assert.Equal(TaskGrant.Stale, _set.Begin(command, new BlockLease(new(20, 21)), version));
        Assert.Equal(TaskState.Collecting, command.Place.State);
        Assert.Equal(TaskGrant.Running, _set.Begin(command, new BlockLease(new(20, 21)), _set.Version));
        // It goes on, and holds nobody up.
        Assert.Equal(TaskState.Running, barrier.Place.State);
        Start(TaskGrant.Running, 0, 8, exclusive: true, nexus: _two);
    }

    [Fact]
    public void EndExclusiveLetsOthersGoOn()
    {
        var barrier = Start(TaskGrant.Running, 0, 8, exclusive: true);
        var waiting = Start(TaskGrant.Blocked, 3, 4, exclusive: true);
        _set.EndExclusive(barrier);
        _queue.RunAll();
        Assert.True(waiting.Granted);
        // Only of one that runs.
        int version = _set.Version;
        _set.EndExclusive(Enter());
        Assert.Equal(version, _set.Version);
    }

    [Fact]
    public void WhatIsAwaitedMakesTheUncheckedStale()
    {
        var running = Start(TaskGrant.Running);
        var later = Enter();
        int version = _set.Version;
        var drain = _set.WhenLeft(e => e.State == TaskState.Running);
        Assert.Equal(TaskGrant.Stale, _set.Begin(later, default, version));
        Assert.Equal(TaskGrant.Running, _set.Begin(later, default, _set.Version));
        Assert.False(drain.Task.IsCompleted);
        _set.End(running);
        _queue.RunAll();
        Assert.False(drain.Task.IsCompleted);
        _set.Leave(running);
        Assert.False(drain.Task.IsCompleted);
        _queue.RunAll();
        Assert.True(drain.Task.IsCompleted);
    }

    [Fact]
    public void AWaitForNothingIsOver()
    {
        Start(TaskGrant.Running);
        Assert.True(_set.WhenLeft(_ => false).Task.IsCompleted);
        Assert.True(_set.Abort(_ => false, _ => true).Task.IsCompleted);
    }

    /// <summary>A command in the state Ended belongs to its wait until it is answered.</summary>
    [Fact]
    public void AnAbortFindsWhatHasEndedAndIsNotAnswered()
    {
        var ended = Start(TaskGrant.Running);
        var collecting = Enter();
        var other = Enter(nexus: _two);
        _set.End(ended);
        var drain = _set.Abort(c => c.UnitNexus == _one, c => c == collecting);
        Assert.True(ended is { IsAborted: true, ReportAborted: false, Aborts: 1 });
        Assert.True(collecting is { IsAborted: true, ReportAborted: true, Aborts: 1 });
        Assert.True(collecting.CancellationToken.IsCancellationRequested);
        Assert.True(other is { IsAborted: false, Aborts: 0 });
        Assert.Equal(TaskGrant.Aborted, Begin(collecting));
        _set.Leave(ended);
        _queue.RunAll();
        Assert.False(drain.Task.IsCompleted);
        _set.Leave(collecting);
        _queue.RunAll();
        Assert.True(drain.Task.IsCompleted);
        Assert.Equal(1, _set.Count);
    }

    [Fact]
    public void SeveralMayWaitForTheSame()
    {
        var one = Start(TaskGrant.Running);
        var two = Start(TaskGrant.Running);
        var both = _set.Abort(_ => true, _ => false);
        var first = _set.Abort(c => c == one, _ => false);
        var second = _set.WhenLeft(e => e.Command == two);
        _set.Leave(two);
        _queue.RunAll();
        Assert.Equal((false, false, true), (both.Task.IsCompleted, first.Task.IsCompleted, second.Task.IsCompleted));
        _set.Leave(one);
        _queue.RunAll();
        Assert.True(both.Task.IsCompleted && first.Task.IsCompleted);
    }

    [Fact]
    public void AnAbortedBlockedCommandNeverRuns()
    {
        var first = Start(TaskGrant.Running, 0, 8, exclusive: true);
        var before = Start(TaskGrant.Blocked, 0, 1, nexus: _two);
        var waiting = Start(TaskGrant.Blocked, 0, 2, exclusive: true);
        var after = Start(TaskGrant.Blocked, 1, 2, nexus: _two);
        _set.Abort(c => c == waiting, _ => true);
        Assert.Equal(TaskState.Ended, waiting.Place.State);
        _queue.RunAll();
        Assert.False(waiting.Granted);
        Assert.True(waiting.ReportAborted);
        Assert.Null(after.Granted);
        Over(first);
        Assert.True(before.Granted);
        Assert.True(after.Granted);
        Assert.Equal(1, waiting.Answers);
    }

    /// <summary>What waited for the aborted one only goes on at once.</summary>
    [Fact]
    public void AnAbortLetsOthersGoOn()
    {
        var first = Start(TaskGrant.Running, 0, 1, exclusive: true);
        var waiting = Start(TaskGrant.Blocked, 0, 4, exclusive: true);
        var after = Start(TaskGrant.Blocked, 2, 3, nexus: _two);
        _set.Abort(c => c == waiting, _ => false);
        _queue.RunAll();
        Assert.True(after.Granted);
        Over(first);
    }

    [Fact]
    public void EachOfSeveralWaitersMayBeTakenOut()
    {
        for (int victim = 0; victim < 3; victim++)
        {
            var first = Start(TaskGrant.Running, 0, 8, exclusive: true);
            var waiting = Enumerable.Range(0, 3).Select(i => Start(TaskGrant.Blocked, i, i + 1)).ToList();
            _set.Abort(c => c == waiting[victim], _ => false);
            Over(first);
            for (int i = 0; i < 3; i++) Assert.Equal(i != victim, waiting[i].Granted);
            waiting.ForEach(Over);
            Assert.Equal(0, _set.Count);
        }
    }

    [Fact]
    public void WhatACancellationThrowsIsReported()
    {
        var one = Start(TaskGrant.Running);
        var two = Start(TaskGrant.Running);
        using var registration = one.CancellationToken.Register(() => throw new InvalidOperationException("callback"));
        _set.Abort(_ => true, _ => false);
        Assert.Single(_faults);
        Assert.Equal((1, 1), (one.Aborts, two.Aborts));
        Assert.True(two.CancellationToken.IsCancellationRequested);
    }

    [Fact]
    public void ACommandMayBeUsedAgain()
    {
        var command = Start(TaskGrant.Running);
        var old = command.CancellationToken;
        _set.Abort(_ => true, _ => true);
        _set.Leave(command);
        command.Reuse();
        Assert.False(command.IsAborted || command.ReportAborted || command.CancellationToken.IsCancellationRequested);
        Assert.True(old.IsCancellationRequested);
        _set.Enter(command);
        Assert.Equal(TaskGrant.Running, Begin(command));
    }

    [Fact]
    public void AskedWhatIsThere()
    {
        var active = Enter();
        var ended = Start(TaskGrant.Running);
        _set.End(ended);
        Assert.True(_set.Any(c => c == active));
        Assert.True(_set.Any(c => c == ended));
        Assert.False(_set.Any(c => c != active && c != ended));
        _set.Leave(ended);
        Assert.False(_set.Any(c => c == ended));
        Enter(nexus: _two);
        Assert.Equal(2, _set.Describe(8).Count);
        Assert.Equal("a call of the unit's own of i1,i,0x0, collecting", Assert.Single(_set.Describe(1)));
    }

    // So many that one look at each for each would take minutes, and so long that a busy machine does not matter.
    private const int Many = 100_000;
    private static readonly TimeSpan s_long = TimeSpan.FromSeconds(12);

    /// <summary>Many commands wait for one: its end must not look at each of them for each of them, under the lock.</summary>
    [Theory]
    [InlineData(TaskAttribute.Simple, false)]
    [InlineData(TaskAttribute.Ordered, false)]
    [InlineData(TaskAttribute.Simple, true)]
    public void ManyThatWaitForOneEndInTime(TaskAttribute attribute, bool exclusive)
    {
        // Beside another that has other blocks for itself.
        var hung = Start(TaskGrant.Running, 100, 101, exclusive: true, attribute: TaskAttribute.Simple);
        var first = Start(TaskGrant.Running, 0, 8, exclusive: true);
        if (attribute == TaskAttribute.Ordered) Over(hung);
        var watch = Stopwatch.StartNew();
        var waiting = Enumerable.Range(0, Many).Select(i => Start(TaskGrant.Blocked, 0, 1, exclusive, attribute)).ToList();
        Over(first);
        // Those of one kind run together, the others one by one.
        foreach (var command in waiting)
        {
            Assert.True(command.Granted);
            Over(command);
        }
        if (attribute != TaskAttribute.Ordered) Over(hung);
        Assert.Equal(0, _set.Count);
        Assert.True(watch.Elapsed < s_long, $"{watch.ElapsedMilliseconds} ms");
    }

    [Fact]
    public void ManyAreAbortedInTime()
    {
        var first = Start(TaskGrant.Running, 0, 8, exclusive: true);
        var waiting = Enumerable.Range(0, Many).Select(i => Start(TaskGrant.Blocked, 0, 1, exclusive: true)).ToList();
        var watch = Stopwatch.StartNew();
        var drain = _set.Abort(_ => true, _ => false);
        _queue.RunAll();
        waiting.ForEach(Over);
        Over(first);
        Assert.True(drain.Task.IsCompleted);
        Assert.All(waiting, c => Assert.False(c.Granted));
        Assert.True(watch.Elapsed < s_long, $"{watch.ElapsedMilliseconds} ms");
    }
}
