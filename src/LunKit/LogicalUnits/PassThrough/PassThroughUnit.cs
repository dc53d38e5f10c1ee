using System.Buffers.Binary;
using System.Runtime.Versioning;
using LunKit.Backstores;
using LunKit.Diagnostics;
using LunKit.Linux;
using LunKit.Scsi;
using Microsoft.Extensions.Logging;

namespace LunKit.LogicalUnits;

/// <summary>How a SCSI device is passed through.</summary>
public sealed record PassThroughOptions
{
    /// <summary>Path of a node that takes SG_IO, e.g. <c>/dev/sg3</c>.</summary>
    public required string Path { get; init; }

    /// <summary>What may reach the device.</summary>
    public PassThroughPolicy Policy { get; init; } = PassThroughPolicy.Safe;

    /// <summary>Refuse what writes; for disks.</summary>
    public bool ReadOnly { get; init; }

    /// <summary>How long a command may take; null for a minute with disks, and hours with what has a medium to wind.</summary>
    public TimeSpan? Timeout { get; init; }
}

/// <summary>
/// A real SCSI device of any type (LIO's pscsi): CDBs go to it, and its status, sense and residual come back unchanged. REPORT LUNS,
/// reservations and access states stay here, for to the device all initiators are one. Thread safe; what waits for the device waits on
/// threads of its own.
/// </summary>
[SupportedOSPlatform("linux")]
public sealed class PassThroughUnit : CustomUnit
{
    // As many as the generic driver queues for one opener.
    private const int MaxAtOnce = 16;
    private const int MaxTransferBytes = 16 << 20;

    // SPC-5 4.2.5.
    private const byte FirstVendorOpcode = 0xC0;
    private static readonly TimeSpan s_diskTimeout = TimeSpan.FromMinutes(1), s_otherTimeout = TimeSpan.FromHours(4);

    private readonly IScsiDevice _device;
    private readonly PassThroughOptions _options;
    private readonly FileWorkers _workers = new();
    private readonly SemaphoreSlim _turn;
    private readonly TimeSpan _timeout;
    private readonly int _hostTransferBytes;
    private readonly bool _isDisk;
    private readonly bool[] _told = new bool[256];

    private PassThroughUnit(IScsiDevice device, byte deviceType, PassThroughOptions options, UnitIdentity identity, IUnitStateStore? state, ILogger log)
        : base(deviceType, identity, state, log)
    {
        (_device, _options) = (device, options);
        _isDisk = deviceType is 0 or 0x14;
        _timeout = options.Timeout ?? (_isDisk ? s_diskTimeout : s_otherTimeout);
        // What winds its medium does one thing after the other, in the order in which it came.
        _turn = new SemaphoreSlim(_isDisk ? MaxAtOnce : 1);
        _hostTransferBytes = Math.Min(device.MaxTransferBytes ?? MaxTransferBytes, MaxTransferBytes);
    }

    /// <summary>Opens the device for this process alone, and asks what it is. Throws <see cref="BackstoreException"/> with a message for the operator.</summary>
    public static PassThroughUnit Open(PassThroughOptions options, IUnitStateStore? state, ILogger log)
    {
        try
        {
            return Over(ScsiDevice.Open(options.Path), options, state, log);
        }
        catch (LinuxException e)
        {
            throw e.IsBusy
                ? new BackstoreException(BackstoreError.InUse, $"{options.Path} is in use: mounted, part of something, or open elsewhere", null, e)
                : new BackstoreException(BackstoreError.Internal, $"{options.Path} cannot be opened: {e.Message}", null, e);
        }
    }

