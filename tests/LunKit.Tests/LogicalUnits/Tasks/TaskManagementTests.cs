using LunKit.LogicalUnits;
using LunKit.Scsi;

namespace LunKit.Tests.LogicalUnits.Tasks;

/// <summary>
/// SAM-6 clause 7, function by function: two nexuses on two fabrics with commands in every state. Who is told what, and that the function is over
/// only when the last affected command is, whether it runs, waits, has no data yet, or has ended and is not answered.
/// </summary>
public class TaskManagementTests
{
    private const string Aborted = "TaskAborted", Silence = "silence", Good = "Good", No = "";

    /// <summary>Commands of one nexus, one for each state.</summary>
    private sealed class Commands
    {
        private readonly Dictionary<string, BenchCommand> _commands = [];
        private readonly FakeFabric _fabric;
        private readonly UnitBench _bench;
        private readonly int _nexus;

        public Commands(UnitBench bench, FakeFabric fabric, int nexus)
        {
            (_bench, _fabric, _nexus) = (bench, fabric, nexus);
            _commands["running"] = bench.Read($"{nexus} running", nexus, nexus, fabric: fabric);
            _commands["ended"] = bench.Read($"{nexus} ended", nexus, 10 + nexus, fabric: fabric);
        }

        public void Arrive()
        {
            _commands["blocked"] = _bench.Read($"{_nexus} blocked", _nexus, 20 + _nexus, attribute: TaskAttribute.Ordered, fabric: _fabric);
            _commands["collecting"] = _fabric.Arrive($"{_nexus} collecting", _nexus, $"2A 00 {30 + _nexus:X8} 00 0001 00", UnitBench.Filled(1, 1));
        }

        public BenchCommand this[string state] => _commands[state];

        public IEnumerable<BenchCommand> All => _commands.Values;

        public void AssertStates()
        {
            Assert.Equal(TaskState.Running, _commands["running"].State);
            Assert.Equal(TaskState.Ended, _commands["ended"].State);
            Assert.Equal(TaskState.Blocked, _commands["blocked"].State);
            Assert.Equal(TaskState.Collecting, _commands["collecting"].State);
        }
    }

    private static void SetTas(UnitBench bench, bool tas)
    {
        var page = bench.Unit.ModePages.Find(0x0A, 0)!;
        var wanted = (byte[])page.Current.Clone();
        wanted[5] = (byte)(wanted[5] & ~0x40 | (tas ? 0x40 : 0));
        bench.Unit.ModePages.Apply([(page, wanted)], save: true);
    }

    // Function by nexus 0, TAS, what nexus 0 and nexus 1 are told of their commands, the unit attentions of nexus 0, 1 and 2.
    public static TheoryData<string, bool, string, string, string, string, string> Functions => new()
    {
        { "ABORT TASK SET", false, Silence, No, No, No, No },
        { "ABORT TASK SET", true, Silence, No, No, No, No },
        { "CLEAR TASK SET", false, Silence, Silence, No, "06/2F/00", No },
        { "CLEAR TASK SET", true, Silence, Aborted, No, No, No },
        { "LOGICAL UNIT RESET", false, Silence, Silence, "06/29/03", "06/29/03", "06/29/03" },
        { "LOGICAL UNIT RESET", true, Silence, Aborted, "06/29/03", "06/29/03", "06/29/03" },
        // Nobody's: a target reset that no nexus of the unit has asked for.
        { "TARGET RESET", true, Silence, Silence, "06/29/03", "06/29/03", "06/29/03" },
        { "NEXUS LOSS", false, Silence, No, No, No, No },
        { "NEXUS LOSS", true, Silence, No, No, No, No },
        { "LUN REMOVAL", false, Aborted, No, No, No, No },
        { "CLOSE", false, Aborted, Aborted, No, No, No },
        { "CLOSE", true, Aborted, Aborted, No, No, No },
    };

