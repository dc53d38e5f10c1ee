using LunKit.Backstores;
using LunKit.Diagnostics;
using LunKit.LogicalUnits.Commands;
using LunKit.Scsi;
using Microsoft.Extensions.Logging;

namespace LunKit.LogicalUnits;

/// <summary>A direct-access block device (SBC-4) over one backstore. Thread safe.</summary>
public sealed class BlockUnit : LogicalUnit
{
    // Two that change the size at once would take over one another's measures.
    private readonly SemaphoreSlim _sizing = new(1, 1);
    private readonly Lock _capacity = new();

    // As long as an operator waits for a command of his own.
    private static readonly TimeSpan s_resizing = TimeSpan.FromSeconds(30), s_reporting = TimeSpan.FromSeconds(10);

    private readonly BlockUnitOptions _options;
    private readonly OwedFailures _owed;
    private long _blockCount, _mostBlocks = long.MaxValue;
    private volatile bool _softThresholdReported;
    private long _readCommands, _writeCommands;

    /// <summary>
    /// Presents <paramref name="backstore"/>, which the unit disposes with itself. <paramref name="state"/> keeps what must
    /// outlive the unit.
    /// </summary>
    public BlockUnit(IBackstore backstore, string name, IUnitStateStore state, BlockUnitOptions? options = null, ILogger? log = null)
        : this(new BackstoreGuard(backstore), name, new UnitMemory(state), options ?? new(), log, UnitRuntime.System)
    {
    }

    internal BlockUnit(BackstoreGuard store, string name, UnitMemory memory, BlockUnitOptions options, ILogger? log, UnitRuntime runtime)
        : base(options.Identity ?? new UnitIdentity { Name = name, Id = memory.Id }, memory, options.LongCdbs ? BlockCommands.Table : BlockCommands.ShortTable,
            new ModePages(BlockModePages.Of(store.Has(BackstoreFeatures.VolatileCache), options.WriteCache), memory, SuccessionOf(store, options)), log, runtime)
    {
        _options = options;
        Store = store;
        _blockCount = store.Geometry.BlockCount;
        _owed = new OwedFailures(s_reporting, () => Runtime.Time.GetTimestamp() / (Runtime.Time.TimestampFrequency / 1000));
        Background = new BackgroundOperation(this);
        memory.Update(s => ModePages.KeepCurrent(s));
        Background.ResumeFailed();
        store.GeometryChanged += TakeCapacity;
    }

    // A disk that ends with its process has no successor: initiators hear that all of it is gone.
    private static UnitSuccession SuccessionOf(BackstoreGuard store, BlockUnitOptions options) => store.Has(BackstoreFeatures.Ephemeral) ? UnitSuccession.None : options.Succession;

    /// <summary>
    /// Whether the process that serves the unit next knows of an erasure that did not end: else it would take a disk for erased that is not.
    /// </summary>
    internal bool RemembersErasure => Memory.IsDurable || !SuccessionOf(Store, _options).IsPossible;

    /// <summary>Whether the process that serves the unit next knows the current mode parameters.</summary>
    internal bool KeepsModes => Memory.IsDurable && SuccessionOf(Store, _options).IsPossible;

    /// <summary>Whether the current mode parameters are those with which the process before has ended.</summary>
    internal bool ContinuesModes => Memory.IsDurable && ModePages.Continue;

    /// <summary>The backstore behind its guard.</summary>
    public BackstoreGuard Store { get; }

    /// <summary>Bytes of a logical block.</summary>
    public int BlockSize => Store.Geometry.BlockSize;

    /// <summary>Number of logical blocks.</summary>
    public long BlockCount => Volatile.Read(ref _blockCount);

    private long LengthBytes => BlockCount * BlockSize;

    internal override byte DeviceType => 0;

    internal override bool IsRemovable => _options.Removable;

    internal override string? WhyUnavailable => Store.Unavailable;

    internal override (long Bytes, int BlockBytes)? Capacity => (BlockCount * BlockSize, BlockSize);

    internal BackgroundOperation Background { get; }

    internal CopyTokens Tokens { get; } = new();

    internal CopyResults CopyResults { get; } = new();

    /// <summary>The medium is in place (LOEJ of START STOP UNIT takes it out).</summary>
    internal bool IsLoaded { get; set; } = true;

    /// <summary>The unit is started (START STOP UNIT).</summary>
    internal bool IsStarted { get; set; } = true;

    internal long EraseBytesPerSecond => _options.EraseBytesPerSecond;

    internal bool IsHardwareWriteProtected => _options.ReadOnly || Store.Geometry.ReadOnly;

    internal bool IsWriteProtected => IsHardwareWriteProtected || ModePages.Bit(0x0A, 0, 4, 0x08);

    internal bool IsThin => Store.Has(BackstoreFeatures.Discard);

