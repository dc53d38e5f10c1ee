using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using LunKit.App.Handle;
using LunKit.App.Serve;
using LunKit.Linux;
using LunKit.LogicalUnits;
using LunKit.Tcmu;
using LunKit.Tcmu.ConfigFs;
using LunKit.Tcmu.Devices;
using Microsoft.Extensions.Logging;

namespace LunKit.App.Attach;

/// <summary>One run of <c>lunkit attach</c>: makes the disk, answers for it, and removes it at the end, also when something fails.</summary>
internal sealed class AttachedDisk : IAsyncDisposable
{
    private static readonly TimeSpan s_openLimit = TimeSpan.FromSeconds(60), s_diskLimit = TimeSpan.FromSeconds(60), s_look = TimeSpan.FromMilliseconds(20);

    private readonly KernelTarget _target = new();
    private readonly AttachOptions _options;
    private readonly BlockUnit _unit;
    private readonly Attachment _attachment;
    private TcmuHandler? _handler;

    private AttachedDisk(AttachOptions options, BlockUnit unit, string name)
    {
        _options = options;
        _unit = unit;
        _attachment = new Attachment(name, Environment.ProcessId, _target.Backstore(Attachment.Hba, name));
    }

    /// <summary>Everything, from the first check to the last removal; the exit status.</summary>
    public static async Task<int> RunAsync(AttachOptions options, ILogger log)
    {
        var spec = BackstoreSpec.Parse(options.Backstore);
        if (options.Iqn is { } iqn) ServeOptions.CheckIqn(iqn);
        var portal = options.Iqn is null ? null : ServeOptions.ParsePortal(options.Portal).EndPoint;
        if (portal is not null && !IPAddress.IsLoopback(portal.Address) && options.Allow.Count == 0 && !options.AllowAnyone)
            throw new UserException("a portal beyond loopback lets anyone read and write the disk: give --allow, or say --allow-anyone", 2);
        if (!Environment.IsPrivilegedProcess) throw new UserException("attaching a disk needs root: it talks to the kernel's target");
        KernelModules.Load("target_core_mod");
        KernelModules.Load("target_core_user");
        var target = new KernelTarget();
        if (!target.Exists) throw new UserException($"the kernel's target is not there ({target.FolderPath}); `lunkit doctor` says what is missing");
        string name = ChooseName(target, options.Name, spec);

        var unit = spec.Open(options.ReadOnly, writeCache: true, $"attach {name}", log);
        await using var disk = new AttachedDisk(options, unit, name);
        using var stop = new StopSignals();
        await disk.StartAsync(log);
        if (portal is null) disk.Plug();
        else disk.Export(portal);
        await disk.AnnounceAsync(portal);
        await disk.UntilStoppedAsync(stop);
        return 0;
    }

    private static string ChooseName(KernelTarget target, string? wanted, BackstoreSpec spec)
    {
        if (wanted is not null)
        {
            if (wanted.Length is 0 or > 60 || !wanted.All(IsNameCharacter)) throw new UserException($"--name '{wanted}': use up to 60 letters, digits, '-', '_' and '.'", 2);
            if (target.Backstore(Attachment.Hba, wanted).Exists) throw new UserException($"{wanted} is attached already; `lunkit detach {wanted}` removes it");
            return wanted;
        }
        string stem = spec.Kind == "file" ? Path.GetFileNameWithoutExtension(spec.Argument) : spec.Kind;
        string basis = string.Concat(stem.Where(IsNameCharacter).Take(40)) is { Length: > 0 } text ? text : "disk";
        return Enumerable.Range(1, 10_000).Select(n => n == 1 ? basis : $"{basis}-{n}").First(n => !target.Backstore(Attachment.Hba, n).Exists);
    }

    private static bool IsNameCharacter(char c) => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '.';

    /// <summary>Makes the backstore and waits until this process answers for it.</summary>
    private async Task StartAsync(ILogger log)
    {
        string name = _attachment.Name;
        try
        {
            _handler = TcmuHandler.Start(new Dictionary<string, TcmuUnitFactory> { [Attachment.SubtypeOf(name)] = (_, _) => ValueTask.FromResult<LogicalUnit>(_unit) }, log, replies: false);
            _attachment.Backstore.Create(new UserBackstoreOptions
            {
                Config = Attachment.ConfigOf(name, Environment.ProcessId), SizeBytes = _unit.BlockCount * _unit.BlockSize, BlockSize = _unit.BlockSize,
                DataAreaMegabytes = _options.DataAreaMegabytes, WaitsForReplies = false, UnitSerial = _unit.Identity.Serial,
            });
        }
        catch (Exception e) when (e is IOException or ArgumentException)
        {
            throw new UserException(e.Message);
        }
        var status = await UntilAsync(() => _handler.Devices.FirstOrDefault(d => d.Name == name && d.State is not TcmuDeviceState.Connecting), s_openLimit);
        if (status?.State != TcmuDeviceState.Serving) throw new UserException($"{name} cannot be served: {status?.Error ?? "the kernel does not announce the device"}");
    }