    [Theory]
    [MemberData(nameof(Functions))]
    public async Task EveryFunction(string function, bool tas, string told0, string told1, string attention0, string attention1, string attention2)
    {
        await using var bench = new UnitBench(new GatedStore { Gated = "read" });
        SetTas(bench, tas);
        var (c0, c1) = Start(bench);
        var over = Call(bench, function);
        string[] attentions = [Text(bench.Attention(0)), Text(bench.Attention(1)), Text(bench.Attention(2))];

        // What waited runs nevermore, and nobody has answered yet.
        bench.Run();
        Assert.False(over.IsCompleted);
        // What a fabric can answer at once: all but what is in the store.
        bench.Settle();
        Assert.False(over.IsCompleted);
        foreach (var (commands, told) in new[] { (c0, told0), (c1, told1) })
        {
            Assert.Null(commands["running"].Answer);
            foreach (string state in new[] { "ended", "blocked", "collecting" }) Assert.Equal(told == No ? state == "ended" ? Good : null : told, commands[state].Answer);
        }
        // Those that are not affected go on meanwhile.
        if (told1 == No) Finish(bench, bench.B, c1, 1);
        Assert.False(over.IsCompleted);
        if (told1 != No) bench.Store.Release("read 1+1");
        bench.Store.Release("read 0+1");
        // They have ended, and are not answered.
        bench.Run();
        Assert.False(over.IsCompleted);
        bench.Settle();
        await over.WaitAsync(TimeSpan.FromSeconds(10), TestContext.Current.CancellationToken);

        Assert.All(c0.All, c => Assert.Equal(told0, c.Answer));
        Assert.All(c1.All, c => Assert.Equal(told1 == No ? Good : told1, c.Answer));
        Assert.Equal([attention0, attention1, attention2], attentions);
        Assert.Equal(function, bench.Events[^1]);
        Assert.Equal(0, bench.Unit.Tasks.Count);
        // What was blocked or had no data has not reached the store.
        var log = bench.Store.TakeLog();
        Assert.DoesNotContain("read 20+1", log);
        Assert.DoesNotContain("write 30+1", log);
    }

    private static (Commands C0, Commands C1) Start(UnitBench bench)
    {
        Commands c0 = new(bench, bench.A, 0), c1 = new(bench, bench.B, 1);
        bench.Store.Release("read 10+1");
        bench.Store.Release("read 11+1");
        c0.Arrive();
        c1.Arrive();
        bench.Run();
        c0.AssertStates();
        c1.AssertStates();
        return (c0, c1);
    }

    private static void Finish(UnitBench bench, FakeFabric fabric, Commands commands, int nexus)
    {
        bench.Release($"read {nexus}+1");
        fabric.Execute(commands["collecting"]);
        bench.Settle();
        // The ordered one waits for what is older and still in the store.
        while (bench.Store.Waiting.Any(w => w == $"read {20 + nexus}+1")) bench.Release($"read {20 + nexus}+1");
        if (commands["blocked"].Answer is not null) return;
        // It is of the other nexus: in the store until the end.
        Assert.Equal(TaskState.Blocked, commands["blocked"].State);
        bench.Store.Gated = "";
    }

    private static Task Call(UnitBench bench, string function)
    {
        var manager = bench.Unit.TaskManager;
        var by = bench.UnitNexus(0);
        return bench.Note(function, function switch
        {
            "ABORT TASK SET" => manager.AbortTaskSet(by),
            "CLEAR TASK SET" => manager.ClearTaskSet(by),
            "LOGICAL UNIT RESET" => manager.Reset(by, Sense.BusDeviceResetOccurred),
            "TARGET RESET" => manager.Reset(null, Sense.BusDeviceResetOccurred),
            "NEXUS LOSS" => Lost(bench),
            "LUN REMOVAL" => manager.Unmapped(by),
            _ => bench.Unit.CloseAsync(TimeSpan.FromSeconds(30)),
        });
    }