    internal bool HasVolatileCache => Store.Has(BackstoreFeatures.VolatileCache);

    internal bool IsWriteCacheEnabled => ModePages.Bit(0x08, 0, 2, 0x04);

    private protected override int DataBlockSize => BlockSize;

    internal int MaxTransferBlocks => BlockLimits.MaxTransferBytes / BlockSize;

    /// <summary>
    /// Longest transfer of one command that whoever brings the commands can carry, in bytes; initiators are told that they do best to keep to it. Set before
    /// the first command.
    /// </summary>
    internal int HostTransferBytes { get; set; } = BlockLimits.MaxTransferBytes;

    /// <summary>Blocks of a COMPARE AND WRITE: as many as the backstore does as one step, if it does any.</summary>
    internal int MaxCompareBlocks => Store.Has(BackstoreFeatures.CompareAndWrite) && Store.Geometry.CompareAndWriteBytes is > 0 and var bytes
        ? Math.Min(BlockLimits.MaxCompareBlocks(BlockSize), bytes / BlockSize) : BlockLimits.MaxCompareBlocks(BlockSize);

    /// <summary>How a write is to be done: through to the medium with FUA, or when the write cache is off.</summary>
    internal WriteOptions OptionsOf(bool forceUnitAccess) =>
        HasVolatileCache && (forceUnitAccess || !IsWriteCacheEnabled) ? WriteOptions.ForceUnitAccess : WriteOptions.None;

    private protected override bool Prepare(ScsiCommand command, out BlockLease lease, out CommandResult refusal)
    {
        lease = default;
        if (Admission.RefusesCdb(this, command, out refusal)) return true;
        var row = command.Row!;
        if (Background.Refuses(row)) refusal = CommandResult.CheckCondition(Background.Sense);
        else if (row.Has(CommandTraits.NeedsMedium) && !IsLoaded) refusal = CommandResult.CheckCondition(Sense.MediumNotPresent);
        else if (row.Has(CommandTraits.NeedsMedium) && !IsStarted) refusal = CommandResult.CheckCondition(Sense.NotReadyInitializingCommandRequired);
        else if (row.Has(CommandTraits.WritesMedium) && IsWriteProtected)
            refusal = CommandResult.CheckCondition(IsHardwareWriteProtected ? Sense.WriteProtected : Sense.SoftwareWriteProtected);
        else return row.Has(CommandTraits.Blocks) ? PrepareBlocks(command, row, out lease, out refusal) : PrepareOther(command, row, out lease);
        return true;
    }

    private static bool PrepareOther(ScsiCommand command, CommandDescriptor row, out BlockLease lease)
    {
        bool changes = row.Has(CommandTraits.WritesMedium);
        if (row.Has(CommandTraits.ExclusiveAll)) lease = new(BlockLease.All, Exclusive: true, changes);
        else if (row.Ranges?.Invoke(command) is { Length: > 0 } parts)
            lease = BlockLease.OfParts(parts, row.Has(CommandTraits.Exclusive), changes);
        // A copy is carried out by commands with blocks of their own.
        else lease = new(changes && row.Opcode != Opcode.ThirdPartyCopyOut && row.Ranges is null ? BlockLease.All : default, ChangesMedium: changes);
        return false;
    }

    private bool PrepareBlocks(ScsiCommand command, CommandDescriptor row, out BlockLease lease, out CommandResult refusal)
    {
        lease = default;
        var cdb = new BlockCdb(command.Cdb);
        ulong lba = cdb.Lba, count = cdb.BlockCount, end = (ulong)BlockCount;
        // No protection information: RDPROTECT, WRPROTECT, VRPROTECT and ORPROTECT are 0 (SBC-4 4.22).
        if (cdb.Protect != 0) refusal = CommandResult.InvalidCdbField(cdb.FlagsIndex, 7);
        else if (lba > end || count > end - lba || (count == 0 && lba == end && row.Has(CommandTraits.CheckEmptyRange)))
            refusal = CommandResult.CheckCondition(Sense.LbaOutOfRange, Math.Max(lba, end));
        else
        {
            lease = new(new((long)lba, (long)(lba + count)), row.Has(CommandTraits.Exclusive), row.Has(CommandTraits.WritesMedium));
            refusal = default;
            return false;
        }
        return true;
    }

    private protected override ValueTask<CommandResult> Run(ScsiCommand command)
    {
        var row = command.Row!;
        // Once it runs: whoever wants a token for these blocks waits until it has ended.
        if (row.Has(CommandTraits.WritesMedium)) Revoke(command.Place.Lease);
        return row.Handler(this, command);
    }

    private void Revoke(in BlockLease lease)
    {
        if (lease.Parts is null) Tokens.Revoke(lease.Range.Start, lease.Range.End);
        else foreach (var part in lease.Parts) Tokens.Revoke(part.Start, part.End);
    }