    /// <summary>The same with a device that is open; it is disposed with the unit, also when this throws.</summary>
    internal static PassThroughUnit Over(IScsiDevice device, PassThroughOptions options, IUnitStateStore? state, ILogger log)
    {
        try
        {
            byte[] inquiry = new byte[96], sense = new byte[SenseData.MaxLength];
            var result = device.Execute([0x12, 0, 0, 0, 96, 0], inquiry, toDevice: false, sense, s_diskTimeout);
            if (result.Status != 0 || result.HostStatus != 0 || result.Transferred < 36)
                throw new BackstoreException(BackstoreError.Internal, $"{options.Path} does not answer INQUIRY (status {result.Status}, host {result.HostStatus})");
            byte type = (byte)(inquiry[0] & 0x1F);
            if (options.ReadOnly && type != 0)
                throw new BackstoreException(BackstoreError.Internal, $"{options.Path} is no disk: a device of type {type} cannot be read-only");
            string Text(int start, int length) => System.Text.Encoding.ASCII.GetString(inquiry, start, length).Trim();
            string name = $"{Text(8, 8)} {Text(16, 16)} at {options.Path}";
            return new PassThroughUnit(device, type, options, new UnitIdentity { Name = name, Id = UnitIdentity.IdOf(options.Path) }, state, log);
        }
        catch
        {
            device.Dispose();
            throw;
        }
    }

    internal override CommandDescriptor? FindRow(ReadOnlySpan<byte> cdb) => (_isDisk ? BlockCommands.Table : PrimaryCommands.Table).Find(cdb);

    /// <summary>The device knows what a command takes; the initiator says how much that is.</summary>
    public override long DataOutLength(ReadOnlySpan<byte> cdb, long offered)
    {
        var facts = ForeignCommands.Find(DeviceType, cdb);
        if (Has(facts, CommandTraits.StaysWithTarget)) return base.DataOutLength(cdb, offered);
        // A fabric that only shows a buffer (TCMU) does not say which way the data goes. What only the vendor knows takes what the
        // initiator offers.
        bool takes = facts is { } known ? known.TakesData(cdb) : !cdb.IsEmpty && cdb[0] >= FirstVendorOpcode;
        return takes ? Math.Min(offered, _hostTransferBytes) : 0;
    }

    private static bool Has(CommandFacts? facts, CommandTraits trait) => facts is { } known && known.Has(trait);

    /// <inheritdoc/>
    protected override ValueTask<CommandResult>? Execute(ScsiCommand command)
    {
        var cdb = command.Cdb;
        var facts = ForeignCommands.Find(DeviceType, cdb);
        if (Has(facts, CommandTraits.StaysWithTarget)) return null;
        if (!_options.Policy.Admits(DeviceType, cdb)) return new(Refuse(cdb[0]));
        // What nobody knows may write.
        if (_options.ReadOnly && (facts is null || Has(facts, CommandTraits.WritesMedium)))
            return new(CommandResult.CheckCondition(Sense.WriteProtected));
        if (cdb.Length > ScsiDevice.MaxCdbLength || !command.DataOut.IsEmpty && command.DataInBufferSize > 0) return new(CommandResult.CheckCondition(Sense.InvalidFieldInCdb));
        if (command.DataOutBufferSize > _hostTransferBytes || !command.DataOut.IsEmpty && command.DataOut.Length < command.DataOutBufferSize) return new(CommandResult.CheckCondition(Sense.InvalidFieldInCdb));
        return new(PassAsync(command));
    }

    private CommandResult Refuse(byte opcode)
    {
        if (!_told[opcode])
        {
            _told[opcode] = true;
            LogMessages.NotPassed(Log, Identity.Name, opcode);
        }
        return CommandResult.CheckCondition(Sense.InvalidOpcode);
    }