    /// <summary>Nobody waits for the commands of a nexus that is gone; a test does.</summary>
    private static Task Lost(UnitBench bench)
    {
        var nexus = bench.UnitNexus(0);
        bench.Nexus(0).Close();
        return bench.Unit.Tasks.WhenLeft(e => e.Command.UnitNexus == nexus).Task;
    }

    private static string Text(Sense? sense) => sense?.ToString() ?? "";

    [Theory]
    [InlineData("running")]
    [InlineData("ended")]
    [InlineData("blocked")]
    [InlineData("collecting")]
    public async Task AbortTask(string state)
    {
        await using var bench = new UnitBench(new GatedStore { Gated = "read" });
        SetTas(bench, true);
        var (c0, c1) = Start(bench);
        // The tags of another nexus are another matter.
        Assert.Null(bench.Unit.TaskManager.AbortTask(bench.UnitNexus(0), c => c == c1[state]));
        Assert.False(c1[state].IsAborted);
        var over = bench.Note("ABORT TASK", bench.Unit.TaskManager.AbortTask(bench.UnitNexus(0), c => c == c0[state])!);
        bench.Run();
        Assert.False(over.IsCompleted);
        bench.Settle();
        Assert.Equal(state != "running", over.IsCompleted);
        bench.Store.Gated = "";
        while (bench.Store.Waiting.Count > 0) bench.Release(bench.Store.Waiting[0]);
        if (state != "collecting") bench.A.Execute(c0["collecting"]);
        bench.B.Execute(c1["collecting"]);
        bench.Settle();
        Assert.True(over.IsCompleted);
        Assert.All(c0.All, c => Assert.Equal(c == c0[state] ? Silence : Good, c.Answer));
        Assert.All(c1.All, c => Assert.Equal(Good, c.Answer));
        // It is not there any more.
        Assert.Null(bench.Unit.TaskManager.AbortTask(bench.UnitNexus(0), c => c == c0[state]));
    }

    [Fact]
    public async Task AfterRemovalTheLunIsNotSupported()
    {
        await using var bench = new UnitBench(new GatedStore { Gated = "read" });
        var running = bench.Read("running", 0, 0);
        var arrived = bench.A.Arrive("arrived", 0, "2A 00 00000005 00 0001 00", UnitBench.Filled(1, 1));
        var old = bench.UnitNexus(0);
        bench.Nexus(0).Change([]);
        Assert.True(old.IsUnmapped);
        bench.Settle();
        Assert.Equal(Aborted, arrived.Answer);
        Assert.Equal("05/25/00", bench.Answer(0, "00 00 00 00 00 00"));
        Assert.Equal("Good", bench.Answer(1, "00 00 00 00 00 00"));
        bench.Release("read 0+1");
        Assert.Equal(Aborted, running.Answer);
        Assert.DoesNotContain(old, bench.Unit.Nexuses.ToArray());
    }