    private protected override ulong InformationOf(long byteOffset) => (ulong)(byteOffset / BlockSize);

    /// <summary>
    /// Makes the unit larger while in use: every nexus gets CAPACITY DATA HAS CHANGED (SBC-4 4.5). What is behind it grows if it is shorter, and is never
    /// cut: to make a disk smaller is for the owner of what is behind it, who then has it looked at (<see cref="RefreshSizeAsync"/>).
    /// </summary>
    /// <exception cref="BackstoreException">The backstore cannot do it, it is larger, or a SANITIZE or FORMAT UNIT runs: the size stays.</exception>
    public async ValueTask ResizeAsync(long lengthBytes)
    {
        if (lengthBytes < BlockSize) throw new ArgumentOutOfRangeException(nameof(lengthBytes), "less than one block");
        await WaitForSizingAsync().ConfigureAwait(false);
        try
        {
            long there = LengthBytes, behind = Store.Geometry.LengthBytes;
            if (lengthBytes < there)
                throw new BackstoreException(BackstoreError.Internal, $"{Identity.Name} keeps its size: {lengthBytes} bytes are fewer than its {there}, and what is in use is not cut off");
            // What is behind it may be longer than what is served of it, or its owner has done it already.
            if (lengthBytes == there && lengthBytes == behind && !Store.Has(BackstoreFeatures.Resize)) return;
            await ChangeSizeAsync(lengthBytes, async (store, length) =>
            {
                if (length >= behind && Store.Has(BackstoreFeatures.Resize) && !await store.GrowAsync(length, CancellationToken.None).ConfigureAwait(false)) return false;
                if (store.Geometry.LengthBytes < length) return false;
                if (Volatile.Read(ref _mostBlocks) != long.MaxValue) Volatile.Write(ref _mostBlocks, length / BlockSize);
                return true;
            }).ConfigureAwait(false);
        }
        finally
        {
            _sizing.Release();
        }
    }

    /// <summary>Serves the first bytes of what is behind it and no more, however long that is or becomes, until <see cref="ResizeAsync"/> asks for more.</summary>
    internal void ServeFirst(long lengthBytes)
    {
        lock (_capacity) Volatile.Write(ref _mostBlocks, lengthBytes / BlockSize);
        TakeCapacity();
    }

    /// <summary>
    /// Looks how long what is behind the unit is now, and takes that over; what is behind is not changed. Every nexus is told of another size. A smaller
    /// one waits for commands on the blocks that go, for half a minute at most.
    /// </summary>
    /// <exception cref="BackstoreException">
    /// The backstore cannot do it, commands on the blocks that would go do not end, or a SANITIZE or FORMAT UNIT runs: the size stays.
    /// </exception>
    public async ValueTask RefreshSizeAsync()
    {
        await WaitForSizingAsync().ConfigureAwait(false);
        try
        {
            long length = await Store.MeasureAsync().ConfigureAwait(false);
            if (length == Store.Geometry.LengthBytes) return;
            if (length < BlockSize) throw new BackstoreException(BackstoreError.Internal, $"{Identity.Name} keeps its size: what is behind it has {length} bytes, less than one block");
            await ChangeSizeAsync(length, static (store, length) => store.TakeLengthAsync(length, CancellationToken.None)).ConfigureAwait(false);
        }
        finally
        {
            _sizing.Release();
        }
    }

    private async ValueTask WaitForSizingAsync()
    {
        if (!await _sizing.WaitAsync(s_resizing).ConfigureAwait(false))
            throw new BackstoreException(BackstoreError.Busy, $"{Identity.Name} keeps its size: a look at it that began before has not ended within {s_resizing.TotalSeconds} s");
    }

    private async ValueTask ChangeSizeAsync(long lengthBytes, Func<BackstoreGuard, long, ValueTask<bool>> change)
    {
        // Commands on blocks that go have ended before, and later ones are checked against the new capacity.
        long first = Math.Min(lengthBytes / BlockSize, BlockCount);
        using var barrier = await EnterAsync(new BlockRange(first, long.MaxValue)).ConfigureAwait(false);
        // None begins while the barrier stands. It works on all blocks that were there when it began, and says afterwards that it has erased all.
        if (Background is { IsActive: true, IsFailed: false })
            throw new BackstoreException(BackstoreError.Busy, $"{Identity.Name} keeps its size: it is being erased; try again when that has ended");
        if (!await change(Store, lengthBytes).ConfigureAwait(false))
            throw new BackstoreException(BackstoreError.Internal, $"{Identity.Name} cannot change its size");
        TakeCapacity();
    }