    /// <summary>
    /// Waits for the command's turn, and for the device. SG_IO cannot be interrupted: a command that is aborted in it stays until it is
    /// over.
    /// </summary>
    private async Task<CommandResult> PassAsync(ScsiCommand command)
    {
        bool writes = !command.DataOut.IsEmpty;
        int length = writes ? command.DataOut.Length : (int)Math.Min(command.DataInBufferSize, _hostTransferBytes);
        await _turn.WaitAsync(command.CancellationToken).ConfigureAwait(false);
        try
        {
            // Those that wait for their turn hold none of it.
            using var scratch = command.RentScratch(SenseData.MaxLength + length);
            Memory<byte> sense = scratch.Memory[..SenseData.MaxLength], data = scratch.Memory[SenseData.MaxLength..];
            sense.Span.Clear();
            if (writes) command.DataOut.CopyTo(data.Span);
            var pass = new Pass(this, command, data, writes, sense);
            await _workers.RunAsync(static p => p.Run(), pass).ConfigureAwait(false);
            return Answer(command, pass.Result, writes ? default : data[..pass.Result.Transferred], sense.Span);
        }
        finally
        {
            _turn.Release();
        }
    }

    private sealed class Pass(PassThroughUnit unit, ScsiCommand command, Memory<byte> data, bool writes, Memory<byte> sense)
    {
        public ScsiDeviceResult Result { get; private set; }

        public void Run()
        {
            try
            {
                Result = unit._device.Execute(command.Cdb, data.Span, writes, sense.Span, unit._timeout);
            }
            // Of its medium only the device itself speaks. What has no room now is tried again.
            catch (LinuxException e) when (!e.IsTransient)
            {
                throw new BackstoreException(BackstoreError.Unreachable, $"{unit._options.Path}: the kernel does not carry out command {command.Cdb[0]:X2}h: {e.Message}", null, e);
            }
        }
    }

    private CommandResult Answer(ScsiCommand command, ScsiDeviceResult result, Memory<byte> dataIn, ReadOnlySpan<byte> sense)
    {
        // The host adapter could not reach the device, or gave the command up: it may be tried again.
        if (result.HostStatus != 0)
            throw new BackstoreException(BackstoreError.Unreachable, $"{_options.Path}: the host adapter ends command {command.Cdb[0]:X2}h with status {result.HostStatus:X2}h");
        var status = (ScsiStatus)result.Status;
        if (!Enum.IsDefined(status))
            throw new BackstoreException(BackstoreError.Internal, $"{_options.Path} ends command {command.Cdb[0]:X2}h with the unknown status {result.Status:X2}h");
        bool hasData = !dataIn.IsEmpty && status is (ScsiStatus.Good or ScsiStatus.CheckCondition);
        if (hasData)
        {
            LimitTransfers(command.Cdb, dataIn.Span);
            command.RentDataIn(dataIn.Length).CopyFrom(dataIn.Span);
        }
        return status == ScsiStatus.Good ? CommandResult.Data(dataIn.Length) : CommandResult.Relayed(status, hasData ? dataIn.Length : 0, sense);
    }

    /// <summary>The block limits page (B0h) promises what the device can; the host adapter may do less.</summary>
    private void LimitTransfers(ReadOnlySpan<byte> cdb, Span<byte> data)
    {
        if (!_isDisk || cdb[0] != (byte)Opcode.Inquiry || (cdb[1] & 1) == 0 || cdb[2] != 0xB0 || data.Length < 12) return;
        // The smallest block there is: right for it, and on the safe side for larger ones.
        uint most = (uint)(_hostTransferBytes / 4096), device = BinaryPrimitives.ReadUInt32BigEndian(data[8..]);
        if (device == 0 || device > most) BinaryPrimitives.WriteUInt32BigEndian(data[8..], most);
    }

    /// <summary>Disks keep what they have acknowledged in a cache of their own.</summary>
    public override ValueTask FlushAsync() => !_isDisk || _options.ReadOnly ? ValueTask.CompletedTask : new DeviceFlush(_device, _options.Path, Identity.Name, _timeout, _workers, Runtime.Time, Log).RunAsync();

    /// <summary>What the device has acknowledged is with the device.</summary>
    public override bool SurvivesProcess => true;

    private protected override ValueTask ReleaseAsync()
    {
        _device.Dispose();
        _turn.Dispose();
        return ValueTask.CompletedTask;
    }
}
