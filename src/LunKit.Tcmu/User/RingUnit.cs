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

    internal RingUnit(UserRing ring, int blockSize, UnitIdentity identity, IUnitStateStore? state, ILogger log) : base(deviceType: 0, identity, state, log)
    {
        (_ring, _blockSize) = (ring, blockSize);
        ring.Unit = this;
    }

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
        var row = command.Row;
        var facts = row is not null ? ForeignCommands.Of(row, command.Cdb) : ForeignCommands.Find(DeviceType, command.Cdb);
        if (facts is { } known && known.Has(CommandTraits.StaysWithTarget)) return null;
        return _ring.Submit(command, PlanOf(command, row, facts));
    }

    private ForwardingPlan PlanOf(ScsiCommand command, CommandDescriptor? row, CommandFacts? facts)
    {
        var (length, room) = DataIn(command, row);
        bool ignoresAttention = facts is { } known && known.Has(CommandTraits.IgnoresUnitAttention), repeats = facts is { } f && f.Has(CommandTraits.Repeatable);
        return new ForwardingPlan(length, room, EffectOf(command, row, facts), repeats, ignoresAttention);
    }

    /// <summary>
    /// How much the handler may give. READ says it itself, which makes residuals right; for the answers of other commands there is
    /// a block at least, and the handler says how much of it counts.
    /// </summary>
    private (int Length, int Room) DataIn(ScsiCommand command, CommandDescriptor? row)
    {
        int offered = (int)Math.Min(command.DataInBufferSize, BlockLimits.MaxTransferBytes);
        if (row is null || !ReadsBlocks(row, command)) return (offered, offered == 0 ? 0 : Math.Max(offered, DataArea.BlockBytes));
        long wanted = (long)new BlockCdb(command.Cdb).BlockCount * _blockSize;
        int length = wanted <= BlockLimits.MaxTransferBytes ? (int)wanted : offered;
        return (length, length);
    }

    /// <summary>READ in its forms: names blocks that must be there, reads them, and takes no data to compare them with.</summary>
    private static bool ReadsBlocks(CommandDescriptor row, ScsiCommand command) => row.DataOut is null && row.Has(CommandTraits.Blocks) &&
        row.Has(CommandTraits.CheckEmptyRange) && !row.Has(CommandTraits.WritesMedium) && command.Cdb.Length == row.Usage.Length;

    /// <summary>
    /// What nobody knows may write. EXTENDED COPY writes though its row does not say so: it changes the unit that its list names, which may be this one.
    /// </summary>
    private static CommandEffect EffectOf(ScsiCommand command, CommandDescriptor? row, CommandFacts? facts)
    {
        if (row is null) return facts is { } known && !known.Has(CommandTraits.WritesMedium) ? CommandEffect.None : CommandEffect.Writes;
        var cdb = command.Cdb;
        if (row.Opcode is Opcode.SynchronizeCache10 or Opcode.SynchronizeCache16 && cdb.Length == row.Usage.Length)
        {
            var range = new BlockCdb(cdb);
            bool immediate = (cdb[1] & 0x02) != 0;
            return range.Lba == 0 && range.BlockCount == 0 && !immediate ? CommandEffect.FlushesAll : CommandEffect.Flushes;
        }
        bool copies = row.DataOut is not null && row.Has(CommandTraits.NeedsMedium) && !row.Has(CommandTraits.ReservationRead);
        if (!row.Has(CommandTraits.WritesMedium) && !copies) return CommandEffect.None;
        return IsForced(row, cdb) ? CommandEffect.None : CommandEffect.Writes;
    }

    /// <summary>
    /// FUA of those commands whose CDB has it together with DPO (SBC-4 5): WRITE, WRITE ATOMIC, ORWRITE, COMPARE AND WRITE. The others use the bits
    /// otherwise, or have none.
    /// </summary>
    private static bool IsForced(CommandDescriptor row, ReadOnlySpan<byte> cdb) => row.Has(CommandTraits.Blocks) && cdb.Length == row.Usage.Length &&
        row.Opcode is Opcode.Write10 or Opcode.Write12 or Opcode.Write16 or Opcode.WriteAtomic16 or Opcode.OrWrite16 or Opcode.CompareAndWrite &&
        new BlockCdb(cdb).ForceUnitAccess;

    internal override bool EndByReset(Sense attention)
    {
        base.EndByReset(attention);
        _ring.Tell(TaskManagementAbi.LunReset);
        return false;
    }

    internal override void Leave(UnitNexus nexus, bool isLost)
    {
        base.Leave(nexus, isLost);
        // The handler may have kept something for it, which the next command must not find.
        _ring.NexusLeft(nexus.Nexus);
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