    private async ValueTask<TaskBarrier> EnterAsync(BlockRange range)
    {
        using var limit = new CancellationTokenSource(s_resizing, Runtime.Time);
        try
        {
            return await TaskBarrier.EnterAsync(Tasks, range, limit.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (limit.IsCancellationRequested)
        {
            throw new BackstoreException(BackstoreError.Busy,
                $"{Identity.Name} keeps its size: commands on the blocks that would go have not ended within {s_resizing.TotalSeconds} s");
        }
    }

    /// <summary>The backstore has another length: initiators are told.</summary>
    private void TakeCapacity()
    {
        long before, now;
        // Another change may follow, and comes here, too: the last to come has the last geometry.
        lock (_capacity)
        {
            now = Math.Min(Store.Geometry.BlockCount, _mostBlocks);
            before = _blockCount;
            Volatile.Write(ref _blockCount, now);
        }
        if (before == now) return;
        // What was there is gone, also when there are such blocks again later.
        if (before > now) Tokens.Revoke(now, before);
        LogMessages.CapacityChanged(Log, Identity.Name, now * BlockSize);
        EstablishForOthers(null, Sense.CapacityChanged);
    }

    /// <summary>Read commands, and write commands, that had blocks to transfer.</summary>
    internal (long Reads, long Writes) CommandCounts => (Volatile.Read(ref _readCommands), Volatile.Read(ref _writeCommands));

    internal void CountRead() => Interlocked.Increment(ref _readCommands);

    /// <summary>Counts a write; every some thousand of them look at the space that is left.</summary>
    internal void CountWrite()
    {
        if ((Interlocked.Increment(ref _writeCommands) & 0xFFF) == 0) CheckSoftThreshold();
    }

    /// <summary>Tells initiators, once per crossing, that the space behind the thin unit runs short (SBC-4 4.7.3.7).</summary>
    internal void CheckSoftThreshold()
    {
        if (_options.SoftThresholdPercent == 0 || Store.AvailableBytes is not { } available) return;
        bool low = available < Store.Geometry.LengthBytes / 100.0 * (100 - _options.SoftThresholdPercent);
        if (low && !_softThresholdReported) EstablishForOthers(null, Sense.ThinProvisioningSoftThresholdReached);
        _softThresholdReported = low;
    }

    /// <summary>
    /// Switches the write cache (WCE of the caching mode page), as an operator may; initiators hear of it. False when the backstore
    /// has no cache that could be on.
    /// </summary>
    public async ValueTask<bool> SetWriteCacheAsync(bool on)
    {
        if (!HasVolatileCache) return !on;
        var page = ModePages.Find(0x08, 0)!;
        var wanted = (byte[])page.Current.Clone();
        wanted[2] = (byte)(on ? wanted[2] | 0x04 : wanted[2] & ~0x04);
        if (await ModePages.ApplyAsync([(page, wanted)], save: false).ConfigureAwait(false)) EstablishForOthers(null, Sense.ModeParametersChanged);
        // What was acknowledged while the cache was on is not on the medium yet. Also when it is off already, for the flush of an earlier attempt may have failed.
        if (!on) await FlushAsync().ConfigureAwait(false);
        return true;
    }

    internal override bool EndByReset(Sense attention)
    {
        bool cached = IsWriteCacheEnabled;
        base.EndByReset(attention);
        IsStarted = true;
        // Initiators that find the write cache off flush no more: what was acknowledged while it was on has to be durable.
        return cached && !IsWriteCacheEnabled && HasVolatileCache;
    }

    /// <inheritdoc/>
    public override async ValueTask FlushAsync()
    {
        // The closing of the unit waits for what it finds in the task set. What comes after that could meet a closed storage.
        using var place = TaskBarrier.Hold(Tasks);
        if (IsClosing) throw new BackstoreException(BackstoreError.Busy, "the unit is being closed, and then flushed");
        await Store.FlushAsync(CancellationToken.None).ConfigureAwait(false);
    }

    /// <summary>
    /// Flushes where nobody can be told that it failed: the next flushes of all who have written fail then. What is behind may tell a failure only
    /// once.
    /// </summary>
    internal override async Task FlushUntoldAsync(string reason)
    {
        if (await TryAsync(FlushAsync, reason).ConfigureAwait(false) is null) return;
        lock (_owed)
            foreach (var nexus in Nexuses) _owed.Owe(NexusPorts.Of(nexus.Nexus));
    }

    /// <summary>Whether a flush of a nexus has to fail, because one has failed that nobody was told of.</summary>
    internal bool OwesFailure(Nexus nexus)
    {
        lock (_owed) return _owed.Fails(nexus);
    }

    internal override void Unheard(Nexus nexus)
    {
        lock (_owed) _owed.Unheard(nexus);
    }

    private protected override ValueTask FlushLastAsync() => Store.FlushAsync(CancellationToken.None);

    private protected override ValueTask StopAsync() => Background.StopAsync();

    private protected override ValueTask ReleaseAsync() => Store.DisposeAsync();
}
