using System.Buffers;
using LunKit.LogicalUnits;
using LunKit.Scsi;
using LunKit.Tcmu.Ring;
using Microsoft.Extensions.Logging;

namespace LunKit.Tcmu.Target;

/// <summary>
/// A logical unit whose commands a handler process answers, over a ring in shared memory. As with the kernel's TCMU, REPORT LUNS,
/// reservations, unit attentions and access states stay here; everything else goes to the handler, CDB and all. Thread safe.
/// </summary>
public sealed class RingUnit : CustomUnit, IPolledUnit
{
    private readonly UserRing _ring;
    private readonly int _blockSize;

    internal RingUnit(UserRing ring, int blockSize, UnitIdentity identity, IUnitStateStore? state, ILogger log, UnitRuntime? runtime = null)
        : base(deviceType: 0, identity, state, log, runtime ?? UnitRuntime.System)
    {
        (_ring, _blockSize) = (ring, blockSize);
        ring.Unit = this;
    }

    /// <summary>Called when the unit closes: takes the device from its handler. Null: nobody does.</summary>
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
        // Null: nobody knows it, so it may write, and may not be repeated.
        var traits = row is not null ? row.Traits : ForeignCommands.Find(DeviceType, command.Cdb)?.Traits;
        if (Has(traits, CommandTraits.StaysWithTarget)) return null;
        var (length, room) = DataIn(command, row);
        return _ring.Submit(command, new ForwardingPlan(
            length, room, EffectOf(command, row, traits), Has(traits, CommandTraits.Repeatable), Has(traits, CommandTraits.IgnoresUnitAttention)));
    }

    private static bool Has(CommandTraits? traits, CommandTraits trait) => ((traits ?? CommandTraits.None) & trait) != 0;

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

    /// <summary>What its good end means for what is not durable; what nobody knows may write.</summary>
    private static CommandEffect EffectOf(ScsiCommand command, CommandDescriptor? row, CommandTraits? traits)
    {
        var cdb = command.Cdb;
        bool isWhole = row is not null && cdb.Length == row.Usage.Length;
        if (isWhole && row!.Opcode is Opcode.SynchronizeCache10 or Opcode.SynchronizeCache16)
        {
            var range = new BlockCdb(cdb);
            bool immediate = (cdb[1] & 0x02) != 0;
            return range.Lba == 0 && range.BlockCount == 0 && !immediate ? CommandEffect.FlushesAll : CommandEffect.Flushes;
        }
        if (isWhole && row!.Opcode is Opcode.ModeSelect6 or Opcode.ModeSelect10) return CommandEffect.ChangesModes;
        if (row is not null ? !row.MayChangeMedium : traits is not null && !Has(traits, CommandTraits.WritesMedium)) return CommandEffect.None;
        return isWhole && row!.Has(CommandTraits.CacheControl) && new BlockCdb(cdb).ForceUnitAccess ? CommandEffect.None : CommandEffect.Writes;
    }

    internal override bool EndByReset(Sense attention)
    {
        base.EndByReset(attention);
        _ring.Reset();
        return false;
    }

    internal override void Unheard(Nexus nexus) => _ring.Unheard(nexus);

    internal override Task Leave(UnitNexus nexus, bool isLost)
    {
        _ring.NexusLeaves(nexus.Nexus);
        var left = base.Leave(nexus, isLost);
        // The handler may have kept something for it, which the next command must not find.
        _ring.NexusLeft(nexus.Nexus);
        return left;
    }

    bool IPolledUnit.Poll() => _ring.Poll();
    void IPolledUnit.BeginPolling() => _ring.BeginPolling();
    void IPolledUnit.EndPolling() => _ring.EndPolling();

    /// <summary>
    /// The handler flushes when it closes the device, and has its storage in use until then. One that hangs keeps it; the ring is not needed for that.
    /// </summary>
    private protected override async ValueTask FlushLastAsync()
    {
        if (Removing is null) return;
        Removing();
        bool isDurable;
        try
        {
            isDurable = await _ring.LetGoAsync(Runtime.Time).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            throw new IOException("its handler hangs and still has the device: what it has acknowledged may be lost");
        }
        if (!isDurable) throw new IOException("its handler has ended without making acknowledged writes durable");
    }

    private protected override ValueTask ReleaseAsync()
    {
        _ring.Dispose();
        return ValueTask.CompletedTask;
    }
}
