using System.Runtime.InteropServices;
using LunKit.Backstores;
using LunKit.Diagnostics;
using LunKit.Linux;
using LunKit.LogicalUnits;
using LunKit.Tcmu.Devices;
using LunKit.Tcmu.Handler;
using LunKit.Tcmu.Kernel;
using Microsoft.Extensions.Logging;

namespace LunKit.Tcmu;

/// <summary>
/// The handler process of TCMU (what tcmu-runner is): answers the SCSI commands of those user backstores whose subtype it knows, from the
/// moment that they are enabled until they are removed. The backstores are the kernel's
/// (<see cref="Start(IReadOnlyDictionary{string, TcmuHandlerFactory}, ILogger?, bool)"/>,
/// needs root) or those of a LunKit target (<see cref="Connect(string, IReadOnlyDictionary{string, TcmuHandlerFactory}, ILogger?, ReadOnlySpan{uint})"/>).
/// Thread safe.
/// </summary>
public sealed class TcmuHandler : IAsyncDisposable
{
    private readonly IDeviceSource _source;
    private readonly HandledDevices _devices;

    private TcmuHandler(IReadOnlyDictionary<string, TcmuUnitFactory> subtypes, ILogger log, IDeviceSource source)
    {
        _source = source;
        _devices = new HandledDevices(subtypes, log);
        source.Start(_devices);
    }

    /// <summary>Begins to handle the kernel's devices: those that are there, and those to come.</summary>
    /// <param name="subtypes">Factories by subtype; a device belongs to a handler when the subtypes are equal.</param>
    /// <param name="log">Where to log; without one, warnings and errors go to the standard error.</param>
    /// <param name="replies">
    /// The kernel waits for a handler's reply before a device is enabled, changed or removed, and gives its error to whoever asked for
    /// that. The switch is the kernel's, for all handlers; without it nobody waits.
    /// </param>
    /// <exception cref="TcmuException">This kernel has no TCMU, or this process may not use it.</exception>
    public static TcmuHandler Start(IReadOnlyDictionary<string, TcmuHandlerFactory> subtypes, ILogger? log = null, bool replies = true) =>
        Start(Units(subtypes, log), log, replies);

    /// <inheritdoc cref="Start(IReadOnlyDictionary{string, TcmuHandlerFactory}, ILogger?, bool)"/>
    public static TcmuHandler Start(IReadOnlyDictionary<string, TcmuUnitFactory> subtypes, ILogger? log = null, bool replies = true)
    {
        Check(subtypes.Keys);
        return new TcmuHandler(subtypes, log ?? StandardErrorLog.Instance, new KernelSource(log ?? StandardErrorLog.Instance, replies));
    }

    /// <summary>
    /// Begins to handle the devices of a LunKit target on this machine; waits for it when it is not there, or is gone for a while.
    /// </summary>
    /// <param name="path">Where it listens: a path, or '@' and a name.</param>
    /// <param name="subtypes">Factories by subtype; a device belongs to a handler when the subtypes are equal.</param>
    /// <param name="log">Where to log; without one, warnings and errors go to the standard error.</param>
    /// <param name="users">
    /// User ids that the target may have besides root and this process's own. It says what this process opens: whom to trust with that.
    /// </param>
    public static TcmuHandler Connect(
        string path, IReadOnlyDictionary<string, TcmuHandlerFactory> subtypes, ILogger? log = null, params ReadOnlySpan<uint> users) =>
        Connect(path, Units(subtypes, log), log, users);

    /// <inheritdoc cref="Connect(string, IReadOnlyDictionary{string, TcmuHandlerFactory}, ILogger?, ReadOnlySpan{uint})"/>
    public static TcmuHandler Connect(
        string path, IReadOnlyDictionary<string, TcmuUnitFactory> subtypes, ILogger? log = null, params ReadOnlySpan<uint> users) =>
        ConnectTo(path, subtypes, log, new HashSet<uint>([0, Account.EffectiveUserId, .. users]));

    /// <summary>The same to a target of these users only.</summary>
    internal static TcmuHandler ConnectTo(
        string path, IReadOnlyDictionary<string, TcmuUnitFactory> subtypes, ILogger? log, IReadOnlySet<uint> users)
    {
        Check(subtypes.Keys);
        return new TcmuHandler(subtypes, log ?? StandardErrorLog.Instance, new TargetSource(path, users, log ?? StandardErrorLog.Instance));
    }

