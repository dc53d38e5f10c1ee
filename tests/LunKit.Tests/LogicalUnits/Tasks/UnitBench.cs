using LunKit.Backstores;
using LunKit.LogicalUnits;
using LunKit.Scsi;
using LunKit.Targets;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace LunKit.Tests.LogicalUnits.Tasks;

/// <summary>A command of a <see cref="FakeFabric"/>.</summary>
internal sealed class BenchCommand(FakeFabric fabric, string name) : ScsiCommand
{
    public FakeFabric Fabric => fabric;
    public string Name => name;

    /// <summary>What the execution ended with; null before.</summary>
    public CommandResult? Result { get; set; }

    /// <summary>What its initiator was told: GOOD, TASK ABORTED and so on, "silence" when it is dropped; null before.</summary>
    public string? Answer { get; set; }

    public bool IsExecuting { get; set; }

    public TaskState State => Place.State;

    public byte[] DataIn { get; private set; } = [];

    public void Prepare(UnitNexus nexus, byte[] cdb, byte[] dataOut, TaskAttribute attribute)
    {
        Reset(cdb);
        Nexus = nexus.Nexus;
        UnitNexus = nexus;
        Attribute = attribute;
        DataOut = new DataBuffer(dataOut);
        DataOutBufferSize = dataOut.Length;
    }

    public override DataBuffer RentDataIn(int length) => new(DataIn = new byte[length]);

    protected internal override void OnAborted() => fabric.Wake(this);
}

/// <summary>
/// A fabric: it answers what has ended when it is pumped, as one with a thread of its own does, and notes the order of what it sends.
/// </summary>
internal sealed class FakeFabric(UnitBench bench)
{
    private readonly Lock _gate = new();
    private readonly List<BenchCommand> _ended = [];
    private readonly List<BenchCommand> _woken = [];

    /// <summary>Arrives: its data is still to come.</summary>
    public BenchCommand Arrive(string name, int nexus, string cdb, byte[]? data = null, TaskAttribute attribute = TaskAttribute.Simple)
    {
        var command = new BenchCommand(this, name);
        command.Prepare(bench.UnitNexus(nexus), TestUnit.Bytes(cdb), data ?? [], attribute);
        bench.Unit.Arrive(command);
        return command;
    }

    /// <summary>The data has come.</summary>
    public BenchCommand Execute(BenchCommand command)
    {
        command.IsExecuting = true;
        _ = RunAsync(command);
        return command;
    }

    private async Task RunAsync(BenchCommand command)
    {
        var result = await bench.Unit.ExecuteAsync(command).ConfigureAwait(false);
        lock (_gate)
        {
            command.Result = result;
            _ended.Add(command);
        }
    }

    public void Wake(BenchCommand command)
    {
        lock (_gate) _woken.Add(command);
    }

    /// <summary>Answers what has ended, drops what was aborted before its data came.</summary>
    public void Pump()
    {
        List<BenchCommand> ended, woken;
        lock (_gate)
        {
            (ended, woken) = ([.. _ended], [.. _woken]);
            _ended.Clear();
            _woken.Clear();
        }
        foreach (var command in ended) Answer(command, command.Result!.Value);
        foreach (var command in woken)
            if (!command.IsExecuting && command.Answer is null) Answer(command, CommandResult.TaskAborted);
    }

    private void Answer(BenchCommand command, CommandResult result)
    {
        bool silent = command is { IsAborted: true, ReportAborted: false };
        var status = command.IsAborted ? ScsiStatus.TaskAborted : result.Status;
        command.Answer = silent ? "silence" : status == ScsiStatus.CheckCondition ? result.Sense.ToString() : status.ToString();
        if (!silent) bench.Events.Add($"{command.Name} {command.Answer}");
        bench.Unit.Complete(command);
    }
}

/// <summary>A block unit over a gated store, two fabrics, several nexuses; all on the test's thread.</summary>
internal sealed class UnitBench : IAsyncDisposable
{
    private readonly List<Nexus> _nexuses = [];

    public UnitBench(
        GatedStore? store = null, BlockUnitOptions? options = null, IUnitStateStore? state = null, ILogger? log = null, int nexuses = 3, TimeProvider? time = null)
    {
        // Continuations run where their task is completed only when no synchronization context is in the way.
        SynchronizationContext.SetSynchronizationContext(null);
        Store = store ?? new GatedStore();
        var memory = new UnitMemory(state ?? new VolatileUnitState(UnitIdentity.IdOf("bench")));
        Unit = new BlockUnit(new BackstoreGuard(Store), "bench", memory, options ?? new(), log ?? NullLogger.Instance, new UnitRuntime(Queue, time ?? TimeProvider.System));
        for (int i = 0; i < nexuses; i++) AddNexus();
        A = new FakeFabric(this);
        B = new FakeFabric(this);
    }

    public ManualQueue Queue { get; } = new();
    public GatedStore Store { get; }
    public BlockUnit Unit { get; }
    public FakeFabric A { get; }
    public FakeFabric B { get; }

