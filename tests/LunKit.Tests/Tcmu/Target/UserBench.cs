using LunKit.Backstores;
using LunKit.LogicalUnits;
using LunKit.Scsi;
using LunKit.Targets;
using LunKit.Tcmu;
using LunKit.Tcmu.Devices;
using LunKit.Tcmu.Target;
using LunKit.Tests.LogicalUnits;
using Microsoft.Extensions.Logging.Abstractions;

namespace LunKit.Tests.Tcmu.Target;

/// <summary>A target's door for handlers with one device behind it, and initiators that send CDBs.</summary>
internal sealed class UserBench : IAsyncDisposable
{
    public const int BlockSize = 512;

    private static int s_count;
    private readonly Nexus[] _nexuses;

    public UserBench(UserRingOptions? options = null, int nexuses = 1, long sizeBytes = 1 << 20, long memoryBytes = 1 << 30, SteppedClock? clock = null, TimeSpan? changeLimit = null)
    {
        Path = $"@lunkit-test-{Environment.ProcessId}-{Interlocked.Increment(ref s_count)}";
        Listener = new HandlerListener(Path, NullLogger.Instance) { Memory = new DataAreaBudget(memoryBytes), Runtime = clock is null ? RingRuntime.System : new RingRuntime { Clock = () => clock.Now }, ChangeLimit = changeLimit ?? TimeSpan.FromSeconds(30) };
        Unit = AddDevice("disk", options, sizeBytes);
        _nexuses = [.. Enumerable.Range(0, nexuses).Select(i => Open($"iqn.test:{i}", Unit))];
    }

    public string Path { get; }
    public HandlerListener Listener { get; }
    public RingUnit Unit { get; }

    public RingUnit AddDevice(string name, UserRingOptions? options = null, long sizeBytes = 1 << 20, string subtype = "test") => Listener.Add(new UserDeviceOptions
    {
        Config = $"{subtype}/{name}", Name = name, SizeBytes = sizeBytes, Identity = new UnitIdentity { Name = name, Id = UnitIdentity.IdOf(name) }, Ring = options ?? new UserRingOptions(),
    });

    public static Nexus Open(string initiator, LogicalUnit unit)
    {
        var nexus = new Nexus(initiator, $"{initiator},i,0x1", new byte[24], new TargetPort("iqn.test:target", 1, 1, "t"));
        nexus.Open([KeyValuePair.Create(0, unit)]);
        while (nexus.Luns.Find(0)!.TryTakeUnitAttention(out _)) { }
        return nexus;
    }

    public Nexus Nexus(int index = 0) => _nexuses[index];

    /// <summary>LunKit's own handler for one subtype, over a backstore.</summary>
    public TcmuHandler Handle(IBackstore store, string subtype = "test") =>
        TcmuHandler.Connect(Path, new Dictionary<string, TcmuHandlerFactory> { [subtype] = (_, _) => ValueTask.FromResult(store) });

    public Task<(CommandResult Result, byte[] Data)> SendAsync(string cdb, byte[]? dataOut = null, int dataIn = 0, int nexus = 0, TestCommand? command = null) =>
        SendAsync(_nexuses[nexus], cdb, dataOut, dataIn, command);

    public static async Task<(CommandResult Result, byte[] Data)> SendAsync(Nexus nexus, string cdb, byte[]? dataOut = null, int dataIn = 0, TestCommand? command = null)
    {
        command ??= new TestCommand();
        command.Prepare(nexus.Luns.Find(0)!, TestUnit.Bytes(cdb), dataOut ?? [], TaskAttribute.Simple);
        command.DataInBufferSize = dataIn;
        var unit = nexus.Luns.Find(0)!.Unit;
        var result = await unit.ExecuteAsync(command);
        unit.Complete(command);
        // A fabric only takes a note of the end; a test that went on here would do so on the ring's own thread.
        await Task.Yield();
        return (result, command.DataIn[..Math.Min(command.DataIn.Length, result.DataInLength)]);
    }

    public static string Read(int lba, int blocks) => $"28 00 {lba:X8} 00 {blocks:X4} 00";

    public static string Write(int lba, int blocks) => $"2A 00 {lba:X8} 00 {blocks:X4} 00";

    public static byte[] Pattern(int seed, int blocks)
    {
        var bytes = new byte[blocks * BlockSize];
        new Random(seed).NextBytes(bytes);
        return bytes;
    }

    /// <summary>Waits until something holds.</summary>
    public static async Task UntilAsync(Func<bool> holds, string what, int limitSeconds = 10)
    {
        for (long end = Environment.TickCount64 + limitSeconds * 1000; !holds();)
        {
            Assert.True(Environment.TickCount64 < end, $"{what} does not happen");
            await Task.Delay(5, TestContext.Current.CancellationToken);
        }
    }

    public async ValueTask DisposeAsync()
    {
        await Unit.DisposeAsync();
        Listener.Dispose();
    }
}

/// <summary>A ring's time, which passes when a test says so: on a busy machine no command is late that should not be. Thread safe.</summary>
internal sealed class SteppedClock
{
    private long _now = 1000;

    public long Now => Volatile.Read(ref _now);

    /// <summary>Lets time pass; the ring reads it at every tick.</summary>
    public void Pass(TimeSpan time) => Interlocked.Add(ref _now, (long)time.TotalMilliseconds + 1);
}