    private static void Check(IEnumerable<string> subtypes)
    {
        foreach (string subtype in subtypes)
            if (subtype.Length == 0 || subtype.AsSpan().ContainsAny("/:,")) throw new ArgumentException($"'{subtype}' is no subtype: it has no '/', ':' or ','", nameof(subtypes));
    }

    private static Dictionary<string, TcmuUnitFactory> Units(IReadOnlyDictionary<string, TcmuHandlerFactory> subtypes, ILogger? log) =>
        subtypes.ToDictionary(s => s.Key, s => Unit(s.Value, log));

    private static TcmuUnitFactory Unit(TcmuHandlerFactory open, ILogger? log) => async (config, cancellationToken) =>
    {
        var store = await open(config, cancellationToken).ConfigureAwait(false);
        return new BlockUnit(
            store, config.Identity.Name, new VolatileUnitState(config.Identity.Id), new BlockUnitOptions { Identity = config.Identity, Succession = config.Succession }, log ?? StandardErrorLog.Instance);
    };

    /// <summary>
    /// Handles one subtype until Ctrl-C, SIGTERM or cancellation: all that a program which is a handler needs. The devices are the
    /// kernel's, or, where the environment variable <c>LUNKIT_TARGET</c> says where it listens, a LunKit target's.
    /// </summary>
    /// <param name="subtype">The handler's name.</param>
    /// <param name="open">Makes the disk of a device.</param>
    /// <param name="log">Where to log; without one, warnings and errors go to the standard error.</param>
    /// <param name="cancellationToken">Stops handling.</param>
    public static Task RunAsync(string subtype, Func<TcmuConfig, IBackstore> open, ILogger? log = null, CancellationToken cancellationToken = default) =>
        RunAsync(subtype, Unit((config, _) => ValueTask.FromResult(open(config)), log), log, cancellationToken);

    /// <inheritdoc cref="RunAsync(string, Func{TcmuConfig, IBackstore}, ILogger?, CancellationToken)"/>
    public static Task RunAsync(string subtype, Func<TcmuConfig, LogicalUnit> open, ILogger? log = null, CancellationToken cancellationToken = default) =>
        RunAsync(subtype, (config, _) => ValueTask.FromResult(open(config)), log, cancellationToken);

    private static async Task RunAsync(string subtype, TcmuUnitFactory open, ILogger? log, CancellationToken cancellationToken)
    {
        var stop = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        void Stop(PosixSignalContext context) => context.Cancel = stop.TrySetResult();
        using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Stop);
        using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Stop);
        using var cancel = cancellationToken.Register(() => stop.TrySetResult());
        var subtypes = new Dictionary<string, TcmuUnitFactory> { [subtype] = open };
        var handler = Environment.GetEnvironmentVariable(TargetVariable) is { Length: > 0 } path ? Connect(path, subtypes, log) : Start(subtypes, log);
        await using var scope = handler.ConfigureAwait(false);
        await stop.Task.ConfigureAwait(false);
    }

    /// <summary>The environment variable that says where the target of a handler process listens.</summary>
    public const string TargetVariable = "LUNKIT_TARGET";

    /// <summary>The devices that it handles now, or tried to.</summary>
    public IReadOnlyList<TcmuDeviceStatus> Devices => _devices.Statuses;

    /// <summary>Why this machine's kernel has no devices to handle; null when it has TCMU.</summary>
    public static string? WhyNot() => KernelSource.WhyNot();

    /// <inheritdoc cref="HandledDevices.CloseLimit"/>
    internal TimeSpan CloseLimit
    {
        set => _devices.CloseLimit = value;
    }

    /// <summary>
    /// Stops: every device completes what it has begun and is flushed; whoever made the devices keeps them. A device that takes longer
    /// than ten seconds is named in the log, and its backstore and its place at the target stay its own until it is done, or the process
    /// ends.
    /// </summary>
    public async ValueTask DisposeAsync()
    {
        await _source.StopAsync().ConfigureAwait(false);
        await _devices.CloseAsync().ConfigureAwait(false);
        await _source.DisposeAsync().ConfigureAwait(false);
    }
}
