using System.Buffers;
using System.Runtime.CompilerServices;
using LunKit.Backstores;
using LunKit.LogicalUnits;

namespace LunKit.Iscsi.Sessions;

/// <summary>A Ready-To-Transfer that the initiator has not answered completely.</summary>
internal struct OutstandingR2T
{
    public uint TransferTag;
    public int Offset;
    public int Length;
    public int Received;
    public uint NextDataSn;
}

/// <summary>
/// One SCSI command of a connection, from its PDU to its response. Pooled by its connection, whose thread is the only one that
/// uses it, except <see cref="RentDataIn"/> from a unit's thread and the completion, which goes to the connection's queue.
/// </summary>
internal sealed class IscsiTask : ScsiCommand
{
    // A long read has memory of its own, so that it can go on beside the batch without taking the batch's chunk out of the queue.
    private const int LongBytes = 64 * 1024;

    private readonly IscsiConnection _connection;
    private readonly Action _completed;
    private ValueTaskAwaiter<CommandResult> _awaiter;
    private Memory<byte>[] _segments = new Memory<byte>[4];
    private byte[]? _scratch;

    public IscsiTask(IscsiConnection connection)
    {
        _connection = connection;
        _completed = () => _connection.Completed(this);
    }

    public uint InitiatorTaskTag { get; private set; }
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
    public byte[]? Collected { get; private set; }

    public bool IsRegistered { get; set; }

    /// <summary>It is in the unit's hands and will come back through the completion queue.</summary>
    public bool IsExecuting { get; set; }

    public CommandResult Result { get; private set; }

    /// <summary>The receive buffer that holds the data, when the command outlives its batch.</summary>
    public ReceiveBuffer? HeldBuffer { get; set; }

    // Where the Data-In PDUs are: in the output queue's current chunk (inline), or in a chunk of the task's own.
    public OutputQueue.Chunk? DataInChunk { get; set; }
    public DataInLayout DataInLayout { get; private set; } = null!;
    public int DataInStart { get; private set; } = -1;
    public int DataInEnd { get; private set; }
    public int DataInLength { get; private set; }
    public bool IsDataInInline { get; set; }

    /// <summary>Whether the inline memory was taken out of the queue, because the task went on after its batch.</summary>
    public bool IsDataInDetached { get; set; }

    public void Prepare(uint tag, ulong lun, bool reads, bool writes, uint expectedLength, ReadOnlySpan<byte> cdb)
    {
        Reset(cdb);
        DataOutBufferSize = writes ? expectedLength : 0;
        InitiatorTaskTag = tag;
        Tag = tag;
        Lun = lun;
        Reads = reads;
        Writes = writes;
        ExpectedLength = expectedLength;
        WantedLength = 0;
        CollectLength = Received = Solicited = 0;
        NextUnsolicitedDataSn = R2tSn = 0;
        ExpectsUnsolicited = IsRegistered = IsExecuting = IsDataInInline = IsDataInDetached = false;
        DataInStart = -1;
        DataInLength = 0;
        DataInChunk = null;
    }

    public Memory<byte> Collect(int length)
    {
        Collected = ArrayPool<byte>.Shared.Rent(length);
        return Collected.AsMemory(0, length);
    }

    /// <summary>Gives back all memory but what the output queue sends.</summary>
    public void ReleaseData()
    {
        if (Collected is not null) ArrayPool<byte>.Shared.Return(Collected);
        if (_scratch is not null) ArrayPool<byte>.Shared.Return(_scratch);
        Collected = _scratch = null;
        R2Ts.Clear();
        DataOut = default;
    }

    /// <summary>Completes later: the connection hears of it through its queue.</summary>
    public void Await(ValueTask<CommandResult> running)
    {
        _awaiter = running.GetAwaiter();
        _awaiter.UnsafeOnCompleted(_completed);
    }

    /// <summary>Takes the result of the awaited execution. Called once, by the completion.</summary>
    public void TakeResult()
    {
        Result = _awaiter.GetResult();
        _awaiter = default;
    }

    /// <summary>Bytes produced, as one run, when the initiator expects fewer than the command produced.</summary>
    public byte[]? Scratch => _scratch;

    public override DataBuffer RentDataIn(int length)
    {
        // More than the initiator expects: the rest must exist for the unit, but is never sent.
        if (!Reads || length > ExpectedLength)
        {
            _scratch = ArrayPool<byte>.Shared.Rent(length);
            return new DataBuffer(_scratch.AsMemory(0, length));
        }
        DataInLength = length;
        // Its own from here on: a text negotiation may change the connection's while the command runs.
        DataInLayout = _connection.DataInLayout;
        int total = DataInLayout.TotalLength(length);
        if (total < LongBytes && _connection.IsOwnThread)
        {
            DataInStart = _connection.Output.Reserve(total);
            DataInChunk = _connection.Output.Current;
            IsDataInInline = true;
        }
        else
        {
            DataInChunk = new OutputQueue.Chunk(total, forOne: true);
            DataInStart = 0;
        }
        DataInEnd = DataInStart + total;
        return DataInLayout.Slices(DataInChunk.Array, DataInStart, length, ref _segments);
    }
}
