using System.Buffers;
using LunKit.Backstores;
using LunKit.Fabrics;
using LunKit.LogicalUnits;
using LunKit.Scsi;

namespace LunKit.Iscsi.Sessions;

/// <summary>A Ready-To-Transfer that the initiator has not answered completely.</summary>
internal struct OutstandingR2T
{
    public uint TransferTag;
    public uint R2tSn;
    public int Offset;
    public int Length;
    public int Received;
    public uint NextDataSn;

    /// <summary>A PDU of it was missing or damaged: what still comes is dropped.</summary>
    public bool IsDamaged;
}

/// <summary>
/// One SCSI command of a connection, from its PDU to its response. Pooled by its connection, whose thread is the only one that
/// uses it, except <see cref="RentDataIn"/> from a unit's thread and the completion, which goes to the connection's queue.
/// </summary>
internal sealed class IscsiTask : FabricTask
{
    // A long read has memory of its own, so that it can go on beside the batch without taking the batch's chunk out of the queue.
    private const int LongBytes = 64 * 1024;

    /// <summary>What a task costs beside its data, on its connection's account.</summary>
    public const int Bytes = 2048;

    // Shorter data is copied faster than it is received into, or sent from, a place of its own.
    private const int LendBytes = 16 * 1024;

    private Memory<byte>[] _segments = new Memory<byte>[4];
    private byte[]? _scratch;
    private byte[]? _collected;
    private IMemoryOwner<byte>? _collectedOwner;

    public IscsiTask(FullFeaturePhase owner) => Owner = owner;

    /// <summary>The connection that has the task's allegiance. Changes only while the task is not executing.</summary>
    public FullFeaturePhase Owner { get; set; }

    public uint InitiatorTaskTag { get; private set; }

    /// <summary>Its place in the session's order; of an immediate one that of the next command.</summary>
    public uint CmdSn { get; set; }

    public ulong Lun { get; private set; }
    public bool Reads { get; private set; }
    public bool Writes { get; private set; }
    public uint ExpectedLength { get; private set; }

    /// <summary>Bytes that the command wants from the initiator.</summary>
    public long WantedLength { get; set; }

    /// <summary>Bytes to collect before the command can run: wanted, but no more than the initiator has.</summary>
    public int CollectLength { get; set; }

    public int Received { get; set; }
    public int Solicited { get; set; }
    public uint NextUnsolicitedDataSn { get; set; }
    public bool ExpectsUnsolicited { get; set; }
    public uint R2tSn { get; set; }
    public List<OutstandingR2T> R2Ts { get; } = [];

    /// <summary>What has come of the data, and room for some that comes: memory of the unit's, or from the pool.</summary>
    public Memory<byte> Collected { get; private set; }

    /// <summary>Whether the initiator owes it data: unsolicited, or asked for.</summary>
    public bool AwaitsData => ExpectsUnsolicited || R2Ts.Count > 0;

    /// <summary>When data of it came last, or was asked for the first time.</summary>
    public long LastData { get; set; }

    /// <summary>When data that did not come was asked for again.</summary>
    public long LastAsked { get; set; }

    public bool IsUnsolicitedDamaged { get; set; }

    /// <summary>What the command fails with when its bursts have ended.</summary>
    public Sense? Fault { get; set; }

    public bool IsRegistered { get; set; }

    /// <summary>It came as an immediate command, outside the command window.</summary>
    public bool IsImmediate { get; set; }

    /// <summary>The receive buffer that holds the data, when the command outlives its batch.</summary>
    public ReceiveBuffer? HeldBuffer { get; set; }

    // Where the Data-In PDUs are: in the output queue already, at its end (inline), or in bytes that are the task's own until it is
    // answered.
    public OutputQueue.Chunk? DataInChunk { get; set; }
    public DataInLayout DataInLayout { get; private set; } = null!;
    public int DataInStart { get; private set; } = -1;
    public int DataInEnd { get; private set; }
    public int DataInLength { get; private set; }
    public bool IsDataInInline { get; set; }

    public void Prepare(uint tag, ulong lun, bool reads, bool writes, uint expectedLength, ReadOnlySpan<byte> cdb)
    {
        Reset(cdb);
        DataOutBufferSize = writes ? expectedLength : 0;
        DataInBufferSize = reads ? expectedLength : 0;
        InitiatorTaskTag = tag;
        Tag = tag;
        Lun = lun;
        Reads = reads;
        Writes = writes;
        ExpectedLength = expectedLength;
        WantedLength = 0;
        CollectLength = Received = Solicited = 0;
        NextUnsolicitedDataSn = R2tSn = 0;
        Fault = null;
        ExpectsUnsolicited = IsUnsolicitedDamaged = IsRegistered = IsExecuting = IsImmediate = IsDataInInline = false;
        DataInStart = -1;
        DataInLength = 0;
        DataInChunk = null;
        LentDataIn = default;
    }