    private void Plug()
    {
        // Names of its own: every attachment is a SCSI host of its own.
        var group = _target.PortalGroup("loopback", $"naa.{RandomName()}");
        Configure("tcm_loop", () =>
        {
            group.Create();
            group.SetNexus($"naa.{RandomName()}");
            group.AddLun(0, _attachment.Backstore);
        });
    }

    /// <summary>NAA 3, locally assigned: 60 random bits.</summary>
    private static string RandomName() => string.Create(CultureInfo.InvariantCulture, $"3{RandomNumberGenerator.GetHexString(15, lowercase: true)}");

    private void Export(IPEndPoint portal)
    {
        var group = _target.PortalGroup("iscsi", _options.Iqn!);
        if (group.Exists) throw new UserException($"the kernel's iSCSI target has {_options.Iqn} already; choose another --iscsi NAME");
        Configure("iscsi_target_mod", () =>
        {
            group.Create();
            group.AddLun(0, _attachment.Backstore);
            if (_options.Allow.Count == 0) group.AllowAnyone();
            foreach (string initiator in _options.Allow) group.AllowInitiator(initiator);
            group.AddPortal(portal);
            group.Enable();
        });
    }

    private static void Configure(string module, Action act)
    {
        KernelModules.Load(module);
        try
        {
            act();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UserException($"{e.Message}{(KernelModules.IsLoaded(module) ? "" : $" (the module {module} is not loaded)")}");
        }
    }

    private async Task AnnounceAsync(IPEndPoint? portal)
    {
        if (portal is not null)
        {
            Console.WriteLine($"{_attachment.Name} is exported as {_options.Iqn} on {portal}");
            Console.WriteLine($"  iscsiadm -m discovery -t sendtargets -p {portal}");
            Console.WriteLine($"  iscsiadm -m node -T {_options.Iqn} -p {portal} --login");
            return;
        }
        string disk = await UntilAsync(() => _attachment.Disk(_target), s_diskLimit)
            ?? throw new UserException($"no disk appears for {_attachment.Name}: is the module sd_mod loaded? `dmesg` has the kernel's reasons");
        Console.WriteLine(disk);
    }

    /// <summary>Serves until told to stop; a disk in use stays at the first telling.</summary>
    private async Task UntilStoppedAsync(StopSignals stop)
    {
        for (int told = 0; ;)
        {
            if (await stop.WaitAsync(TimeSpan.FromSeconds(1)))
            {
                told++;
                if (told > 1 || _attachment.Disk(_target) is not { } disk || !DeviceNode.IsClaimed(disk)) return;
                Console.Error.WriteLine($"lunkit: {disk} is in use; unmount it (or stop what uses it) and stop again. Stopping twice removes it in use.");
            }
            else if (!_attachment.Backstore.Exists)
            {
                Console.Error.WriteLine($"lunkit: {_attachment.Name} was removed by somebody else");
                return;
            }
        }
    }

    private static async Task<T?> UntilAsync<T>(Func<T?> look, TimeSpan limit) where T : class
    {
        var start = Stopwatch.GetTimestamp();
        while (true)
        {
            if (look() is { } found) return found;
            if (Stopwatch.GetElapsedTime(start) > limit) return null;
            await Task.Delay(s_look);
        }
    }

    public async ValueTask DisposeAsync()
    {
        try
        {
            // With the handler still there: the kernel flushes the disk through it.
            _attachment.Remove(_target, hasHandler: true);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            Console.Error.WriteLine($"lunkit: {_attachment.Name} is not removed: {e.Message}; `lunkit detach {_attachment.Name}` tries again");
        }
        if (_handler is not null) await _handler.DisposeAsync();
        // The handler disposes the unit with the device; without a device it is still ours.
        await _unit.DisposeAsync();
    }

    /// <summary>SIGINT and SIGTERM, counted.</summary>
    private sealed class StopSignals : IDisposable
    {
        private readonly SemaphoreSlim _signals = new(0);
        private readonly PosixSignalRegistration _interrupt;
        private readonly PosixSignalRegistration _terminate;

        public StopSignals()
        {
            _interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Count);
            _terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Count);
        }

        private void Count(PosixSignalContext context)
        {
            context.Cancel = true;
            _signals.Release();
        }

        public Task<bool> WaitAsync(TimeSpan limit) => _signals.WaitAsync(limit);

        public void Dispose()
        {
            _interrupt.Dispose();
            _terminate.Dispose();
            _signals.Dispose();
        }
    }
}
