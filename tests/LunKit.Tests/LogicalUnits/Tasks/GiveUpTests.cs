using LunKit.Backstores;
using LunKit.LogicalUnits;
using LunKit.Scsi;

namespace LunKit.Tests.LogicalUnits.Tasks;

/// <summary>Commands that wait for something which may never end, on one thread.</summary>
public class GiveUpTests
{
    private sealed class Command(byte opcode) : ScsiCommand
    {
        public bool? Granted { get; private set; }
        public Command Prepared()
        {
            Reset([opcode, 0, 0, 0, 0, 0]);
            return this;
        }
        public override DataBuffer RentDataIn(int length) => throw new NotSupportedException();
        public async Task Wait() => Granted = await WaitGrantAsync().ConfigureAwait(false);
    }

    private readonly ManualQueue _queue = new();
    private readonly TaskSet _set;
    private Command? _endless;

    public GiveUpTests()
    {
        SynchronizationContext.SetSynchronizationContext(null);
        _set = new TaskSet(_queue, static _ => { });
    }

    private Command Start(byte opcode, TaskGrant expected, long start, long end, bool exclusive = false, TaskAttribute attribute = TaskAttribute.Simple)
    {
        var command = new Command(opcode).Prepared();
        command.Attribute = attribute;
        _set.Enter(command);
        var grant = _set.Begin(command, new BlockLease(new(start, end), exclusive), _set.Version);
        Assert.Equal(expected, grant);
        if (grant == TaskGrant.Blocked) _ = command.Wait();
        return command;
    }

    private IReadOnlyList<byte> GiveUp(long now)
    {
        var given = _set.GiveUp(c => c == _endless, now, 100);
        _queue.RunAll();
        return given;
    }

    [Fact]
    public void OnlyWhatWaitsForItEndsAndInItsTime()
    {
        _endless = Start(1, TaskGrant.Running, 0, 4, exclusive: true);
        var other = Start(2, TaskGrant.Running, 8, 9, exclusive: true);
        var first = Start(3, TaskGrant.Blocked, 0, 1);
        var behindOther = Start(4, TaskGrant.Blocked, 8, 9);
        Assert.Empty(GiveUp(0));
        var later = Start(5, TaskGrant.Blocked, 3, 4);
        Assert.Empty(GiveUp(50));
        Assert.Empty(GiveUp(100));
        Assert.Equal([3], GiveUp(101));
        Assert.Equal((false, null, null), (first.Granted, later.Granted, behindOther.Granted));
        Assert.False(first.IsAborted);
        Assert.Equal(TaskState.Ended, first.Place.State);
        Assert.Equal([5], GiveUp(150));
        _set.Leave(other);
        _queue.RunAll();
        Assert.True(behindOther.Granted);
    }

    /// <summary>What waits over others waits as long; what waited for one that ends here goes on.</summary>
    [Fact]
    public void OverOthersToo()
    {
        _endless = Start(1, TaskGrant.Running, 0, 4, exclusive: true);
        var ordered = Start(2, TaskGrant.Blocked, 0, 1, attribute: TaskAttribute.Ordered);
        GiveUp(1);
        var behind = Start(3, TaskGrant.Blocked, 100, 101);
        Assert.Equal([2], GiveUp(101));
        Assert.Equal((false, true), (ordered.Granted, behind.Granted));
    }

    /// <summary>The wait for one that has ended is no part of the wait for the next.</summary>
    [Fact]
    public void EachHasItsOwnTime()
    {
        var next = Start(1, TaskGrant.Running, 4, 8, exclusive: true);
        _endless = Start(2, TaskGrant.Running, 0, 4, exclusive: true);
        var waiting = Start(3, TaskGrant.Blocked, 0, 8);
        GiveUp(1);
        _set.Leave(_endless);
        _queue.RunAll();
        Assert.Empty(GiveUp(90));
        _endless = next;
        Assert.Empty(GiveUp(150));
        Assert.Empty(GiveUp(249));
        Assert.Equal([3], GiveUp(250));
        Assert.False(waiting.Granted);
    }

    /// <summary>One that waits for another that waits has waited as long, and is not begun anew when that one ends.</summary>
    [Fact]
    public void AChainEndsAtOnce()
    {
        _endless = Start(1, TaskGrant.Running, 0, 1, exclusive: true);
        for (byte opcode = 2; opcode <= 4; opcode++) Start(opcode, TaskGrant.Blocked, 0, 1, exclusive: true);
        Assert.Empty(GiveUp(1));
        var later = Start(5, TaskGrant.Blocked, 0, 1, exclusive: true);
        Assert.Empty(GiveUp(51));
        Assert.Equal([2, 3, 4], GiveUp(101));
        Assert.Empty(GiveUp(150));
        Assert.Null(later.Granted);
        Assert.Equal([5], GiveUp(151));
    }
}