    /// <summary>What was answered, and what the test noted, in order.</summary>
    public List<string> Events { get; } = [];

    public Nexus AddNexus(int relativePort = 1, int group = 0)
    {
        int index = _nexuses.Count;
        string port = $"iqn.test:initiator{index},i,0x{index:x12}";
        var nexus = new Nexus($"iqn.test:initiator{index}", port, [0x45, 0, 0, 4, 0, 0, 0, 0], new TargetPort("iqn.test:target,t,0x0001", relativePort, group, "iqn.test:target"));
        nexus.Open([KeyValuePair.Create(0, (LogicalUnit)Unit)]);
        _nexuses.Add(nexus);
        nexus.Luns.Find(0)!.TryTakeUnitAttention(out _);
        return nexus;
    }

    public Nexus Nexus(int index) => _nexuses[index];

    private readonly Dictionary<int, UnitNexus> _gone = [];

    public UnitNexus UnitNexus(int index) => _nexuses[index].Luns.Find(0) is { } there ? _gone[index] = there : _gone[index];

    /// <summary>A command whose data has come at once.</summary>
    public BenchCommand Send(string name, int nexus, string cdb, byte[]? data = null, TaskAttribute attribute = TaskAttribute.Simple, FakeFabric? fabric = null)
    {
        var over = fabric ?? A;
        return over.Execute(over.Arrive(name, nexus, cdb, data, attribute));
    }

    public BenchCommand Read(string name, int nexus, int block, int blocks = 1, TaskAttribute attribute = TaskAttribute.Simple, FakeFabric? fabric = null) =>
        Send(name, nexus, $"28 00 {block:X8} 00 {blocks:X4} 00", null, attribute, fabric);

    public BenchCommand Write(string name, int nexus, int block, int blocks = 1, TaskAttribute attribute = TaskAttribute.Simple, byte fill = 1, FakeFabric? fabric = null) =>
        Send(name, nexus, $"2A 00 {block:X8} 00 {blocks:X4} 00", Filled(blocks, fill), attribute, fabric);

    /// <summary>COMPARE AND WRITE of a block of zeroes with zeroes: it has its block for itself.</summary>
    public BenchCommand Compare(string name, int nexus, int block, TaskAttribute attribute = TaskAttribute.Simple) =>
        Send(name, nexus, $"89 00 {block:X16} 00000001 00 00", new byte[1024], attribute);

    public static byte[] Filled(int blocks, byte fill) => [.. Enumerable.Repeat(fill, blocks * 512)];

    /// <summary>Runs the queue, without the fabrics.</summary>
    public void Run() => Queue.RunAll();

    /// <summary>Runs the queue and the fabrics until nothing more happens by itself.</summary>
    public void Settle()
    {
        for (int i = 0; i < 8; i++)
        {
            Queue.RunAll();
            A.Pump();
            B.Pump();
        }
    }

    /// <summary>Lets one call of the store go on, and what follows from it.</summary>
    public void Release(string call)
    {
        Store.Release(call);
        Settle();
    }

    /// <summary>Notes when a task management function is answered.</summary>
    public Task Note(string name, Task function)
    {
        return NoteAsync();

        async Task NoteAsync()
        {
            await function.ConfigureAwait(false);
            Events.Add(name);
        }
    }

    /// <summary>The next unit attention of a nexus, or null.</summary>
    public Sense? Attention(int nexus) => UnitNexus(nexus).TryTakeUnitAttention(out var sense) ? sense : null;

    /// <summary>A command that waits for nothing, run to its answer.</summary>
    public string Answer(int nexus, string cdb, byte[]? data = null)
    {
        var command = Send("direct", nexus, cdb, data);
        Settle();
        Events.Remove($"direct {command.Answer}");
        return command.Answer ?? "nothing";
    }

    /// <summary>The same, with the field at which the sense points: "05/24/00 @2.7".</summary>
    public string AnswerWithField(int nexus, string cdb, byte[]? data = null)
    {
        var command = Send("direct", nexus, cdb, data);
        Settle();
        if (command.Result is not { Status: ScsiStatus.CheckCondition } result) return command.Answer ?? "nothing";
        Span<byte> sense = stackalloc byte[SenseData.MaxLength];
        SenseData.Write(sense, result.Detail, descriptor: false);
        return $"{command.Answer} @{sense[16] << 8 | sense[17]}{((sense[15] & 8) != 0 ? $".{sense[15] & 7}" : "")}";
    }

    public async ValueTask DisposeAsync()
    {
        Store.Gated = "";
        while (Store.Waiting.Count > 0) Store.Release(Store.Waiting[0]);
        Settle();
        _ = Unit.CloseAsync(TimeSpan.FromSeconds(30));
        for (int i = 0; i < 10000 && !Store.IsDisposed; i++)
        {
            Settle();
            if (!Store.IsDisposed) await Task.Delay(1).ConfigureAwait(false);
        }
        Assert.True(Store.IsDisposed);
        Assert.Equal(0, Store.CallsAtDisposal);
        Assert.Equal(0, Unit.Tasks.Count);
    }
}