    /// <summary>Makes room for the first <paramref name="length"/> bytes of the data; what is collected already stays.</summary>
    public Memory<byte> EnsureRoom(int length, MemoryAccount memory)
    {
        if (Collected.Length >= length) return Collected[..length];
        if (Collected.IsEmpty && CollectLength >= LendBytes && UnitNexus?.Unit.RentDataOut(CollectLength) is { } owner)
        {
            _collectedOwner = owner;
            Collected = owner.Memory;
            memory.Charge(Collected.Length);
            return Collected[..length];
        }
        var larger = ArrayPool<byte>.Shared.Rent(length);
        if (_collected is not null)
        {
            _collected.AsSpan(0, Received).CopyTo(larger);
            ArrayPool<byte>.Shared.Return(_collected);
        }
        memory.Charge(larger.Length - Collected.Length);
        Collected = _collected = larger;
        return Collected[..length];
    }

    /// <summary>All data is there: the command runs on it where it was collected.</summary>
    public void UseCollected()
    {
        DataOut = new DataBuffer(Collected[..CollectLength]);
        DataOutOwner = _collectedOwner;
    }

    /// <summary>Gives back all memory but what the output queue sends.</summary>
    public void ReleaseData()
    {
        if (!Collected.IsEmpty) Owner.Connection.Memory.Refund(Collected.Length);
        if (_collected is not null) ArrayPool<byte>.Shared.Return(_collected);
        _collectedOwner?.Dispose();
        Collected = default;
        _collected = null;
        _collectedOwner = null;
        if (_scratch is not null)
        {
            Owner.Connection.Memory.Refund(_scratch.Length);
            ArrayPool<byte>.Shared.Return(_scratch);
            _scratch = null;
        }
        TakeLentOwner()?.Dispose();
        R2Ts.Clear();
        DataOut = default;
        DataOutOwner = null;
    }

    // Where the unit has lent its own memory for the data: all of it, and who gets it back.
    public DataBuffer LentDataIn { get; private set; }
    private IDisposable? _lentOwner;

    /// <summary>Whether the unit has lent the data.</summary>
    public bool HasLentDataIn => _lentOwner is not null;

    /// <summary>Whether it is worth to send the lent data from where it lies, in PDUs of a layout.</summary>
    public bool IsLentLong(DataInLayout layout) => LentDataIn.Length >= LendBytes && layout.MaxSegmentLength >= LendBytes;

    /// <summary>From here on the caller gives it back.</summary>
    public IDisposable? TakeLentOwner()
    {
        var owner = _lentOwner;
        _lentOwner = null;
        LentDataIn = default;
        return owner;
    }

    internal override bool TryLendDataIn(DataBuffer data, IDisposable owner)
    {
        if (!Reads) return false;
        LentDataIn = data;
        _lentOwner = owner;
        return true;
    }

    private protected override void OnCompleted() => Owner.Tasks.Completed(this);

    protected internal override void OnAborted() => Owner.Connection.Wake();

    protected internal override void Charge(long bytes) => Owner.Connection.Memory.Charge(bytes);

    /// <summary>Bytes produced, as one run, when the initiator expects fewer than the command produced.</summary>
    public byte[]? Scratch => _scratch;

    public override DataBuffer RentDataIn(int length)
    {
        // More than the initiator expects: the rest must exist for the unit, but is never sent.
        if (!Reads || length > ExpectedLength)
        {
            _scratch = ArrayPool<byte>.Shared.Rent(length);
            Owner.Connection.Memory.Charge(_scratch.Length);
            return new DataBuffer(_scratch.AsMemory(0, length));
        }
        DataInLength = length;
        // Its own from here on: a text negotiation may change the connection's while the command runs.
        DataInLayout = Owner.Sender.Layout;
        int total = DataInLayout.TotalLength(length);
        // One that went on after its batch has no place in the queue yet, even where its own thread ends it.
        if (total < LongBytes && Owner.Connection.IsOwnThread && !IsExecuting)
        {
            DataInStart = Owner.Sender.Output.Reserve(total);
            DataInChunk = Owner.Sender.Output.Current;
            IsDataInInline = true;
        }
        else
        {
            DataInChunk = new OutputQueue.Chunk(total, Owner.Connection.Memory);
            DataInStart = 0;
        }
        DataInEnd = DataInStart + total;
        return DataInLayout.Slices(DataInChunk.Array, DataInStart, length, ref _segments);
    }
}
