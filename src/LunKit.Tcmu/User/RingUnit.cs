using System.Buffers;
using LunKit.LogicalUnits;
using LunKit.Scsi;
using LunKit.Tcmu.Ring;
using Microsoft.Extensions.Logging;

namespace LunKit.Tcmu.User;

/// <summary>
/// A logical unit whose commands a handler process answers, over a ring in shared memory. As with the kernel's TCMU, REPORT LUNS,
/// reservations, unit attentions and access states stay here; everything else goes to the handler, CDB and all. Thread safe.
/// </summary>
public sealed class RingUnit : CustomUnit, IPolledUnit
{
    private readonly UserRing _ring;
    private readonly int _blockSize;

    internal RingUnit(UserRing ring, int blockSize, UnitIdentity identity, IUnitStateStore? state, ILogger log) : base(deviceType: 0, identity, state, log) =>
        (_ring, _blockSize) = (ring, blockSize);

    /// <summary>Called when the unit is disposed.</summary>
    internal Action? Removing { get; set; }

    /// <summary>Bytes of shared memory that commands of the device have touched and that are not given back.</summary>
    public long DataBytesInUse => _ring.DataBytesInUse;

    /// <summary>Commands that are with the handler, or wait for one.</summary>
    public int CommandCount => _ring.CommandCount;

    private protected override int DataBlockSize => _blockSize;

    internal override CommandDescriptor? FindRow(ReadOnlySpan<byte> cdb) => BlockCommands.Table.Find(cdb);

    /// <summary>The handler knows what a command takes; where no standard says it, that is what the initiator has.</summary>
    public override long DataOutLength(ReadOnlySpan<byte> cdb, long offered) => FindRow(cdb) is { } row
        ? row.DataOut is null || cdb.Length < row.Usage.Length ? 0 : row.DataOut(_blockSize, cdb[..row.Usage.Length])
        : offered;

    internal override IMemoryOwner<byte>? RentDataOut(int length) => _ring.RentDataOut(length);

    /// <inheritdoc/>
    protected override ValueTask<CommandResult>? Execute(ScsiCommand command)
    {
        if (IsOurs(command.Cdb)) return null;
        var (length, room) = DataIn(command);
        return _ring.Submit(command, length, room);
    }

    /// <summary>
    /// How much the handler may give. READ says it itself, which makes residuals right; for the answers of other commands there is
    /// a block at least, and the handler says how much of it counts.
    /// </summary>
    private (int Length, int Room) DataIn(ScsiCommand command)
    {
        int offered = (int)Math.Min(command.DataInBufferSize, BlockLimits.MaxTransferBytes);
        if (!IsRead(command.Cdb)) return (offered, offered == 0 ? 0 : Math.Max(offered, DataArea.BlockBytes));
        long wanted = (long)new BlockCdb(command.Cdb).BlockCount * _blockSize;
        int length = wanted <= BlockLimits.MaxTransferBytes ? (int)wanted : offered;
        return (length, length);
    }

    private static bool IsRead(ReadOnlySpan<byte> cdb) => (Opcode)cdb[0] switch
    {
        Opcode.Read6 => cdb.Length == 6,
        Opcode.Read10 => cdb.Length == 10,
        Opcode.Read12 => cdb.Length == 12,
        Opcode.Read16 => cdb.Length == 16,
        Opcode.VariableLength => cdb.Length == 32 && cdb[8] == 0 && cdb[9] == 0x09,
        _ => false,
    };

    private static bool IsOurs(ReadOnlySpan<byte> cdb) => (Opcode)cdb[0] switch
    {
        Opcode.ReportLuns or Opcode.PersistentReserveIn or Opcode.PersistentReserveOut => true,
        Opcode.Reserve6 or Opcode.Release6 or Opcode.Reserve10 or Opcode.Release10 => true,
        Opcode.MaintenanceIn or Opcode.MaintenanceOut => cdb.Length > 1 && (cdb[1] & 0x1F) == 0x0A, // REPORT and SET TARGET PORT GROUPS
        _ => false,
    };

    internal override bool EndByReset(Sense attention)
    {
        base.EndByReset(attention);
        _ring.Tell(TaskManagementAbi.LunReset);
        return false;
    }

    internal override void Leave(UnitNexus nexus, bool isLost)
    {
        base.Leave(nexus, isLost);
        // The handler may have kept something for it; the next command must not find that.
        _ring.TellNexusLost(nexus.Nexus.Number);
    }

    bool IPolledUnit.Poll() => _ring.Poll();
    void IPolledUnit.BeginPolling() => _ring.BeginPolling();
    void IPolledUnit.EndPolling() => _ring.EndPolling();

    private protected override ValueTask ReleaseAsync()
    {
        Removing?.Invoke();
        _ring.Dispose();
        return ValueTask.CompletedTask;
    }
}