    /// <summary>PREEMPT AND ABORT (SPC-5 5.14.11.5): the victims' commands, and an answer behind the last of them; its own abort ends the wait.</summary>
    [Theory]
    [InlineData(false, Silence)]
    [InlineData(true, Aborted)]
    public async Task PreemptAndAbort(bool tas, string told)
    {
        await using var bench = new UnitBench(new GatedStore { Gated = "read" });
        SetTas(bench, tas);
        var (c0, c1) = Start(bench);
        var by = bench.A.Arrive("by", 0, "5F 05 00 00 00 00 00 00 18 00", new byte[24]);
        var over = bench.Note("PREEMPT AND ABORT", bench.Unit.TaskManager.PreemptAndAbort(by, n => n == bench.Nexus(1) || n == bench.Nexus(0)));
        Assert.False(by.IsAborted);
        bench.Settle();
        Assert.False(over.IsCompleted);
        bench.Release("read 1+1");
        Assert.False(over.IsCompleted);
        bench.Release("read 0+1");
        Assert.True(over.IsCompleted);
        Assert.All(c1.All, c => Assert.Equal(told, c.Answer));
        Assert.All(c0.All, c => Assert.Equal(Silence, c.Answer));

        bench.Read("more", 1, 3);
        var aborted = bench.Unit.TaskManager.PreemptAndAbort(by, n => n == bench.Nexus(1));
        Assert.False(aborted.IsCompleted);
        _ = bench.Unit.TaskManager.AbortTask(bench.UnitNexus(0), c => c == by);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => aborted);
        bench.Settle();
    }

    /// <summary>PREEMPT and CLEAR wait for what runs under the old reservation; what has not begun is checked again.</summary>
    [Fact]
    public async Task PreemptWaitsForWhatRuns()
    {
        await using var bench = new UnitBench(new GatedStore { Gated = "read" });
        var running = bench.Read("running", 1, 0);
        var other = bench.Read("other", 2, 1);
        var by = bench.A.Arrive("by", 0, "5F 04 00 00 00 00 00 00 18 00", new byte[24]);
        var ordered = bench.Read("ordered", 1, 2, attribute: TaskAttribute.Ordered);
        int version = bench.Unit.Tasks.Version;
        var over = bench.Unit.TaskManager.AwaitRunning(by, n => n == bench.Nexus(1));
        Assert.NotEqual(version, bench.Unit.Tasks.Version);
        bench.Settle();
        Assert.False(over.IsCompleted);
        bench.Release("read 0+1");
        Assert.True(over.IsCompleted);
        Assert.Equal("Good", running.Answer);
        Assert.Null(other.Answer);
        Assert.False(ordered.IsAborted);
        bench.Release("read 1+1");
        bench.Release("read 2+1");
        Assert.Equal("Good", ordered.Answer);
        bench.Unit.Complete(by);
    }

    [Fact]
    public async Task AResetEndsReservePreventAndModeParameters()
    {
        await using var bench = new UnitBench(options: new BlockUnitOptions { Removable = true });
        Assert.Equal("Good", bench.Answer(0, "16 00 00 00 00 00"));
        Assert.Equal("ReservationConflict", bench.Answer(1, "00 00 00 00 00 00"));
        bench.UnitNexus(0).PreventsRemoval = true;
        var page = bench.Unit.ModePages.Find(0x0A, 0)!;
        var wanted = (byte[])page.Current.Clone();
        wanted[4] |= 0x08;
        bench.Unit.ModePages.Apply([(page, wanted)], save: false);
        Assert.True(bench.Unit.IsWriteProtected);
        bench.Unit.IsStarted = false;
        var over = bench.Unit.TaskManager.Reset(bench.UnitNexus(1), Sense.BusDeviceResetOccurred);
        Assert.True(over.IsCompleted);
        Assert.False(bench.Unit.IsWriteProtected);
        Assert.True(bench.Unit.IsStarted);
        Assert.False(bench.UnitNexus(0).PreventsRemoval);
        Assert.Null(bench.Unit.ReserveHolder);
        Assert.Equal("06/29/03", bench.Answer(1, "00 00 00 00 00 00"));
        Assert.Equal("Good", bench.Answer(1, "00 00 00 00 00 00"));
    }

    /// <summary>A part of a nexus's commands, whose connection is gone.</summary>
    [Fact]
    public async Task AConnectionTakesOnlyItsOwnCommands()
    {
        await using var bench = new UnitBench(new GatedStore { Gated = "write" });
        var lost = bench.Write("lost", 0, 5);
        var other = bench.Write("other", 0, 6, fabric: bench.B);
        bench.Unit.TaskManager.ConnectionLost(c => ((BenchCommand)c).Fabric == bench.A);
        Assert.True(lost.IsAborted && lost.Place.IsGhost);
        Assert.False(other.IsAborted || other.Place.IsGhost);
        bench.Release("write 6+1");
        Assert.Equal("Good", other.Answer);
        bench.Release("write 5+1");
        Assert.Equal(Silence, lost.Answer);
    }
}
