using LunKit.Backstores;
using LunKit.LogicalUnits;
using LunKit.Scsi;
using LunKit.Targets;

namespace LunKit.Tests.LogicalUnits;

/// <summary>A command whose data is an array.</summary>
internal class TestCommand : ScsiCommand
{
    public byte[] DataIn { get; private set; } = [];

    public void Prepare(UnitNexus nexus, byte[] cdb, byte[] dataOut, TaskAttribute attribute)
    {
        Reset(cdb);
        Nexus = nexus.Nexus;
        UnitNexus = nexus;
        Attribute = attribute;
        DataOut = new DataBuffer(dataOut);
        DataOutBufferSize = dataOut.Length;
        DataIn = [];
    }

    public override DataBuffer RentDataIn(int length)
    {
        DataIn = new byte[length];
        return new DataBuffer(DataIn);
    }
}

/// <summary>A block unit with nexuses, driven by CDBs as bytes.</summary>
internal sealed class TestUnit : IAsyncDisposable
{
    private readonly List<Nexus> _nexuses = [];

    public TestUnit(IBackstore? store = null, BlockUnitOptions? options = null, IUnitStateStore? state = null, int nexuses = 1)
    {
        Unit = new BlockUnit(store ?? new MemoryBackstore(1 << 20), "test", state ?? new VolatileUnitState(UnitIdentity.IdOf("test")), options);
        for (int i = 0; i < nexuses; i++) AddNexus(i);
    }

    public BlockUnit Unit { get; }

    public Nexus AddNexus(int index) => AddNexus($"iqn.test:initiator{index}", $"{index:x12}");

    /// <summary>A nexus of an initiator's port with a target port, which sees the unit at LUN 0 and others behind it.</summary>
    public Nexus AddNexus(string initiator, string isid, int targetPort = 1, params LogicalUnit[] others)
    {
        string port = $"{initiator},i,0x{isid}";
        var device = new TargetPort($"iqn.test:target,t,0x{targetPort:x4}", targetPort, targetPort - 1, "iqn.test:target");
        var nexus = new Nexus(initiator, port, TransportId(port), device);
        nexus.Open([KeyValuePair.Create(0, (LogicalUnit)Unit), .. others.Select((o, i) => KeyValuePair.Create(i + 1, o))]);
        _nexuses.Add(nexus);
        // The power-on unit attention is not what most tests are about.
        foreach (var entry in nexus.Luns.Entries.Values) entry.TryTakeUnitAttention(out _);
        return nexus;
    }

    /// <summary>The TransportID of a port's name, or with format 00b of an initiator's.</summary>
    public static byte[] TransportId(string name, byte format = 0x45)
    {
        var id = new byte[4 + Math.Max(20, (name.Length + 4) / 4 * 4)];
        id[0] = format;
        id[3] = (byte)(id.Length - 4);
        System.Text.Encoding.ASCII.GetBytes(name, id.AsSpan(4));
        return id;
    }

    public Nexus Nexus(int index) => _nexuses[index];

    public UnitNexus UnitNexus(int index) => _nexuses[index].Luns.Find(0)!;

    public static byte[] Bytes(string hex) => Convert.FromHexString(hex.Replace(" ", "", StringComparison.Ordinal));

    public ValueTask<CommandResult> Start(TestCommand command, string cdb, byte[]? dataOut = null, int nexus = 0, TaskAttribute attribute = TaskAttribute.Simple)
    {
        var bytes = Bytes(cdb);
        var data = dataOut ?? [];
        long wanted = Unit.DataOutLength(bytes, data.Length);
        command.Prepare(UnitNexus(nexus), bytes, data[..(int)Math.Min(wanted, data.Length)], attribute);
        command.DataOutBufferSize = data.Length;
        return CompleteAsync(command, Unit.ExecuteAsync(command));
    }

    /// <summary>What a fabric does: the answer is queued, and the command is over.</summary>
    private async ValueTask<CommandResult> CompleteAsync(TestCommand command, ValueTask<CommandResult> running)
    {
        var result = await running;
        Unit.Complete(command);
        return result;
    }

    /// <summary>Runs a CDB (hex, with spaces) to its end.</summary>
    public (CommandResult Result, byte[] Data) Run(string cdb, byte[]? dataOut = null, int nexus = 0)
    {
        var command = new TestCommand();
        var result = Start(command, cdb, dataOut, nexus).AsTask().GetAwaiter().GetResult();
        return (result, command.DataIn[..Math.Min(command.DataIn.Length, result.DataInLength)]);
    }

    public byte[] Good(string cdb, byte[]? dataOut = null, int nexus = 0)
    {
        var (result, data) = Run(cdb, dataOut, nexus);
        Assert.Equal(ScsiStatus.Good, result.Status);
        return data;
    }

    public CommandResult Checks(Sense sense, string cdb, byte[]? dataOut = null, int nexus = 0)
    {
        var (result, _) = Run(cdb, dataOut, nexus);
        Assert.Equal((ScsiStatus.CheckCondition, sense), (result.Status, result.Sense));
        return result;
    }

    public void Conflicts(string cdb, byte[]? dataOut = null, int nexus = 0) =>
        Assert.Equal(ScsiStatus.ReservationConflict, Run(cdb, dataOut, nexus).Result.Status);

    public ValueTask DisposeAsync() => Unit.DisposeAsync();
}
